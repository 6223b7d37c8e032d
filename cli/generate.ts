/**
 * `generate`: continues a prompt.
 * @module
 */

import { TextStreamer } from "@peft/webgpu";
import { flag, integer, number, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { endTokens, load, loadTokenizer, MODEL_FLAGS } from "./loading.ts";

const flags = {
  ...MODEL_FLAGS,
  prompt: { rule: text, required: true, help: "Text to continue" },
  "max-new-tokens": { rule: integer(1, 1e6), default: 50, help: "Tokens to add at most" },
  sample: { rule: flag, help: "Draw tokens instead of taking the most likely one" },
  temperature: { rule: number(), default: 1, needs: "sample", help: "Divides the logits, with --sample" },
  "top-k": {
    rule: integer(0, 1e9),
    default: 50,
    needs: "sample",
    help: "Keep the k most likely tokens, with --sample",
  },
  "top-p": {
    rule: number(0, 1),
    default: 1,
    needs: "sample",
    help: "Keep the most likely tokens up to this mass, with --sample",
  },
  "repetition-penalty": {
    rule: number(),
    default: 1,
    help: "Above 1, tokens that occurred become less likely",
  },
  seed: {
    rule: integer(0, Number.MAX_SAFE_INTEGER),
    default: 0,
    needs: "sample",
    help: "Seed of --sample",
  },
} as const;

/** The command. */
export const generate: Command<typeof flags> = {
  name: "generate",
  summary: "Continue a prompt, with or without an adapter",
  flags,
  examples: [
    `./run generate --model gpt2 --prompt "Hello, PEFT!"`,
    `./run generate --adapter out/adapter --prompt "Ahoy" --sample --temperature 0.7 --seed 7`,
  ],
  async run(values) {
    const { model, base, baseName } = await load("generate", values);
    const tokenizer = await loadTokenizer(baseName);
    const inputs = tokenizer(values.prompt);
    if (inputs.inputIds[0].length === 0) {
      throw new UsageError(
        `Cannot run generate: --prompt must have at least one token, received "${values.prompt}"`,
      );
    }
    await model.generate(inputs, {
      maxNewTokens: values["max-new-tokens"],
      doSample: values.sample,
      temperature: values.temperature,
      topK: values.sample ? values["top-k"] : 0,
      topP: values["top-p"],
      repetitionPenalty: values["repetition-penalty"],
      seed: values.seed,
      eosTokenId: endTokens(base, tokenizer),
      streamer: new TextStreamer(tokenizer, { skipSpecialTokens: true }),
    });
  },
};

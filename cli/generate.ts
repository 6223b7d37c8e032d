/**
 * `generate`: continues a prompt.
 * @module
 */

import { TextStreamer } from "@peft/webgpu";
import { type Command, UsageError } from "./command.ts";
import { load, loadTokenizer, MODEL_FLAGS } from "./loading.ts";

const flags = {
  ...MODEL_FLAGS,
  prompt: { type: "text", required: true, help: "Text to continue" },
  "max-new-tokens": { type: "integer", default: 50, range: [1, 1e6], help: "Tokens to add at most" },
  sample: { type: "switch", help: "Draw tokens instead of taking the most likely one" },
  temperature: { type: "number", default: 1, needs: "sample", help: "Divides the logits, with --sample" },
  "top-k": {
    type: "integer",
    default: 50,
    range: [0, 1e9],
    needs: "sample",
    help: "Keep the k most likely tokens, with --sample",
  },
  "top-p": {
    type: "number",
    default: 1,
    range: [0, 1],
    needs: "sample",
    help: "Keep the most likely tokens up to this mass, with --sample",
  },
  "repetition-penalty": {
    type: "number",
    default: 1,
    help: "Above 1, tokens that occurred become less likely",
  },
  seed: {
    type: "integer",
    default: 0,
    range: [0, Number.MAX_SAFE_INTEGER],
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
    const { model, baseName } = await load("generate", values);
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
      eosTokenId: tokenizer.eosTokenId,
      streamer: new TextStreamer(tokenizer, { skipSpecialTokens: true }),
    });
  },
};

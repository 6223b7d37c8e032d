/**
 * `generate`: continues a prompt.
 * @module
 */

import { TextStreamer } from "@peft/webgpu";
import { integer, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { endTokens, load, loadTokenizer } from "./loading.ts";
import { SAMPLING_FLAGS, samplingOptions } from "./sampling_flags.ts";

const flags = {
  ...MODEL_FLAGS,
  prompt: { rule: text, required: true, help: "Text to continue" },
  "max-new-tokens": { rule: integer(1, 1e6), default: 50, help: "Tokens to add at most" },
  ...SAMPLING_FLAGS,
  temperature: { ...SAMPLING_FLAGS.temperature, default: 1 },
  "top-k": { ...SAMPLING_FLAGS["top-k"], default: 50 },
  "top-p": { ...SAMPLING_FLAGS["top-p"], default: 1 },
} as const;

/** The command. */
export const generate: Command<typeof flags> = {
  name: "generate",
  summary: "Continue a prompt, with or without an adapter",
  flags,
  permissions: ["--allow-read"],
  examples: [
    `./run generate --model gpt2 --prompt "Hello, PEFT!"`,
    `./run generate --adapter out/adapter --prompt "Ahoy" --sample --temperature 0.7 --seed 7`,
  ],
  async run(values) {
    const { model, base, baseName } = await load("generate", values);
    const tokenizer = await loadTokenizer(baseName, values);
    const inputs = tokenizer(values.prompt);
    if (inputs.inputIds[0].length === 0) {
      throw new UsageError(
        `Cannot run generate: --prompt must have at least one token, received "${values.prompt}"`,
      );
    }
    const [ids] = await model.generate(inputs, {
      maxNewTokens: values["max-new-tokens"],
      ...samplingOptions(values),
      eosTokenId: endTokens(base, tokenizer),
      ...values.json ? {} : { streamer: new TextStreamer(tokenizer, { skipSpecialTokens: true }) },
    });
    const added = ids.slice(inputs.inputIds[0].length);
    const completion = tokenizer.decode(added, { skipSpecialTokens: true });
    return { prompt: values.prompt, completion, tokens: added };
  },
};

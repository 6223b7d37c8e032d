/**
 * `evaluate`: the loss and perplexity of a model, with or without an adapter, on data.
 * @module
 */

import { Trainer } from "@peft/webgpu";
import { integer } from "../options/rules.ts";
import type { Command } from "./command.ts";
import { load, loadTokenizer, MODEL_FLAGS } from "./loading.ts";
import { LEARNING_FLAGS, readRows, ROW_FLAGS, sftExamples } from "./training_data.ts";

const flags = {
  ...MODEL_FLAGS,
  ...ROW_FLAGS,
  ...LEARNING_FLAGS,
  "batch-size": { rule: integer(1, 65536), default: 8, help: "Rows per batch" },
  "block-size": { rule: integer(2, 2 ** 20), default: 128, help: "Tokens per row at most" },
} as const;

/** The command. */
export const evaluate: Command<typeof flags> = {
  name: "evaluate",
  summary: "Measure loss and perplexity on data, with or without an adapter",
  flags,
  permissions: ["--allow-read"],
  examples: [
    "./run evaluate --adapter out/adapter --data held_out.jsonl",
    "./run evaluate --model gpt2 --data my.txt --block-size 512 --json",
  ],
  async run(values) {
    const { model, base, baseName } = await load("evaluate", values);
    const tokenizer = await loadTokenizer(baseName, values);
    const blockSize = Math.min(values["block-size"], base.facts.maxPositions);
    const evalDataset = await sftExamples(await readRows(values.data, values), tokenizer, values, blockSize);
    const args = { perDeviceEvalBatchSize: values["batch-size"], reportTo: "none" } as const;
    const { evalLoss, perplexity, evalTokens, evalRuntime } = await new Trainer({
      ...{ model, args, evalDataset, tokenizer },
    }).evaluate();
    console.log(
      `loss ${evalLoss.toFixed(4)}, perplexity ${perplexity.toFixed(3)} over ${
        evalTokens.toLocaleString("en-US")
      } tokens in ${evalDataset.length} rows (${evalRuntime.toFixed(1)} s)`,
    );
    return { loss: evalLoss, perplexity, tokens: evalTokens, rows: evalDataset.length, seconds: evalRuntime };
  },
};

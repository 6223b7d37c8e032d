/**
 * `evaluate`: the loss and perplexity of a model, with or without an adapter, on data.
 * @module
 */

import { type RowDataset, type Tokenizer, Trainer } from "@peft/webgpu";
import { evaluatePerplexity } from "@peft/webgpu/train";
import { integer } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { load, loadTokenizer } from "./loading.ts";
import { LEARNING_FLAGS, readRows, ROW_FLAGS, sftExamples } from "../jobs/finetune/data.ts";

const flags = {
  ...MODEL_FLAGS,
  ...ROW_FLAGS,
  ...LEARNING_FLAGS,
  "batch-size": { rule: integer(1, 65536), default: 8, help: "Rows per batch" },
  "block-size": { rule: integer(2, 2 ** 20), default: 128, help: "Tokens per row at most" },
  stride: {
    rule: integer(1, 2 ** 20),
    help:
      "Read texts as one, in windows of --block-size tokens that move on by this many: each token from more context",
  },
} as const;

/** Token ids of all texts, with the token that ends texts between. @throws {UsageError} for rows of another form */
async function textTokens(rows: RowDataset, tokenizer: Tokenizer): Promise<number[]> {
  const ids: number[] = [];
  for (let i = 0; i < rows.length; i++) {
    const row = (await rows.at(i))!;
    if (!("text" in row)) {
      throw new UsageError(
        `Cannot run evaluate: --stride reads texts, ${rows.where(i)} is a row of another form`,
      );
    }
    if (ids.length > 0 && tokenizer.eosTokenId !== null) ids.push(tokenizer.eosTokenId);
    for (const id of tokenizer.encode(row.text)) ids.push(id);
  }
  return ids;
}

/** The command. */
export const evaluate: Command<typeof flags> = {
  name: "evaluate",
  summary: "Measure loss and perplexity on data, with or without an adapter",
  flags,
  permissions: ["--allow-read"],
  examples: [
    "./run evaluate --adapter out/adapter --data held_out.jsonl",
    "./run evaluate --model gpt2 --data my.txt --block-size 1024 --stride 512 --json",
  ],
  async run(values) {
    if (values.stride !== undefined && values.stride >= values["block-size"]) {
      throw new UsageError("Cannot run evaluate: --stride must be below --block-size");
    }
    const rows = await readRows(values.data, values);
    const { model, base, baseName } = await load("evaluate", values);
    const tokenizer = await loadTokenizer(baseName, values);
    const blockSize = Math.min(values["block-size"], base.facts.maxPositions);
    if (values.stride !== undefined) {
      const options = { stride: values.stride, maxLength: blockSize, batchSize: values["batch-size"] };
      const found = await evaluatePerplexity(model, await textTokens(rows, tokenizer), options);
      const { loss, perplexity, tokens } = found;
      console.log(
        `loss ${loss.toFixed(4)}, perplexity ${perplexity.toFixed(3)} over ${
          tokens.toLocaleString("en-US")
        } tokens, windows of ${blockSize} that move on by ${values.stride}`,
      );
      return { ...found, rows: rows.length, stride: values.stride };
    }
    const evalDataset = await sftExamples(rows, tokenizer, values, blockSize);
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

/**
 * `tokenize`: what a model reads and learns of data, before it trains on it.
 * @module
 */

import { basename, dirname } from "@std/path";
import { diskStore } from "@peft/webgpu/io";
import type { Example } from "@peft/webgpu/train";
import { integer, text } from "../options/rules.ts";
import type { Command } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { loadTokenizer } from "./loading.ts";
import { checkOutput, modelInputs } from "./output_paths.ts";
import { UsageError } from "../jobs/usage_error.ts";
import { previewExample } from "./training/preview.ts";
import { fileNames, LEARNING_FLAGS, readRows, ROW_FLAGS, sftExamples } from "../jobs/finetune/data.ts";

const flags = {
  model: {
    ...MODEL_FLAGS.model,
    required: true,
    help: "Model folder in Hugging Face's layout, a .gguf file, or a hub id: its tokenizer and chat template",
  },
  "gguf-file": MODEL_FLAGS["gguf-file"],
  ...ROW_FLAGS,
  ...LEARNING_FLAGS,
  "block-size": { rule: integer(2, 2 ** 20), default: 128, help: "Tokens per row at most" },
  row: { rule: integer(1, 2 ** 32), default: 1, help: "The example that is shown" },
  output: { rule: text, help: "File of JSON lines for the examples, which --data takes" },
} as const;

/** Parts of the examples that are at most as long as the lengths that are shown. */
const PERCENTILES = [0, 50, 90, 99, 100] as const;

/** An example as a row of a file, by TRL's names. */
function rowOf({ inputIds, labels = inputIds, attentionMask, sequenceIds }: Example): string {
  const lengths: number[] = [];
  sequenceIds?.forEach((id, t) =>
    id === sequenceIds[t - 1] ? lengths[lengths.length - 1]++ : lengths.push(1)
  );
  return JSON.stringify({
    input_ids: inputIds,
    labels,
    ...attentionMask && { attention_mask: attentionMask },
    ...sequenceIds && { seq_lengths: lengths },
  });
}

/** Refuses a place for a file before anything is read. @throws {UsageError} where its folder is none */
async function checkPlace(path: string): Promise<void> {
  try {
    if ((await Deno.stat(dirname(path))).isDirectory) return;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
  }
  throw new UsageError(
    `Cannot run tokenize: --output cannot be written: a folder is required, received "${dirname(path)}"`,
  );
}

/** Writes lines to a file, which appears when they are all there. */
async function writeLines(path: string, lines: AsyncIterable<string>): Promise<void> {
  await diskStore(dirname(path)).write(
    basename(path),
    ReadableStream.from(lines).pipeThrough(new TextEncoderStream()),
  );
}

/** The command. */
export const tokenize: Command<typeof flags> = {
  name: "tokenize",
  summary: "Count the tokens of data, and show what is learned of it",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run tokenize --model gpt2 --data my.txt --block-size 512",
    "./run tokenize --model chat.gguf --data chats.jsonl,facts.csv --weights 3,1 --output tokens.jsonl",
  ],
  async run(values) {
    if (values.output !== undefined) {
      await checkOutput("tokenize", values.output, [
        ...fileNames(values.data).map((file) => ["--data", file] as const),
        ...modelInputs("--model", values.model, values["gguf-file"]),
      ]);
      await checkPlace(values.output);
    }
    const tokenizer = await loadTokenizer(values.model, values);
    const rows = await readRows(values.data, values);
    const dataset = await sftExamples(rows, tokenizer, values, values["block-size"]);
    if (values.row > dataset.length) {
      throw new UsageError(
        `Cannot run tokenize: --row must be at most ${dataset.length}, the number of examples, received ${values.row}`,
      );
    }
    const lengths = new Uint32Array(dataset.length);
    let learned = 0;
    async function* lines(): AsyncGenerator<string> {
      for (let i = 0; i < dataset.length; i++) {
        const example = (await dataset.at(i))!;
        const { inputIds, labels = inputIds } = example;
        lengths[i] = inputIds.length;
        for (let t = 1; t < labels.length; t++) if (labels[t] !== -100) learned++;
        yield `${rowOf(example)}\n`;
      }
    }
    if (values.output !== undefined) await writeLines(values.output, lines());
    else for await (const _ of lines());
    const shown = (await dataset.at(values.row - 1))!;
    const colours = Deno.stdout.isTerminal() && !Deno.noColor && !values.json;
    console.log(`${previewExample(tokenizer, shown, colours)}\n`);
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    lengths.sort();
    const percentiles = PERCENTILES.map((part) => lengths[Math.ceil(part / 100 * (lengths.length - 1))]);
    const count = (n: number) => n.toLocaleString("en-US");
    console.log(
      `${count(rows.length)} rows as ${count(dataset.length)} examples: ${count(tokens)} tokens, of which ${
        count(learned)
      } are learned`,
    );
    console.log(
      `tokens of an example: ${
        PERCENTILES.map((part, i) =>
          `${part === 0 ? "least" : part === 100 ? "most" : `${part}% have at most`} ${percentiles[i]}`
        ).join(", ")
      }`,
    );
    if (values.output !== undefined) console.log(`examples written to ${values.output}`);
    await rows.close();
    return {
      ...{ rows: rows.length, skippedRows: rows.skippedCount, examples: dataset.length },
      ...{ tokens, learnedTokens: learned },
      cutRows: dataset.stats?.cutRows ?? null,
      droppedRows: dataset.stats?.droppedRows ?? null,
      lengths: Object.fromEntries(PERCENTILES.map((part, i) => [`p${part}`, percentiles[i]])),
      output: values.output ?? null,
    };
  },
};

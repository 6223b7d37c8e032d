/**
 * A file of JSON lines that is larger than memory: the most that a process needs while it indexes the file, reads rows of
 * it in random order and tokenizes them, beside a process that does the same with a small file. Every row that is read is
 * compared with the one that was written.
 * Run: deno run -A bench/streaming_bench.ts [bytes, default 2e9]
 * @module
 */
import { AutoTokenizer } from "../model/mod.ts";
import { DataLoader, loadDataset, SFTConfig, SFTDataset } from "../train/mod.ts";
import { printTable, type Row } from "./harness.ts";

const MODEL = new URL("../examples/demo/model", import.meta.url).pathname;
const TEXT = "The captain looked at the sea, and the crew sang of gold and of the wind. ";
const BATCHES = 500;

/** A row of about 1,000 bytes, by its number. */
const textOf = (number: number) => `Row ${number}: ${TEXT.repeat(8 + number % 9)}`;

/** Writes about `bytes` of rows; their number. */
async function writeRows(path: string, bytes: number): Promise<number> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const encoder = new TextEncoder();
  let number = 0;
  for (let written = 0; written < bytes;) {
    let lines = "";
    while (lines.length < 2 ** 22) lines += `${JSON.stringify({ text: textOf(number++) })}\n`;
    const chunk = encoder.encode(lines);
    for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
    written += chunk.length;
  }
  return number;
}

/** The most memory that this process had so far, in MB. */
async function peakMB(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) * 1024 / 1e6;
}

/** What a process that reads the file prints. */
async function read(path: string): Promise<Row> {
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const start = await peakMB();
  const from = performance.now();
  const rows = await loadDataset(path, { streaming: true });
  const indexed = performance.now() - from;
  const index = await peakMB();
  const settings = new SFTConfig({ maxLength: 512 });
  const data = new SFTDataset(rows, tokenizer, { ...settings, maxPositions: 512, needsLengths: false });
  await data.prepare();
  const loader = new DataLoader(data, { batchSize: 8, shuffle: true, seed: 1 });
  let batches = 0;
  const begin = performance.now();
  for await (const { inputIds, attentionMask } of loader.readBatches(0)) {
    for (const [i, ids] of inputIds.entries()) {
      const length = attentionMask?.[i].indexOf(0) ?? -1;
      const text = tokenizer.decode(length < 0 ? ids : ids.slice(0, length));
      const wanted = `${textOf(Number(/^Row (\d+)/.exec(text)![1]))}<|endoftext|>`;
      if (text.length < 500 || !wanted.startsWith(text)) {
        throw new Error(`Cannot time streaming: rows must be those written, received ${text}`);
      }
    }
    if (++batches === BATCHES) break;
  }
  const seconds = (performance.now() - begin) / 1000;
  await rows.close();
  return {
    rows: rows.length,
    "start MB": start.toFixed(0),
    "indexed MB": index.toFixed(0),
    "peak MB": (await peakMB()).toFixed(0),
    "index s": (indexed / 1000).toFixed(1),
    "rows/s": ((BATCHES * 8) / seconds).toFixed(0),
  };
}

async function measure(path: string): Promise<Row> {
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename!, "--read", path],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("Cannot measure streaming");
  return JSON.parse(new TextDecoder().decode(stdout));
}

if (import.meta.main) {
  if (Deno.args[0] === "--read") console.log(JSON.stringify(await read(Deno.args[1])));
  else {
    const path = await Deno.makeTempFile({ suffix: ".jsonl" });
    try {
      const table: Row[] = [];
      for (const bytes of [10e6, Number(Deno.args[0] ?? 2e9)]) {
        await writeRows(path, bytes);
        const { size } = await Deno.stat(path);
        table.push({ "file MB": (size / 1e6).toFixed(0), ...await measure(path) });
      }
      printTable("Streaming", table);
    } finally {
      await Deno.remove(path);
    }
  }
}

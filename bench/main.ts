/**
 * Every bench, one after the other: each checks its results, then times them. The last lines are what the page
 * docs/performance.md is written from.
 * Run: deno task bench [--only matmul,step] [--large] [--json FILE]
 * @module
 */
import { type Device, initDevice } from "../gpu/mod.ts";
import { benchAttention } from "./attention_bench.ts";
import { type Floors, measureFloors } from "./floor_bench.ts";
import { benchGenerations } from "./generation_bench.ts";
import { SMALL_BATCH, SMALL_CASES } from "./gpt_cases.ts";
import { formatTable, jsonPath, type Row } from "./harness.ts";
import { benchLoading } from "./loading_bench.ts";
import { benchMatmul } from "./matmul_bench.ts";
import { benchMixedBatches } from "./mixed_batch_bench.ts";
import { benchOps } from "./op_bench.ts";
import { benchStart } from "./start_bench.ts";
import { benchStep, LONG, measurePeak, profileStep } from "./step_bench.ts";

/** One table of the report. */
interface Section {
  readonly key: string;
  readonly title: string;
  run(device: Device, floors: Floors): Promise<Row[]>;
}

const stepSections: readonly Section[] = [...SMALL_CASES, SMALL_BATCH].flatMap((test) => [
  { key: "step", title: `Step: ${test.name}`, run: (device) => benchStep(device, test) },
  { key: "profile", title: `Time by kernel: ${test.name}`, run: (device) => profileStep(device, test) },
]);

const SECTIONS: readonly Section[] = [
  { key: "matmul", title: "Products, f32", run: (device, floors) => benchMatmul(device, floors) },
  {
    key: "matmul",
    title: "Products, right operand packed f16",
    run: (device, floors) => benchMatmul(device, floors, { weight: "f16" }),
  },
  { key: "ops", title: "Row and element ops", run: benchOps },
  { key: "attention", title: "Attention", run: (device, floors) => benchAttention(device, floors) },
  ...stepSections,
  { key: "start", title: "First step of the small GPT in a fresh process", run: () => benchStart() },
  { key: "generation", title: "Greedy generation", run: benchGenerations },
  { key: "mixed", title: "Four adapters in one batch of 4 x 64 tokens", run: benchMixedBatches },
  { key: "loading", title: "Loading GPT-2 small", run: benchLoading },
];

const LARGE: readonly Section[] = [
  { key: "long", title: "Peak bytes", run: async (device) => [await measurePeak(device, LONG)] },
];

/** The sections named after `--only`, or all; those of `--large` besides. */
function chosen(args: readonly string[]): Section[] {
  const all = args.includes("--large") ? [...SECTIONS, ...LARGE] : SECTIONS;
  const at = args.indexOf("--only");
  if (at < 0) return [...all];
  const keys = (args[at + 1] ?? "").split(",");
  const known = new Set(all.map(({ key }) => key));
  const unknown = keys.filter((key) => !known.has(key));
  if (unknown.length > 0) {
    throw new RangeError(
      `Cannot bench: sections are ${[...known].join(", ")}, received ${unknown.join(", ")}`,
    );
  }
  return all.filter(({ key }) => keys.includes(key));
}

const HELP = `Times kernels, training steps, generation and loading, each after a check of its result.

Usage: ./run bench [flags]

  --only <names>  Sections, with commas between: ${
  [...new Set([...SECTIONS, ...LARGE].map(({ key }) => key))].join(", ")
}
  --large         Peak bytes of a long sequence besides
  --json <file>   Keep the figures
  --help          Show this text`;

/** What is asked for; ends the program with a sentence for what does not exist. */
function readArguments(args: readonly string[]) {
  try {
    return { sections: chosen(args), path: jsonPath(args) };
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    return Deno.exit(1);
  }
}

async function main(args: readonly string[]): Promise<void> {
  if (args.some((arg) => arg === "--help" || arg === "-h")) return console.log(HELP);
  const { sections, path } = readArguments(args);
  const device = await initDevice();
  const report: Record<string, unknown> = {
    date: new Date().toISOString(),
    adapter: device.adapterName,
    runtime: `Deno ${Deno.version.deno}`,
    load: Deno.loadavg(),
  };
  console.log(
    `adapter: ${device.adapterName}; Deno ${Deno.version.deno}; load ${Deno.loadavg()[0].toFixed(1)}`,
  );
  const { floors, rows } = await measureFloors(device);
  const tables: Record<string, readonly Row[]> = { Ceilings: rows };
  report.tables = tables;
  console.log(`\nCeilings\n${formatTable(rows)}`);
  for (const { title, run } of sections) {
    tables[title] = await run(device, floors);
    const text = tables[title].length > 0 ? formatTable(tables[title]) : "not available on this adapter";
    console.log(`\n${title}\n${text}`);
    if (path) await Deno.writeTextFile(path, `${JSON.stringify(report, null, 1)}\n`);
  }
}

if (import.meta.main) await main(Deno.args);

/**
 * Picks kernel variants for this machine's adapter, prints what was measured and keeps the picks for later runs.
 * Run: deno task tune [--full] [--model FOLDER] [--only TEXT] [--tokens 1,64,512] [--rounds 6] [--file PATH] [--dry-run]
 * @module
 */
import { parseArgs } from "node:util";
import { initDevice } from "../gpu/mod.ts";
import { writeTuning } from "../io/tuning_file.ts";
import { AutoModelForCausalLM, type CausalLM } from "../model/mod.ts";
import { gpt2SmallShapes, modelShapes, saveTuning, tuneKernels, type TuningResult } from "../tuning/mod.ts";
import { median } from "./harness.ts";

const HELP = `Times kernel variants on this machine's adapter and keeps the best of each class of shapes.

  --full           time whole shapes also on software adapters (about ten minutes)
  --model FOLDER   the shapes of this model (or hub id) instead of those of GPT-2 small
  --only TEXT      only shapes whose description contains TEXT, such as "c_attn" or "nt f16"
  --tokens LIST    rows of the products; default 1,64,256,512,1024
  --rounds N       rounds in which the variants take turns; default 6
  --file PATH      where the picks are kept; default in the user's cache folder
  --dry-run        print only`;

const percent = (share: number) => Number.isNaN(share) ? "-" : `${Math.round(100 * share)}%`;

/** A class as a line, its variants with GFLOP/s fastest first, and what was dropped. */
function describe(result: TuningResult): string {
  const { shapeClass, shape, timed, flops, variants, pick, fixedShare } = result;
  const rate = (ms: number) => (flops / ms / 1e6).toFixed(1);
  const ranked = variants.filter(({ dropped }) => dropped === null).sort((a, b) => a.ms - b.ms);
  const lines = [
    `${shapeClass.padEnd(30)}${shape}${timed ? `, timed as ${timed}` : ""}`,
    `    pick ${pick || "none"}; fixed table ${variants[0].name}, ${percent(fixedShare)} of the best`,
    `    ${ranked.map(({ name, ms }) => `${name}: ${rate(ms)}`).join(" | ")}`,
  ];
  for (const { name, dropped } of variants) {
    if (dropped !== null) lines.push(`    dropped ${name}: ${dropped}`);
  }
  return lines.join("\n");
}

const { values } = parseArgs({
  args: Deno.args,
  options: {
    help: { type: "boolean" },
    full: { type: "boolean" },
    model: { type: "string" },
    only: { type: "string" },
    tokens: { type: "string" },
    rounds: { type: "string" },
    file: { type: "string" },
    "dry-run": { type: "boolean" },
  },
});
if (values.help) {
  console.log(HELP);
  Deno.exit(0);
}
const device = await initDevice();
const tokens = values.tokens?.split(",").map(Number);
const model = values.model === undefined
  ? null
  : await AutoModelForCausalLM.fromPretrained<CausalLM>(values.model, { device });
const listed = model ? modelShapes(model, { tokens }) : gpt2SmallShapes({ tokens });
model?.dispose();
const shapes = listed.filter((shape) => {
  const text = shape.kind === "matmul"
    ? `${shape.name} ${shape.layout} ${shape.weight} ${shape.M}`
    : shape.name;
  return text.includes(values.only ?? "");
});
console.log(
  `adapter: ${device.adapterName}; GFLOP/s, lower quartile of the times; ${
    new Date().toISOString().slice(0, 10)
  }`,
);
const start = performance.now();
const results = await tuneKernels(device, {
  shapes,
  rounds: values.rounds ? Number(values.rounds) : undefined,
  maxFlops: values.full ? Infinity : undefined,
  onResult: (result) => console.log(describe(result)),
});
const shares = results.map(({ fixedShare }) => fixedShare).filter((share) => !Number.isNaN(share));
const below = results.filter(({ fixedShare }) => !(fixedShare >= 0.8));
console.log(
  `${results.length} classes in ${
    ((performance.now() - start) / 1000).toFixed(0)
  } s; the fixed table reaches ${percent(median(shares))} of the best (median), at least ${
    percent(Math.min(...shares))
  }; below 80%: ${below.map(({ shapeClass }) => shapeClass).join(", ") || "none"}`,
);
if (!values["dry-run"]) {
  const place = await writeTuning(device.adapterName, saveTuning(device), values.file);
  console.log(`kept in ${place}`);
}
device.destroy();

/**
 * `tune`: picks kernel variants for this machine's adapter by timing those of a model's shapes, and keeps the picks.
 * @module
 */

import { getPeftModel, LoraConfig, PeftModel } from "@peft/webgpu";
import {
  loadTuning,
  modelShapes,
  readTuning,
  saveTuning,
  tuneKernels,
  type TuningResult,
  type TuningShape,
  writeTuning,
} from "@peft/webgpu/tuning";
import { flag, integer, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { load } from "./loading.ts";

const flags = {
  ...MODEL_FLAGS,
  tokens: { rule: text, default: "64,256", help: "Tokens of the steps that are recorded" },
  lora: {
    rule: integer(0, 1e6),
    default: 8,
    help: "Rank of the LoRA that trains where --adapter names none; 0: every weight trains",
  },
  only: {
    rule: text,
    help: 'Only shapes whose description contains this, such as "q_proj" or "nt f16"',
  },
  rounds: { rule: integer(1, 1000), default: 6, help: "Rounds in which the variants take turns" },
  full: { rule: flag, help: "Time whole shapes on software adapters too, not parts of their rows" },
  file: { rule: text, help: "Where the picks are kept; default in the user's cache folder" },
  "dry-run": { rule: flag, help: "Print only" },
} as const;

const percent = (share: number) => Number.isNaN(share) ? "-" : `${Math.round(100 * share)}%`;

/** A class as a line, its variants with GFLOP/s fastest first, and what was dropped. */
function describe({ shapeClass, shape, timed, flops, variants, pick, fixedShare }: TuningResult): string {
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

/** What `--only` searches. */
const describeShape = (shape: TuningShape) =>
  shape.kind === "matmul" ? `${shape.name} ${shape.layout} ${shape.weight} ${shape.M}` : shape.name;

/** The numbers of `--tokens`. @throws {UsageError} for anything else */
function readTokens(given: string): number[] {
  const tokens = given.split(",").map(Number);
  if (tokens.every((count) => Number.isInteger(count) && count > 0)) return tokens;
  throw new UsageError(
    `Cannot run tune: --tokens must be positive integers with commas between, received "${given}"`,
  );
}

/** What most results say. */
function summary(results: readonly TuningResult[], seconds: number): string {
  const shares = results.map(({ fixedShare }) => fixedShare).filter((share) => !Number.isNaN(share))
    .sort((a, b) => a - b);
  const below = results.filter(({ fixedShare }) => !(fixedShare >= 0.8));
  return `${results.length} classes in ${seconds.toFixed(0)} s; the fixed table reaches ${
    percent(shares[shares.length >> 1])
  } of the best (median), at least ${percent(shares[0])}; below 80%: ${
    below.map(({ shapeClass }) => shapeClass).join(", ") || "none"
  }`;
}

/** The command. */
export const tune: Command<typeof flags> = {
  name: "tune",
  summary: "Time kernel variants for a model on this machine, and keep the best",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-env"],
  examples: [
    "./run tune --model HuggingFaceTB/SmolLM2-135M-Instruct",
    "./run tune --model model.gguf --tokens 64,512 --only attention --dry-run",
  ],
  async run(values) {
    const tokens = readTokens(values.tokens);
    const { base, model } = await load("tune", values);
    const { device } = base;
    // Picks for other models stay; those that `load` took from the usual place serve where --file has none.
    if (values.file !== undefined) loadTuning(device, await readTuning(device.adapterName, values.file));
    if (model instanceof PeftModel) model.setAdapter("default");
    else if (values.lora > 0) {
      getPeftModel(base, new LoraConfig({ r: values.lora, targetModules: "all-linear" }));
    }
    const all = await modelShapes(base, { tokens });
    base.dispose();
    const shapes = all.filter((shape) => describeShape(shape).includes(values.only ?? ""));
    if (shapes.length === 0) {
      const names = [...new Set(all.map(({ name }) => name))].join(", ");
      throw new UsageError(`Cannot run tune: --only must be part of a shape's description, such as ${names}`);
    }
    const today = new Date().toISOString().slice(0, 10);
    console.log(`adapter: ${device.adapterName}; GFLOP/s, lower quartile of the times; ${today}`);
    const start = performance.now();
    const results = await tuneKernels(device, {
      shapes,
      rounds: values.rounds,
      maxFlops: values.full ? Infinity : undefined,
      onResult: (result) => console.log(describe(result)),
    });
    console.log(summary(results, (performance.now() - start) / 1000));
    const picks = results.map(({ shapeClass, pick, fixedShare }) => ({ shapeClass, pick, fixedShare }));
    if (values["dry-run"]) return { adapter: device.adapterName, picks, file: null };
    const file = await writeTuning(device.adapterName, saveTuning(device), values.file);
    console.log(`kept in ${file}`);
    return { adapter: device.adapterName, picks, file };
  },
};

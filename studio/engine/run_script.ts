/**
 * The run of an adapter as a script for Deno.
 * @module
 */

import type { ModelSource } from "../protocol.ts";
import { configOf } from "./methods.ts";
import { argumentsOf } from "./planning.ts";
import type { AdapterRecord, TrainedFacts } from "./shelf.ts";

/** Where a script finds the model. */
function modelText(source: ModelSource | null, { modelName }: AdapterRecord): string {
  if (source?.kind === "hub") return JSON.stringify(source.repo);
  if (source?.kind === "url") return `new URL(${JSON.stringify(source.url)})`;
  if (source?.kind === "builtin") return '"examples/demo/model"';
  return JSON.stringify(modelName);
}

/** Where a script finds the data. */
function dataText({ dataFiles, dataName }: TrainedFacts): string {
  if (dataFiles.length > 0) return JSON.stringify(dataFiles);
  if (dataName.startsWith("Pirate")) return '"examples/demo/data/pirate.jsonl"';
  if (dataName.startsWith("Support")) return '"examples/teach/support.jsonl"';
  return '"data.jsonl"';
}

/** An object as it is written in TypeScript. */
const literal = (value: unknown) => JSON.stringify(value, null, 2).replaceAll(/"([a-zA-Z]\w*)":/g, "$1:");

/** Fields that differ from what the class has without them. */
function configText(
  { settings }: TrainedFacts,
  encode: (text: string) => number[],
): { name: string; fields: string } {
  const setting = { steps: settings.steps, encode };
  const config = configOf(settings.method, settings.options, setting);
  const { name } = config.constructor;
  const given = config as unknown as Record<string, unknown>;
  let plain: Record<string, unknown> = {};
  try {
    plain = new (config.constructor as new () => Record<string, unknown>)();
  } catch {
    // a class that cannot be made without its fields
  }
  const changed = Object.entries(given).filter(([key, value]) =>
    JSON.stringify(plain[key]) !== JSON.stringify(value)
  );
  return { name, fields: literal(Object.fromEntries(changed)) };
}

/**
 * The text of train.ts.
 * @param encode ids of a text, where the adapter is for tokens
 */
export function runScript(
  record: AdapterRecord,
  trained: TrainedFacts,
  source: ModelSource | null,
  encode: (text: string) => number[],
): string {
  const { settings, length, learnPrompts, heldOut } = trained;
  const { name, fields } = configText(trained, encode);
  const args = {
    outputDir: "out",
    ...argumentsOf(settings),
    packing: settings.packing,
    maxLength: length,
    textBlocks: true,
    truncationMode: "keep_end",
    assistantOnlyLoss: learnPrompts ? false : null,
    completionOnlyLoss: learnPrompts ? false : null,
    loggingSteps: 1,
  };
  const split = heldOut > 0 && trained.dataFiles.length > 0
    ? `const { train: trainDataset, test: evalDataset } = rows.trainTestSplit({ testSize: ${
      heldOut.toFixed(3)
    }, seed: 42 });\n`
    : "const trainDataset = rows;\n";
  const held = heldOut > 0 && trained.dataFiles.length > 0 ? " evalDataset," : "";
  return `/**
 * Trains "${record.name.replaceAll("*/", "")}" as the studio did. Run: deno run -A train.ts
 */
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  getPeftModel,
  ${name},
  loadDataset,
  SFTTrainer,
} from "@peft/webgpu";

const source = ${modelText(source, record)};
const tokenizer = await AutoTokenizer.fromPretrained(source);
const base = await AutoModelForCausalLM.fromPretrained(source, { dtype: "auto" });
const model = getPeftModel(base, new ${name}(${fields}));
const rows = await loadDataset(${dataText(trained)}, { onBadRow: "skip" });
${split}const trainer = new SFTTrainer({
  model,
  args: ${literal(args).replaceAll("\n", "\n  ")},
  trainDataset,${held}
  tokenizer,
});
await trainer.train();
await model.savePretrained("out/adapter");
`;
}

/**
 * The run of an adapter as a script for Deno.
 * @module
 */

import { configOf } from "./methods.ts";
import { storageOptions } from "./open_model.ts";
import { argumentsOf } from "./planning.ts";
import type { AdapterRecord, TrainedFacts } from "./shelf.ts";

/** Where a script finds the model. */
function modelText({ source }: TrainedFacts): string {
  switch (source.kind) {
    case "hub":
      return JSON.stringify(source.repo);
    case "url":
      return `new URL(${JSON.stringify(source.url)})`;
    case "builtin":
      return '"examples/demo/model"';
    case "files":
      return JSON.stringify(source.name);
  }
}

/** Which files of the hub's they are. */
const hubOptions = ({ source }: TrainedFacts) =>
  source.kind === "hub" ? { revision: source.revision, ggufFile: source.file } : {};

/** Where a script finds the data. */
function dataText({ dataFiles, dataName }: TrainedFacts): string {
  if (dataFiles.length > 0) return JSON.stringify(dataFiles);
  if (dataName.startsWith("Pirate")) return '"examples/demo/data/pirate.jsonl"';
  if (dataName.startsWith("Support")) return '"examples/teach/support.jsonl"';
  return '"data.jsonl"';
}

/** An object as it is written in TypeScript. */
const literal = (value: unknown) => JSON.stringify(value, null, 2).replaceAll(/"([a-zA-Z]\w*)":/g, "$1:");

/** A further argument of a call: its options, if there are any. */
function optionsText(options: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  if (given.length === 0) return "";
  return `, { ${given.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ")} }`;
}

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
 * @param encode ids of a text, asked for where the adapter is for tokens
 */
export function runScript(
  record: AdapterRecord,
  trained: TrainedFacts,
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

const source = ${modelText(trained)};
const tokenizer = await AutoTokenizer.fromPretrained(source${optionsText(hubOptions(trained))});
const base = await AutoModelForCausalLM.fromPretrained(source${
    optionsText({ ...hubOptions(trained), ...storageOptions(trained.storage) })
  });
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

/**
 * `info`: what a model or adapter folder holds, and what this machine's device can do.
 * @module
 */

import { describeConfig, initDevice, PeftModel } from "@peft/webgpu";
import { flag, text } from "../options/rules.ts";
import type { Command } from "./command.ts";
import { load, MODEL_FLAGS } from "./loading.ts";

const flags = {
  ...MODEL_FLAGS,
  model: {
    rule: text,
    help:
      "Model folder, .gguf file or hub id; default: the base that --adapter names, or without it the device alone",
  },
  parameters: { rule: flag, help: "List every parameter with its shape, and whether it trains" },
} as const;

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** The command. */
export const info: Command<typeof flags> = {
  name: "info",
  summary: "Show a model, an adapter, and the device",
  flags,
  examples: [
    "./run info",
    "./run info --model examples/demo/model --adapter out/adapter --parameters",
  ],
  async run(values) {
    const device = await initDevice();
    console.log(`device      ${device.adapterName}${device.isFallback ? " (software)" : ""}`);
    console.log(
      `limits      ${megabytes(device.limits.maxStorageBufferBindingSize)} per binding, ${
        megabytes(device.limits.maxBufferSize)
      } per buffer`,
    );
    console.log(`features    ${[...device.features].join(", ") || "none"}`);
    if (values.model === undefined && values.adapter === undefined) return;
    const { base, model, baseName } = await load("info", values);
    const { displayName, numLayers, numHeads, numKeyValueHeads, hiddenSize, vocabSize, maxPositions } =
      base.facts;
    const shared = numKeyValueHeads < numHeads ? ` (${numKeyValueHeads} of keys and values)` : "";
    console.log(
      `model       ${baseName}: ${displayName}, ${numLayers} layers, ${numHeads} heads${shared}, ${hiddenSize} wide`,
    );
    console.log(`tokens      vocabulary ${vocabSize}, at most ${maxPositions} per sequence`);
    let count = 0;
    for (const parameter of base.parameters()) count += parameter.size;
    console.log(
      `parameters  ${count.toLocaleString("en-US")}, ${megabytes(device.memory.liveBytes)} on the device`,
    );
    if (model instanceof PeftModel) {
      console.log(`adapter     ${values.adapter}`);
      for (const [label, value] of describeConfig(model.peftConfig.default)) {
        console.log(`  ${label.padEnd(16)} ${value}`);
      }
      model.setAdapter("default");
      model.printTrainableParameters();
    }
    if (values.parameters) {
      for (const [name, parameter] of model.namedParameters()) {
        console.log(
          `  ${name} [${parameter.shape.join(", ")}] ${parameter.dtype}${
            parameter.requiresGrad ? " trains" : ""
          }`,
        );
      }
    }
  },
};

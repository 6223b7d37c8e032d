/**
 * The tiny GPT-2 under LoRA, and what the tests of `peft/` ask of it.
 * @module
 */
import { assertNotEquals } from "@std/assert";
import { type Device, noGrad } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import type { Module } from "../../nn/mod.ts";
import {
  type AdaptableModel,
  getPeftModel,
  LoraConfig,
  type LoraConfigFields,
  type PeftModel,
} from "../../peft/mod.ts";
import { loadFixture, ownDevice } from "../reference/fixtures.ts";

/** A batch for the tiny model. */
export const BATCH: { inputIds: number[][]; labels: number[][] } = {
  inputIds: [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, 8, 13, 21, 34]],
  labels: [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, -100, -100, 21, 34]],
};

/** The model of fixture gpt2_tiny on a device of its own. */
export async function tinyModel(
  dtype: "float32" | "float16" = "float32",
): Promise<{ device: Device; model: GPT2LMHeadModel }> {
  const device = await ownDevice();
  return { device, model: await loadFixture("gpt2_tiny", { device, dtype }) };
}

/** Logits of a batch. */
export async function logitsOf(
  model: { forward: AdaptableModel["forward"] },
  { inputIds }: { inputIds: number[][] } = BATCH,
): Promise<Float32Array<ArrayBuffer>> {
  using output = noGrad(() => model.forward({ inputIds })) as ReturnType<
    GPT2LMHeadModel["forward"]
  >;
  return await output.logits.data() as Float32Array<ArrayBuffer>;
}

/** A character for each byte. */
const BYTES = new TextDecoder("latin1");

/** The bytes of every parameter by name, as text. */
export async function bytesOf(module: Module): Promise<Map<string, string>> {
  const entries = await Promise.all(
    [...module.namedParameters()].map(async ([name, parameter]): Promise<[string, string]> => {
      const data = await parameter.data();
      return [name, BYTES.decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))];
    }),
  );
  return new Map(entries);
}

/** Moves everything that trains away from its start: B is zero there, and the adapter changes nothing. */
export async function randomise(model: Module, seed = 1): Promise<void> {
  let state = seed;
  const trained = [...model.parameters()].filter(({ requiresGrad }) => requiresGrad);
  const values = await Promise.all(trained.map((parameter) => parameter.data())); // one wait for all
  trained.forEach((parameter, i) => {
    parameter.write((values[i] as Float32Array<ArrayBuffer>).map((value) => {
      state = (state * 1664525 + 1013904223) >>> 0;
      return value + (state / 2 ** 31 - 1) * 0.3;
    }));
  });
}

/** What a body writes with console.warn; nothing reaches the terminal. */
export async function warningsOf(body: () => unknown): Promise<string[]> {
  const { warn } = console;
  const warnings: string[] = [];
  console.warn = (...args: unknown[]) => warnings.push(args.join(" "));
  try {
    await body();
  } finally {
    console.warn = warn;
  }
  return warnings;
}

/** A temporary folder for as long as `body` runs. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The tiny model with an adapter that acts, in eval mode. */
export async function acting(fields: Partial<LoraConfigFields> = {}): Promise<{
  device: Device;
  model: GPT2LMHeadModel;
  base: Float32Array;
  baseBytes: Map<string, string>;
  peftModel: PeftModel<GPT2LMHeadModel>;
  logits: Float32Array;
}> {
  const { device, model } = await tinyModel();
  const [base, baseBytes] = [await logitsOf(model), await bytesOf(model)];
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, ...fields }));
  peftModel.eval();
  await randomise(peftModel);
  const logits = await logitsOf(peftModel);
  assertNotEquals(logits, base);
  return { device, model, base, baseBytes, peftModel, logits };
}

/** Names of what trains. */
export function trainedNames(peftModel: PeftModel): string[] {
  return [...peftModel.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
}

/**
 * Reads adapter folders as Python's `peft` writes them: `adapter_config.json` and `adapter_model.safetensors`.
 * @module
 */

import { cast, type Shape, showShape, Tensor, tidy } from "../../autograd/mod.ts";
import { openFolder } from "../../io/open_file.ts";
import type { FolderInput, FolderSource } from "../../io/file_source.ts";
import { readJsonFrom } from "../../io/json.ts";
import { openSafetensors, type SafetensorsDtype } from "../../io/safetensors.ts";
import { float32Of } from "../../io/safetensors_dtype.ts";
import { mismatchError, type Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { formatOf, loadMethodIn, readConfig } from "../registry.ts";

/** Name of the file with the configuration, in every format. */
export const CONFIG_FILE = "adapter_config.json";

/**
 * Values of an adapter, by their keys on disk.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { AdapterValues, Tuner } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tuner = getPeftModel(base, new LoraConfig({ r: 1, targetModules: ["c_attn"] })).base_model as Tuner<typeof base>;
 * const values: AdapterValues = new Map([
 *   ["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", { shape: [1, 128], data: new Float32Array(128) }],
 * ]);
 * console.log(tuner.loadValues("default", "zeros", values, { strict: false }).missingKeys.length); // 7
 * ```
 */
export type AdapterValues = ReadonlyMap<
  string,
  { readonly shape: Shape; readonly data: Float32Array<ArrayBuffer> }
>;

/** Dtypes of adapter tensors that are read; all become float32. */
const READABLE: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);

/** Reads an adapter's configuration. @throws {Error} if the folder has none */
export async function readAdapterConfig(folder: FolderInput): Promise<PeftConfig> {
  const source = openFolder(folder);
  const json = await readJsonFrom(source, CONFIG_FILE);
  if (!json) {
    throw new Error(`Cannot load adapter "${source.name}": Can't find '${CONFIG_FILE}' at '${source.name}'`);
  }
  await loadMethodIn(json);
  return readConfig(json);
}

/** A tensor's numbers, from another format than float32. */
async function converted(dtype: SafetensorsDtype, bytes: Uint8Array): Promise<Float32Array<ArrayBuffer>> {
  const { toFloat32 } = await import("../../io/safetensors_numbers.ts");
  return toFloat32(dtype, bytes);
}

async function refuseFolder(source: FolderSource, weightsFile: string, pickleFile: string): Promise<never> {
  const pickle = await source.open(pickleFile);
  await pickle?.close();
  const received = pickle ? `${pickleFile}, a pickle file, which is never opened` : "a folder without it";
  throw new Error(`Cannot load adapter "${source.name}": ${weightsFile} is required, received ${received}`);
}

/** Reads an adapter's tensors; the file is checked whole before anything is returned. */
export async function readAdapterValues(
  folder: FolderInput,
  config: PeftConfig,
): Promise<{ name: string; values: AdapterValues }> {
  const source = openFolder(folder);
  const { weightsFile, pickleFile, fromDisk } = formatOf(config);
  const file = await source.open(weightsFile);
  if (!file) return await refuseFolder(source, weightsFile, pickleFile);
  const reader = await openSafetensors(file);
  try {
    const values = new Map<string, { shape: Shape; data: Float32Array<ArrayBuffer> }>();
    for (const name of reader.names()) {
      const { dtype, shape } = reader.info(name);
      if (!READABLE.has(dtype)) {
        throw new TypeError(
          `Cannot load adapter "${reader.name}": "${name}" must be F32, F16 or BF16, found ${dtype}`,
        );
      }
      const bytes = await reader.read(name);
      const data = dtype === "F32" ? float32Of(bytes) : await converted(dtype, bytes);
      values.set(fromDisk(name, config), { shape, data });
    }
    return { name: reader.name, values };
  } finally {
    await reader.close();
  }
}

/**
 * Copies values into an adapter's parameters.
 * @param options `strict` (default): a key that is missing or unexpected is an error; otherwise it is a warning.
 *   `ignoreMismatchedSizes`: tensors of another shape are left out with a warning
 * @throws {TypeError} listing every mismatch; nothing is copied then
 */
export function applyAdapterValues(
  name: string,
  state: ReadonlyMap<string, Parameter>,
  values: AdapterValues,
  options: { strict?: boolean; ignoreMismatchedSizes?: boolean } = {},
): { missingKeys: string[]; unexpectedKeys: string[] } {
  const lines: string[] = [];
  const missingKeys: string[] = [];
  const mismatched = new Map<string, string>();
  for (const [key, parameter] of state) {
    const value = values.get(key);
    if (!value) missingKeys.push(key);
    else if (showShape(value.shape) !== showShape(parameter.shape)) {
      mismatched.set(key, `expected ${showShape(parameter.shape)}, found ${showShape(value.shape)}`);
    }
  }
  const differences = [...mismatched].map(([key, what]) => `"${key}" ${what}`);
  if (!options.ignoreMismatchedSizes) lines.push(...differences);
  const known = new Set(state.keys());
  const unexpectedKeys = [...values.keys()].filter((key) => !known.has(key));
  if (options.strict ?? true) {
    lines.push(...missingKeys.map((key) => `"${key}" is missing`));
    lines.push(...unexpectedKeys.map((key) => `"${key}" is unexpected`));
  }
  if (lines.length > 0) throw mismatchError(`Cannot load adapter "${name}"`, lines);
  if (missingKeys.length > 0) {
    console.warn(`Found missing adapter keys while loading the checkpoint: [${missingKeys.join(", ")}]`);
  }
  if (unexpectedKeys.length > 0) {
    console.warn(
      `Found unexpected adapter keys while loading the checkpoint: [${unexpectedKeys.join(", ")}]`,
    );
  }
  if (mismatched.size > 0) {
    console.warn(
      `Some weights of the adapter were not loaded because the shapes did not match: ${
        differences.join("; ")
      }`,
    );
  }
  for (const [key, parameter] of state) {
    const value = values.get(key);
    if (value && !mismatched.has(key)) write(parameter, value.data);
  }
  return { missingKeys, unexpectedKeys };
}

/** Overwrites a parameter, in its own element type. */
function write(parameter: Parameter, numbers: Float32Array<ArrayBuffer>): void {
  const { dtype, device, shape } = parameter;
  if (dtype === "float32") return parameter.write(numbers);
  tidy(() => device.copy(cast(Tensor.from(numbers, { device, shape }), dtype).view, parameter.view));
}

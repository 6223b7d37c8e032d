/**
 * How the weights of a model that is loaded are stored: which element type each has, and what is quantised on the way.
 * @module
 */
import {
  type BitsandbytesFormatName,
  isQuantized,
  LOADED_TYPES,
  type Shape,
  showShape,
  storageRule,
  storageType,
  unallocated,
  untracked,
  type WeightType,
} from "../autograd/mod.ts";
import { Conv1D, Linear, mismatchError, Parameter, replaceParameters } from "../nn/mod.ts";
import type { CausalLM } from "./causal_lm.ts";
import type { WeightSource } from "./weight_source.ts";

/**
 * How frozen weights are stored on the device; "auto": as their file has them, blocks of a GGUF file included.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, type WeightDType } from "@peft/webgpu";
 *
 * const dtype: WeightDType = "auto"; // as the file has them: float16, or blocks of few bits
 * const model = await AutoModelForCausalLM.fromPretrained("small.gguf", { dtype });
 * console.log(new Set([...model.parameters()].map(({ dtype }) => dtype)));
 * ```
 */
export type WeightDType = typeof LOADED_TYPES[number] | "auto";

/**
 * bitsandbytes' formats that linear layers can be quantised to while they are loaded.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { Quantization } from "@peft/webgpu/model";
 *
 * const quantization: Quantization = "nf4"; // QLoRA's
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model", { quantization });
 * console.log([...model.parameters()].filter(({ dtype }) => dtype === quantization).length); // 16
 * ```
 */
export type Quantization = "nf4" | "fp4" | "int8";

/**
 * How weights are stored.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { StorageOptions } from "@peft/webgpu/model";
 *
 * const smallest: StorageOptions = { dtype: "float16", quantization: "nf4", doubleQuant: true }; // embeddings in float16
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model", smallest);
 * console.log([...model.parameters()].reduce((bytes, { byteLength }) => bytes + byteLength, 0));
 * ```
 */
export interface StorageOptions {
  /** Storage of weight matrices; those in other types than float32 are frozen. Default "float32". */
  dtype?: WeightDType;
  /**
   * Quantises the weights of linear layers, one after the other while they are loaded, and freezes them: NF4 or FP4 in
   * blocks of 64, or int8 by rows. The head, embeddings and norms stay as `dtype` says. What a checkpoint of
   * bitsandbytes has quantised stays as it is. Default: nothing.
   */
  quantization?: Quantization;
  /** Quantises the scales of NF4 and FP4 too: 4.13 bits a number instead of 4.5. Default false. */
  doubleQuant?: boolean;
}

const quoted = (values: readonly string[]) => values.map((value) => JSON.stringify(value)).join(", ");

/** What linear layers are quantised to, or null. @throws {TypeError} for options that are not known or do not fit */
export function checkStorage(options: StorageOptions): BitsandbytesFormatName | null {
  const { dtype = "float32", quantization, doubleQuant = false } = options;
  const refuse = (rule: string, received: unknown): never => {
    throw new TypeError(`Cannot load the model: ${rule}, received ${JSON.stringify(received)}`);
  };
  const types = [...LOADED_TYPES, "auto"];
  if (!types.includes(dtype)) refuse(`dtype must be one of ${quoted(types)}`, dtype);
  const kinds: Quantization[] = ["nf4", "fp4", "int8"];
  if (quantization !== undefined && !kinds.includes(quantization)) {
    refuse(`quantization must be one of ${quoted(kinds)}`, quantization);
  }
  if (!doubleQuant) return quantization ?? null;
  if (quantization === "nf4" || quantization === "fp4") return `${quantization}_double`;
  return refuse('doubleQuant is for quantization "nf4" and "fp4"', quantization ?? null);
}

/** Weights of linear layers by their parameter; whether they belong to a Conv1D. */
function linearLayers(model: CausalLM): Map<Parameter, Linear | Conv1D> {
  const layers = new Map<Parameter, Linear | Conv1D>();
  for (const [, module] of model.namedModules()) {
    if (module instanceof Linear || module instanceof Conv1D) layers.set(module.weight, module);
  }
  return layers;
}

/** Parameters whose tensors lie [out, in] in checkpoints of bitsandbytes, and [in, out] in others. */
export function turnedInFiles(model: CausalLM): Set<Parameter> {
  return new Set(
    [...linearLayers(model)].filter(([, layer]) => layer instanceof Conv1D).map(([weight]) => weight),
  );
}

/**
 * Gives the matrices of a tree without memory the element types that they are to have, where their rows consist of whole
 * blocks. A Conv1D's weight lies [out, in] in formats of few bits.
 * @param matrices parameters that may be in other types than float32
 * @param names the file's names of parameters by their paths
 * @returns the parameters that are to be quantised, and whether their numbers are transposed for it
 * @throws {TypeError} listing every layer that the format of `options.quantization` cannot hold
 */
export function chooseStorage(
  model: CausalLM,
  matrices: ReadonlySet<Parameter>,
  weights: WeightSource,
  names: ReadonlyMap<string, string>,
  options: StorageOptions,
): Map<Parameter, boolean> {
  const { dtype = "float32" } = options;
  const quantization = checkStorage(options);
  const layers = linearLayers(model);
  const head = model.lm_head instanceof Linear ? model.lm_head.weight : null;
  const others = new Map<Parameter, Parameter>();
  const quantized = new Map<Parameter, boolean>();
  const lines: string[] = [];
  for (const [path, parameter] of model.namedParameters()) {
    if (!matrices.has(parameter)) continue;
    const layer = layers.get(parameter);
    const kept = weights.kept(names.get(path)!, path);
    const makes = quantization && layer && parameter !== head && !(kept?.always ?? false);
    const wanted: WeightType = makes
      ? quantization
      : kept?.always || dtype === "auto"
      ? kept?.type ?? "float32"
      : dtype;
    const turned = isQuantized(wanted) && layer instanceof Conv1D;
    const shape: Shape = turned ? [...parameter.shape].reverse() : parameter.shape;
    const type = storageType(wanted, shape);
    if (makes && type !== wanted) lines.push(`"${path}" ${showShape(shape)}: ${storageRule(wanted)}`);
    if (type === "float32") continue;
    if (turned) layer.layout = "linear";
    const stored = new Parameter(untracked(() => unallocated(model.device, shape, type)));
    others.set(parameter, stored);
    if (makes) quantized.set(stored, turned);
  }
  replaceParameters(model, others);
  for (const parameter of others.keys()) parameter.dispose();
  if (lines.length > 0) {
    throw mismatchError(`Cannot quantise model "${weights.name}" to ${quantization}`, lines);
  }
  return quantized;
}

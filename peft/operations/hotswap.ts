/**
 * Replaces the values of a loaded LoRA adapter by another's. Its name, its buffers and the compiled kernels stay, so
 * that captured steps continue with the new values (`peft`'s `hotswap_adapter`).
 * @module
 */

import { sameShape, showShape } from "../../autograd/mod.ts";
import type { Module, Parameter } from "../../nn/mod.ts";
import { unmixedTunerOf } from "../adapters/find_adapters.ts";
import type { Tuner } from "../adapters/tuner.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import type { AdapterValues } from "../files/adapter_files.ts";
import type { AdapterInput, LoadAdapterOptions } from "../files/adapter_folder.ts";
import { findAdapter } from "../files/adapter_source.ts";
import { matchKeys } from "../files/match_keys.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import { loraScaling } from "../lora/lora_linear.ts";
import { isLowRankLayer, type LowRankLayer } from "../lora/low_rank.ts";
import { KEY_PREFIX } from "../methods/adapter_format.ts";

const ACTION = "Cannot hot-swap the adapter";

/** Fields that change what an adapter computes besides its tensors and its scaling. */
const SAME_FIELDS = ["useRslora", "loraDropout", "alphaPattern", "useDora", "trainableTokenIndices"] as const;

/**
 * Where and how files are downloaded.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, hotswapAdapter, LoraConfig, memoryFolder } from "@peft/webgpu";
 * import type { HotswapOptions } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model"), folder = memoryFolder();
 * const model = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["attn.c_proj"] }));
 * await model.savePretrained(folder);
 * const options: HotswapOptions = { revision: "main", localFilesOnly: true }; // matter for ids of the hub
 * await hotswapAdapter(model, folder, "default", options);
 * ```
 */
export type HotswapOptions = Pick<
  LoadAdapterOptions,
  "revision" | "cacheDir" | "localFilesOnly" | "token" | "hubUrl"
>;

/**
 * Replaces the values of a LoRA adapter by those of a file. A smaller rank is padded with zeros; A and B that the file
 * lacks become zero. Where the new adapter has another scaling, the ratio goes into B, so that the configuration, a
 * captured step and a saved file stay right (`peft` changes the scaling and keeps the old configuration). An adapter of
 * alpha 0 takes the new alpha instead, for which a captured step is recorded again.
 * @param model a `PeftModel`, or a model that `injectAdapterInModel` changed
 * @param dirOrId a folder that `savePretrained` (here or in Python) wrote (a path, a URL, files or a folder source), a
 * hub id, or a LoRA adapter's GGUF file
 * @throws {RangeError} if there is no such adapter, it is merged, the methods or one of useRslora, loraDropout,
 *   alphaPattern, useDora, trainableTokenIndices differ, or the file has keys that the adapter lacks
 * @throws {TypeError} if the file's rank is larger, another shape does not fit, or another key than A's and B's is
 *   missing; nothing is changed in any case
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, hotswapAdapter, LoraConfig, memoryFolder } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * const folder = memoryFolder();
 * await model.savePretrained(folder);
 * await hotswapAdapter(model, folder, "default"); // new values in the same buffers
 * ```
 */
export async function hotswapAdapter(
  model: Module,
  dirOrId: AdapterInput,
  adapterName: string,
  options: HotswapOptions = {},
): Promise<void> {
  const tuner = unmixedTunerOf(model, "hot-swap the adapter");
  tuner.checkName(adapterName);
  const found = await findAdapter(dirOrId, tuner.model, options);
  const config = found.config;
  const { values } = await found.values();
  tuner.checkName(adapterName);
  const current = tuner.configs.get(adapterName)!;
  checkCompatible(current, config);
  if (tuner.state.merged.includes(adapterName)) {
    throw new RangeError(`${ACTION}: "${adapterName}" is merged, call unmergeAdapter() first`);
  }
  const revived = withAlpha(current as LoraConfig, config as LoraConfig);
  const { writes, scalings } = plan(tuner, adapterName, revived, config as LoraConfig, values);
  for (const [parameter, data] of writes) parameter.write(data);
  for (const [layer, scaling] of scalings) layer.scaling.start(adapterName, scaling);
  if (revived !== current) tuner.changeConfig<LoraConfig>(adapterName, { loraAlpha: revived.loraAlpha });
}

/** The present configuration; one of alpha 0, whose scaling no ratio can change, with the new alpha. */
function withAlpha(current: LoraConfig, { loraAlpha }: LoraConfig): LoraConfig {
  return current.loraAlpha === 0 && loraAlpha !== 0 ? withFields(current, { loraAlpha }) : current;
}

/** @throws {RangeError} with the first difference that matters */
function checkCompatible(current: PeftConfig, next: PeftConfig): void {
  if (current.peftType !== next.peftType) {
    throw new RangeError(
      `${ACTION}: Incompatible PEFT types found: ${current.peftType} and ${next.peftType}`,
    );
  }
  if (!(current instanceof LoraConfig && next instanceof LoraConfig)) {
    throw new RangeError(`${ACTION}: Hotswapping only supports LORA but ${current.peftType} was passed.`);
  }
  for (const field of SAME_FIELDS) {
    const [a, b] = [JSON.stringify(current[field]), JSON.stringify(next[field])];
    if (a !== b) throw new RangeError(`${ACTION}: Configs are incompatible: for ${field}, ${a} != ${b}`);
  }
}

/** What a swap changes; nothing is written yet. */
interface SwapPlan {
  /** New values. */
  readonly writes: [Parameter, Float32Array<ArrayBuffer>][];
  /** Scalings of layers whose alpha was 0. */
  readonly scalings: [LowRankLayer, number][];
}

/** What is written where. @param own the configuration afterwards   @param config that of the file */
function plan(
  tuner: Tuner<Module>,
  name: string,
  own: LoraConfig,
  config: LoraConfig,
  values: AdapterValues,
): SwapPlan {
  const state = tuner.adapterState(name);
  const matched = matchKeys(values, new Set(state.keys()), name, tuner.wrapsModel ? [] : [KEY_PREFIX]);
  const unexpected = [...matched.keys()].filter((key) => !state.has(key));
  if (unexpected.length > 0) {
    throw new RangeError(
      `${ACTION}: Hot swapping the adapter did not succeed, unexpected keys found: ${unexpected.join(", ")}.`,
    );
  }
  const ratios = new Map<Parameter, number>();
  const scalings: [LowRankLayer, number][] = [];
  const maybeMissing = new Set<Parameter>();
  for (const [path, layer] of tuner.layers()) {
    const factors = isLowRankLayer(layer) ? layer.lowRank(name) : null;
    if (!factors) continue;
    if (factors.offset || startsFromWeight(config)) {
      throw new RangeError(
        `${ACTION}: plain LoRA is required, received an adapter that starts from the weight of "${path}" (PiSSA, OLoRA); save it with convertToLora`,
      );
    }
    const { scaling } = layer as LowRankLayer;
    let present = scaling.initial(name);
    if (present === 0) scalings.push([layer as LowRankLayer, present = loraScaling(own, path)]);
    const ratio = present === 0 ? 1 : loraScaling(config, path) / present; // 0 by a pattern of both: nothing acts
    for (const parameter of [factors.A, factors.B, factors.bias]) if (parameter) maybeMissing.add(parameter);
    for (const parameter of factors.bias ? [factors.B, factors.bias] : [factors.B]) {
      ratios.set(parameter, ratio);
    }
  }
  const missing = [...state].filter(([key, parameter]) => !matched.has(key) && !maybeMissing.has(parameter));
  if (missing.length > 0) {
    throw new TypeError(
      `${ACTION}: only keys of A and B may be missing, received a file without ${
        missing.map(([key]) => key).join(", ")
      }`,
    );
  }
  const writes = [...state].map(([key, parameter]): SwapPlan["writes"][number] => {
    const value = matched.get(key);
    const data = value ? fill(key, parameter, value) : new Float32Array(parameter.size);
    const ratio = ratios.get(parameter) ?? 1;
    return [parameter, ratio === 1 ? data : data.map((number) => number * ratio)];
  });
  return { writes, scalings };
}

/** Whether the initial factors were subtracted from the weight, so that a file holds more than the change. */
function startsFromWeight({ initLoraWeights: init }: LoraConfig): boolean {
  return typeof init === "string" && /^(?:pissa|olora)/.test(init);
}

/** A file's tensor in the shape of a parameter, zeros after its last row or column. */
function fill(
  key: string,
  { shape, size }: Parameter,
  value: AdapterValues extends ReadonlyMap<string, infer V> ? V : never,
): Float32Array<ArrayBuffer> {
  if (sameShape(shape, value.shape)) return value.data;
  const fits = shape.length === 2 && value.shape.length === 2 &&
    value.shape.every((length, axis) => length <= shape[axis]) &&
    value.shape.some((length, axis) => length === shape[axis]);
  if (!fits) {
    throw new TypeError(
      `${ACTION}: Incompatible shapes found for LoRA weights ${key}: ${showShape(shape)} vs ${
        showShape(value.shape)
      }. Load the adapter of the largest rank first`,
    );
  }
  const data = new Float32Array(size);
  const [rows, columns] = value.shape;
  for (let row = 0; row < rows; row++) {
    data.set(value.data.subarray(row * columns, (row + 1) * columns), row * shape[1]);
  }
  return data;
}

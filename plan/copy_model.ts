/**
 * A copy of a model, its adapters and what of it trains, on a device that has no memory: shapes and element types alone.
 * @module
 */

import { type Device, type Tensor, unallocated, untracked } from "../autograd/mod.ts";
import type { CausalLM } from "../model/mod.ts";
import { Conv1D, Module, Parameter, replaceParameters } from "../nn/mod.ts";
import { type AdapterConfig, getPeftModel, PeftModel } from "../peft/mod.ts";

/**
 * A model that is trained.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, planMemory, type PlannedModel } from "@peft/webgpu";
 *
 * const megabytes = (model: PlannedModel) => (planMemory(model, { length: 128 }).total / 1e6).toFixed(1);
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * console.log(`every weight: ${megabytes(base)} MB`);
 * console.log(`an adapter: ${megabytes(getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })))} MB`);
 * ```
 */
export type PlannedModel = CausalLM | PeftModel<CausalLM>;

/** The module under the wrappers of adapters. */
function unwrapped(value: unknown): unknown {
  let module = value;
  while (module instanceof Module) {
    const { base_layer, original_module } = module as { base_layer?: unknown; original_module?: unknown };
    const inner = base_layer ?? original_module;
    if (!(inner instanceof Module)) break;
    module = inner;
  }
  return module;
}

/** What lies at a path of a tree whose modules adapters may have wrapped. */
function find(root: Module, path: string): unknown {
  let place: unknown = root;
  for (const name of path === "" ? [] : path.split(".")) {
    place = unwrapped((place as Record<string, unknown> | undefined)?.[name]);
  }
  return place;
}

function uncopyable(path: string): TypeError {
  return new TypeError(
    `Cannot plan memory: a model, or a model with adapters of getPeftModel, is required, received one that differs at "${path}"`,
  );
}

/** The bare model on `device`, its weights stored as the original's are. */
function copyBase(model: CausalLM, device: Device): CausalLM {
  const make = (shape: readonly number[], dtype: Tensor["dtype"] = "float32") =>
    new Parameter(untracked(() => unallocated(device, shape, dtype)));
  type Build = new (
    config: unknown,
    options: object,
    source: (shape: readonly number[]) => Parameter,
  ) => CausalLM;
  const copy = new (model.constructor as Build)(model.config, { device }, (shape) => make(shape));
  const others = new Map<Parameter, Parameter>();
  const bytes: number[] = [];
  for (const [path, parameter] of copy.namedParameters()) {
    const original = find(model, path);
    if (!(original instanceof Parameter)) throw uncopyable(path);
    const { shape, dtype } = original;
    bytes.push(original.storage.buffer.byteLength); // more than it needs, where it was not loaded
    if (dtype !== "float32" || shape.join() !== parameter.shape.join()) {
      others.set(parameter, make(shape, dtype));
    }
  }
  for (const [path, module] of copy.namedModules()) {
    const original = find(model, path);
    if (module instanceof Conv1D && original instanceof Conv1D) module.layout = original.layout;
  }
  replaceParameters(copy, others);
  for (const parameter of others.keys()) parameter.dispose();
  [...copy.parameters()].forEach((parameter, i) => parameter.storage.allocate(bytes[i]));
  copy.random.allocate();
  return copy;
}

/** A copy, and the bytes of its parts. */
export interface ModelCopy {
  readonly model: PlannedModel;
  /** Bytes of the base's parameters. */
  readonly weights: number;
  /** Bytes that its adapters add. */
  readonly adapter: number;
}

/** Options of making an adapter where nothing is computed. */
const UNCOMPUTED = { encode: () => [0], partly: "warn" } as const;

/** Copies a model without its adapters to `device`, with a new adapter. */
export function copyWithAdapter(model: PlannedModel, config: AdapterConfig, device: Device): ModelCopy {
  const base = copyBase(model instanceof PeftModel ? model.getBaseModel() : model, device);
  const weights = device.memory.liveBytes;
  const copy = getPeftModel(base, config, "default", UNCOMPUTED);
  return { model: copy, weights, adapter: device.memory.liveBytes - weights };
}

/**
 * Copies a model to `device`.
 * @throws {TypeError} for a model whose tree is not that of its class with the adapters of its `peftConfig`
 */
export function copyModel(model: PlannedModel, device: Device): ModelCopy {
  const isPeft = model instanceof PeftModel;
  const base = copyBase(isPeft ? model.getBaseModel() : model, device);
  const weights = device.memory.liveBytes;
  let copy: PlannedModel = base;
  if (isPeft) {
    const configs = Object.entries(model.peftConfig);
    const mixed = new Set(configs.map(([, { peftType }]) => peftType)).size > 1;
    const options = { ...UNCOMPUTED, mixed };
    const [[name, config], ...rest] = configs;
    const made = getPeftModel(base, config, name, options);
    for (const [name, config] of rest) made.addAdapter(name, config, options);
    made.setAdapter(mixed ? [...model.activeAdapters] : model.activeAdapters[0] ?? name);
    copy = made;
  }
  const originals = new Map<string, Parameter>(model.namedParameters());
  for (const [path, parameter] of copy.namedParameters()) {
    const original = originals.get(path);
    if (!original || original.shape.join() !== parameter.shape.join()) throw uncopyable(path);
    parameter.requiresGrad = original.requiresGrad;
  }
  return { model: copy, weights, adapter: device.memory.liveBytes - weights };
}

/**
 * The adapters of a model and their state (`peft`'s `get_layer_status` and `get_model_status`).
 * @module
 */

import { Embedding, type Module } from "../../nn/mod.ts";
import { hostOf, tunerOf } from "../adapters/find_adapters.ts";
import { savedModules, tunerLayers } from "../layers/find_layers.ts";
import type { ModulesToSaveWrapper } from "../layers/modules_to_save.ts";
import type { TunerLayer } from "../layers/tuner_layer.ts";
import { methodOf } from "../registry.ts";

/**
 * Whether parameters train: all, none, or some of them.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { TrainingStatus } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * model.setRequiresGrad("default", false);
 * const status: TrainingStatus = model.getModelStatus().requiresGrad.default;
 * console.log(status); // false; "irregular" if some of its parameters trained
 * ```
 */
export type TrainingStatus = boolean | "irregular";

/**
 * State of one layer with adapters.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { TunerLayerStatus } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * const [layer]: TunerLayerStatus[] = model.getLayerStatus();
 * console.log(layer.name, layer.moduleType, layer.requiresGrad.default); // model.transformer.h.0.attn.c_attn lora.Linear true
 * ```
 */
export interface TunerLayerStatus {
  /** Path of the layer, such as `model.transformer.h.0.attn.c_attn`. */
  name: string;
  /** Kind of the layer in `peft`, such as `lora.Linear`. */
  moduleType: string;
  /** Whether its adapters are switched on. */
  enabled: boolean;
  /** Names of the active adapters of the model. */
  activeAdapters: string[];
  /** Names of the adapters that are in its weights. */
  mergedAdapters: string[];
  /** Whether the parameters of each adapter train. */
  requiresGrad: Record<string, TrainingStatus>;
  /** Names of its adapters, sorted. */
  availableAdapters: string[];
  /** Kinds of devices each adapter is on. */
  devices: Record<string, string[]>;
  /** How its base weight is quantised; null. */
  quantizationBackend: string | null;
}

/**
 * State of a model with adapters.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { TunerModelStatus } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
 * const status: TunerModelStatus = model.getModelStatus();
 * console.log(status.adapterModelType, status.numAdapterLayers, status.trainableParams); // LoraModel 4 8192
 * ```
 */
export interface TunerModelStatus {
  /** Class of the base model. */
  baseModelType: string;
  /** `peft`'s class for the method, such as `LoraModel`; "None" for injected adapters. */
  adapterModelType: string;
  /** Method of each adapter; empty for injected ones. */
  peftTypes: Record<string, string>;
  /** Number of values that train. */
  trainableParams: number;
  /** Number of all values. */
  totalParams: number;
  /** Layers with adapters. */
  numAdapterLayers: number;
  /** Whether adapters are switched on. */
  enabled: TrainingStatus;
  /** Names of the active adapters. */
  activeAdapters: string[] | "irregular";
  /** Names of the merged adapters, sorted; "irregular" if a layer that has one of them has it unmerged. */
  mergedAdapters: string[] | "irregular";
  /** Whether the parameters of each adapter train. */
  requiresGrad: Record<string, TrainingStatus>;
  /** Names of all adapters, sorted. */
  availableAdapters: string[];
  /** Kinds of devices each adapter is on. */
  devices: Record<string, string[]>;
  /** How the base is quantised; null. */
  quantizationBackend: string | null;
}

/** true, false, or "irregular". */
function consistent(flags: readonly TrainingStatus[]): TrainingStatus {
  return flags.every((flag) => flag === true)
    ? true
    : flags.every((flag) => flag === false)
    ? false
    : "irregular";
}

/** The values of each key in several records, judged together. */
function byKey<Value, Result>(
  records: readonly Readonly<Record<string, Value>>[],
  judge: (values: Value[]) => Result,
): Record<string, Result> {
  const names = new Set(records.flatMap((record) => Object.keys(record)));
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      judge(records.filter((record) => Object.hasOwn(record, name)).map((record) => record[name])),
    ]),
  );
}

/**
 * The state of every layer with adapters, in the order of the tree.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getLayerStatus, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * for (const { name, activeAdapters, enabled } of getLayerStatus(model)) console.log(name, activeAdapters, enabled);
 * ```
 * @param model a `PeftModel`, or a model that `injectAdapterInModel` changed
 * @throws {TypeError} if it has no adapters, or virtual tokens
 */
export function getLayerStatus(model: Module): TunerLayerStatus[] {
  const { model: tree, state, configs, wrapsModel } = tunerOf(model, "tell the status of layers");
  const prefix = wrapsModel ? "model." : "";
  const known = [...configs.keys()];
  const layers = [...tunerLayers(tree), ...savedModules(tree)];
  const order = new Map([...tree.namedModules()].map(([path], i) => [path, i]));
  layers.sort(([a], [b]) => order.get(a)! - order.get(b)!);
  if (layers.length === 0) {
    throw new TypeError(
      "Cannot tell the status of layers: No adapter layers found in the model, please ensure that it's a PEFT model or that you have PEFT adapters injected in the model.",
    );
  }
  return layers.map(([path, layer]) => {
    const here = "modules_to_save" in layer ? layer.modules_to_save.keys() : layer.adapterNames();
    const names = known.filter((name) => here.includes(name));
    const parameters = Object.fromEntries(
      names.map((name) => [name, layer.adapterParameters(name).map(([, parameter]) => parameter)] as const)
        .filter(([, list]) => list.length > 0), // a tied layer uses those of another one
    );
    return {
      name: prefix + path,
      moduleType: moduleTypeOf(layer, configs.get(names[0])?.peftType ?? ""),
      enabled: !state.disabled,
      activeAdapters: [...state.active],
      mergedAdapters: "base_layer" in layer ? state.merged.filter((name) => names.includes(name)) : [],
      requiresGrad: byKey([parameters], ([list]) => consistent(list.map((p) => p.requiresGrad))),
      availableAdapters: names.toSorted(),
      devices: byKey([parameters], () => ["webgpu"]),
      quantizationBackend: null,
    };
  });
}

/** `peft`'s name of a layer's class. */
function moduleTypeOf(layer: TunerLayer | ModulesToSaveWrapper, peftType: string): string {
  if (!("base_layer" in layer)) return "ModulesToSaveWrapper";
  const kind = layer.base_layer instanceof Embedding ? "Embedding" : "Linear";
  return layer.peftClass ?? methodOf(peftType).peftClasses?.layer ?? `${peftType.toLowerCase()}.${kind}`;
}

/**
 * The state of a model with adapters.
 * @param model a `PeftModel`, or a model that `injectAdapterInModel` changed
 * @throws {TypeError} if it has no adapters, or virtual tokens
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getModelStatus, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * console.log(getModelStatus(model).activeAdapters); // ["default"]
 * ```
 */
export function getModelStatus(model: Module): TunerModelStatus {
  const layers = getLayerStatus(model);
  const { model: base, state, configs } = hostOf(model, "tell the status of the model");
  const wrapped = base !== model;
  const types = Object.fromEntries([...configs].map(([name, { peftType }]) => [name, peftType]));
  const [first] = Object.values(types);
  const parameters = [...model.parameters()];
  const count = (list: typeof parameters) => list.reduce((sum, { size }) => sum + size, 0);
  const merged = [...new Set(layers.flatMap(({ mergedAdapters }) => mergedAdapters))].sort();
  const half = layers.some(({ mergedAdapters, availableAdapters }) =>
    availableAdapters.some((name) => merged.includes(name) && !mergedAdapters.includes(name))
  );
  return {
    baseModelType: base.constructor.name,
    adapterModelType: wrapped ? methodOf(first).peftClasses?.model ?? `${first}Model` : "None",
    peftTypes: wrapped ? types : {},
    trainableParams: count(parameters.filter((parameter) => parameter.requiresGrad)),
    totalParams: count(parameters),
    numAdapterLayers: layers.length,
    enabled: !state.disabled,
    activeAdapters: [...state.active],
    mergedAdapters: half ? "irregular" : merged,
    requiresGrad: byKey(layers.map(({ requiresGrad }) => requiresGrad), consistent),
    availableAdapters: [...new Set(layers.flatMap(({ availableAdapters }) => availableAdapters))].sort(),
    devices: byKey(layers.map(({ devices }) => devices), (lists) => [...new Set(lists.flat())].sort()),
    quantizationBackend: null,
  };
}

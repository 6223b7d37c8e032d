/**
 * BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): every bias of the model trains, and nothing else.
 *
 * `peft` has no such method. What its LoRA computes with `bias="all"` and an alpha of 0 is the same, so that is what
 * the file says: a LoRA of rank 1 and alpha 0 in one layer (the carrier), whose factors change nothing, and all biases.
 * Python loads it and trains the biases further, and files of this form load here. Unlike LoRA's biases, each adapter
 * has its own, so that several can be loaded at once, and the base stays the same, bit for bit.
 * @module
 */

import { type Device, full, layerNorm, linear, type Tensor, untracked } from "../../autograd/mod.ts";
import {
  Conv1D,
  LayerNorm,
  Linear,
  Module,
  Parameter,
  ParameterDict,
  type ProjectionOptions,
} from "../../nn/mod.ts";
import { renameKey } from "../layers/rename_adapter.ts";
import {
  type InjectionContext,
  type SharedPart,
  sharedPartOf,
  type TunerLayer,
} from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { partOfOptions } from "../state/by_sample.ts";
import { matchesTarget } from "../targets/targets.ts";
import { KEY_PREFIX } from "./adapter_format.ts";
import { BitFitConfig } from "./bitfit_config.ts";
import type { PeftMethod } from "./method.ts";

/** A layer that has a bias. */
export type BiasedLayer = LayerNorm | Conv1D | (Linear & { bias: Parameter });

/** The layer that is LoRA's in the file, and the factors that change nothing. */
export class BitFitCarrier implements SharedPart {
  /** Its path, without `base_model.model.` */
  readonly path: string;
  readonly fields: Partial<BitFitConfig>;
  readonly shared: ReadonlyMap<string, Parameter>;

  /** @throws {TypeError} if no layer with a weight matrix has that name */
  constructor(wanted: string | null, targets: ReadonlyMap<string, Module>, device: Device) {
    const bases = [...targets].map(([path, module]): [string, Module] => [
      path,
      module instanceof BitFitLayer ? module.base_layer : module,
    ]);
    const found = bases.find((entry): entry is [string, Conv1D | Linear] =>
      !(entry[1] instanceof LayerNorm) && (wanted === null || matchesTarget(entry[0], [wanted]))
    );
    if (!found) {
      throw new TypeError(
        `Cannot apply bitfit: a carrier with a weight matrix is required, received "${wanted}"`,
      );
    }
    const [path, layer] = found;
    this.path = path;
    this.fields = { carrier: wanted ?? path, fanInFanOut: layer instanceof Conv1D };
    const zeros = (shape: number[]) => {
      const parameter = new Parameter(untracked(() => full(device, shape, 0)));
      parameter.requiresGrad = false;
      return parameter;
    };
    this.shared = new Map([
      [`${KEY_PREFIX}${path}.lora_A.weight`, zeros([1, layer.inFeatures])],
      [`${KEY_PREFIX}${path}.lora_B.weight`, zeros([layer.outFeatures, 1])],
    ]);
  }

  /** Frees the factors. */
  dispose(): void {
    for (const parameter of this.shared.values()) parameter.dispose();
  }
}

/** Replaces a layer; the active adapter's bias is used instead of the layer's. */
export class BitFitLayer extends Module implements TunerLayer {
  /** The layer it replaced. */
  base_layer: BiasedLayer;
  /** Trained copies of the bias by adapter. */
  bitfit_bias: ParameterDict = new ParameterDict();
  readonly #state: AdapterState;
  /** Keys on disk by adapter. */
  readonly #keys = new Map<string, string>();

  /** Wraps a layer; adapters are added after. */
  constructor(base: BiasedLayer, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
  }

  /** What the layer computes, with the acting bias. @throws {RangeError} if two adapters are active */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    return this.#state.forRows(
      x,
      (name) => this.bitfit_bias.has(name),
      (acting, part) => this.#run(part(x), acting, partOfOptions(options, part)),
    );
  }

  #run(x: Tensor, acting: readonly string[], options: ProjectionOptions): Tensor {
    if (acting.length > 1) {
      throw new RangeError(
        `Cannot run bitfit: one active adapter is required, received ${acting.join(", ")}`,
      );
    }
    const base = this.base_layer;
    if (acting.length === 0) return base.forward(x, options);
    const bias = this.bitfit_bias.get(acting[0])!;
    if (base instanceof LayerNorm) return layerNorm(x, base.weight, bias, { eps: base.eps });
    return linear(x, base.weight, bias, { layout: base.layout, ...options });
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.bitfit_bias.keys();
  }

  /** Copies the bias: a fresh adapter changes nothing. */
  addAdapter(name: string, _config: BitFitConfig, path: string, context: InjectionContext): void {
    const carrier = sharedPartOf(context, BitFitCarrier);
    const { bias } = this.base_layer;
    this.bitfit_bias.set(name, new Parameter(untracked(() => bias.copy())));
    this.#keys.set(name, path === carrier.path ? "base_layer.bias" : "bias");
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    this.bitfit_bias.delete(name);
    this.#keys.delete(name);
  }

  /** Renames an adapter. */
  renameAdapter(from: string, to: string): void {
    this.bitfit_bias.rename(from, to);
    renameKey(this.#keys, from, to);
  }

  /** The bias by its key on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const bias = this.bitfit_bias.get(name);
    return bias ? [[this.#keys.get(name)!, bias]] : [];
  }

  /** Writes an adapter's bias into the base layer. */
  merge(name: string): void {
    const copy = this.bitfit_bias.get(name);
    if (!copy) return;
    const { bias } = this.base_layer;
    bias.device.copy(copy.view, bias.view);
  }

  /** What `merge` changes. */
  mergedWeights(): Parameter[] {
    return [this.base_layer.bias];
  }
}

/** Whether a layer has a bias, adapted or not. */
const isBiased = (module: Module) =>
  module instanceof LayerNorm || module instanceof Conv1D || module instanceof BitFitLayer ||
  (module instanceof Linear && module.bias !== null);

/** Paths of every layer with a bias. @throws {TypeError} if there is none */
function biasedLayers(model: Module): string[] {
  const paths = [...model.namedModules()].filter(([, module]) => isBiased(module)).map(([path]) => path);
  if (paths.length > 0) return paths;
  throw new TypeError(
    `Cannot apply bitfit: a model with biases is required, received ${model.constructor.name} without any`,
  );
}

/** BitFit, for the registry. */
export const bitfit: PeftMethod<BitFitConfig> = {
  name: "bitfit",
  configFromJSON: (json) => BitFitConfig.fromJSON(json),
  sharedPart: (config, targets, { device }) => new BitFitCarrier(config.carrier, targets, device),
  defaultTargets: biasedLayers,
  supports: isBiased,
  wrap: (module, state) => new BitFitLayer(module as BiasedLayer, state),
};

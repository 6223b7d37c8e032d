/**
 * What weighing, swapping, scaling and mixing adapters need of a layer whose change is a product of two factors.
 * @module
 */

import type { Linear, Module, ModuleDict } from "../../nn/mod.ts";
import { AdaptedLinear } from "../layers/adapted_linear.ts";
import { isTunerLayer, type TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import type { LoraScaling } from "../state/lora_scaling.ts";
import type { FactoredLayer } from "../state/low_rank_factors.ts";
import type { DoraMagnitude } from "./dora.ts";

/**
 * A layer of the LoRA family.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { LowRankLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ r: 4, loraAlpha: 16, targetModules: ["wte"] })); // embeddings are of the family, too
 * const layer = base.getSubmodule("transformer.wte") as LowRankLayer;
 * console.log(layer.scaling.get("default"), layer.adapterState.active); // 4 [ "default" ]
 * ```
 */
export interface LowRankLayer extends TunerLayer, FactoredLayer {
  /** Scaling of each adapter. */
  readonly scaling: LoraScaling;
  /** What all adapters of the model share. */
  readonly adapterState: AdapterState;
}

/**
 * A linear layer with LoRA adapters. Properties carry `peft`'s names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { LoraLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
 * const { lora_A, lora_B } = base.getSubmodule("transformer.h.0.attn.c_attn") as LoraLayer;
 * console.log(lora_A.get("default")!.weight.shape, lora_B.get("default")!.weight.shape); // [ 4, 128 ] [ 384, 4 ]
 * ```
 */
export interface LoraLayer extends AdaptedLinear {
  /** Dropout of each adapter's input. */
  lora_dropout: ModuleDict;
  /** A of each adapter, [r, in]. */
  lora_A: ModuleDict<Linear>;
  /** B of each adapter, [out, r]. */
  lora_B: ModuleDict<Linear>;
  /** Lengths of the weight's columns, of each DoRA adapter; absent where there is none. */
  lora_magnitude_vector?: ModuleDict<DoraMagnitude>;
}

/**
 * For `layer instanceof LoraLayer`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { LoraLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof LoraLayer) console.log(path);
 * ```
 */
export const LoraLayer: { [Symbol.hasInstance](layer: unknown): layer is LoraLayer } = {
  [Symbol.hasInstance]: (layer): layer is LoraLayer =>
    layer instanceof AdaptedLinear && isLowRankLayer(layer),
};

/** Whether a module is a layer of the LoRA family. */
export function isLowRankLayer(module: Module): module is LowRankLayer {
  if (!isTunerLayer(module) || !("lowRank" in module)) return false;
  const layer = module as LowRankLayer;
  return layer.adapterNames().some((name) => layer.lowRank(name));
}

/** Every layer of the LoRA family below `root`, with its path. */
export function lowRankLayers(root: Module): [path: string, layer: LowRankLayer][] {
  return [...root.namedModules()].filter((entry): entry is [string, LowRankLayer & Module] =>
    isLowRankLayer(entry[1])
  );
}

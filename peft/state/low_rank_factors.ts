/**
 * The two factors of a change of low rank, as adapters of the LoRA family show them.
 * @module
 */

import { concat, type Tensor } from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";

/**
 * The initial factors of an adapter, subtracted from the weight so that the layer starts unchanged: -s (B0 A0)^T.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { LoraLayer, LoraOffset } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ r: 4, initLoraWeights: "olora", targetModules: ["attn.c_proj"] }));
 * const layer = base.getSubmodule("transformer.h.0.attn.c_proj") as LoraLayer;
 * const offset: LoraOffset | undefined = layer.lowRank("default")!.offset; // taken off the base at the start
 * console.log(offset?.A.shape, offset?.B.shape); // [ 4, 128 ] [ 128, 4 ]
 * ```
 */
export interface LoraOffset {
  /** A0, [r, in] */
  readonly A: Tensor;
  /** -B0, [out, r] */
  readonly B: Tensor;
}

/**
 * The factors of one adapter: its change of the weight, seen as [out, in], is scaling * B A.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { LoraLayer, LowRankFactors } from "@peft/webgpu/peft";
 * import { matmul } from "@peft/webgpu/tensor";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
 * const layer = base.getSubmodule("transformer.h.0.attn.c_attn") as LoraLayer;
 * const { A, B }: LowRankFactors = layer.lowRank("default")!;
 * console.log(matmul(B, A).shape); // [ 384, 128 ]: the change of the weight, before scaling
 * ```
 */
export interface LowRankFactors {
  /** [r, in] */
  readonly A: Parameter;
  /** [out, r] */
  readonly B: Parameter;
  /** [out], added to B's output before scaling; null where there is none. */
  readonly bias: Parameter | null;
  /** Whether the lengths of the weight's columns are trained apart (DoRA), so that the change is more than B A. */
  readonly hasMagnitude: boolean;
  /** The initial factors that are subtracted from the weight (PiSSA, OLoRA); absent: none. */
  readonly offset?: LoraOffset;
}

/** A [R, in] and B [out, R] of everything the adapter adds, its offset included (R = 2 r then). */
export function wholeFactors(
  { A, B, offset }: { readonly A: Tensor; readonly B: Tensor; readonly offset?: LoraOffset },
): { A: Tensor; B: Tensor } {
  return offset ? { A: concat([A, offset.A], 0), B: concat([B, offset.B], 1) } : { A, B };
}

/**
 * A layer whose adapters may be of the LoRA family.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { FactoredLayer, LoraLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["c_attn"] }), "pirate");
 * const layer: FactoredLayer = base.getSubmodule("transformer.h.0.attn.c_attn") as LoraLayer;
 * console.log(layer.adapterNames(), layer.scaling.get("pirate")); // [ "pirate" ] 2
 * ```
 */
export interface FactoredLayer {
  /** Names of its adapters. */
  adapterNames(): string[];
  /** An adapter's factors; null if it is not in this layer, or not of the LoRA family. */
  lowRank(name: string): LowRankFactors | null;
  /** Scaling of each adapter of the LoRA family. */
  readonly scaling: ReadonlyMap<string, number>;
}

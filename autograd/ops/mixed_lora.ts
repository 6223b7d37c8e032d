/**
 * A linear layer with a LoRA adapter of its own for each sample of the batch:
 *   y = act(x W + b + s_i (B_i A_i x + c_i)) + residual, i the adapter of the sample, c_i the bias of B_i if it has one.
 * Two launches whatever the number of adapters: x W, and `kernels/mixed_lora.ts`. No gradient flows through it.
 * @module
 */

import { mixedLoraColumns, mixedLoraKernel, NO_BIAS, PLACE_WORDS } from "../../kernels/mixed_lora.ts";
import { sameShape, showShape } from "../shape.ts";
import { noGrad } from "../tape.ts";
import { empty, Tensor } from "../tensor.ts";
import { linear, type LinearOptions } from "./linear.ts";

/** The factors of one adapter in one layer. */
export interface LoraFactorPair {
  /** [R, in] */
  readonly A: Tensor;
  /** [out, R] */
  readonly B: Tensor;
  /** [out], or null. */
  readonly bias: Tensor | null;
  /** s */
  readonly scaling: number;
}

/**
 * Copies of several adapters' factors in one layer, and which sample takes which.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { LoraLayer, MixedBatch } from "@peft/webgpu/peft";
 * import type { StackedLora } from "@peft/webgpu/tensor";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
 * const layer = [...model.namedModules()].map(([, module]) => module).find((module) => module instanceof LoraLayer)!;
 * const stack: StackedLora = new MixedBatch(["default", "__base__"]).stackOf(layer)!;
 * console.log(stack.samples, stack.maxRank, stack.A.shape); // 2 4 [512]
 * ```
 */
export interface StackedLora {
  /** Samples of the batch. */
  readonly samples: number;
  /** Largest rank; ranks may differ. */
  readonly maxRank: number;
  /** Where each sample's adapter is: uint32 [samples, 8]. */
  readonly places: Tensor;
  /** Every A, one after the other. */
  readonly A: Tensor;
  /** Every B and its bias, one after the other. */
  readonly B: Tensor;
  /** Size of the layer's input. */
  readonly inFeatures: number;
  /** Size of its output. */
  readonly outFeatures: number;
}

/**
 * Copies factors next to each other.
 * @param pairs the adapters' factors; all of one layer
 * @param rows index into `pairs` for each sample, -1 for none
 * @throws {TypeError} if shapes do not fit
 */
export function stackLora(pairs: readonly LoraFactorPair[], rows: readonly number[]): StackedLora {
  const [inFeatures, outFeatures] = [pairs[0].A.shape[1], pairs[0].B.shape[0]];
  const { device } = pairs[0].A;
  const parts: { tensor: Tensor; at: number }[][] = [[], []];
  const ends = [0, 0];
  const put = (which: 0 | 1, tensor: Tensor) => {
    const at = ends[which];
    parts[which].push({ tensor, at });
    ends[which] += tensor.size;
    return at;
  };
  const places = pairs.map(({ A, B, bias, scaling }) => {
    const [R] = A.shape;
    const fits = sameShape(A.shape, [R, inFeatures]) && sameShape(B.shape, [outFeatures, R]);
    if (!fits || bias && !sameShape(bias.shape, [outFeatures])) {
      throw new TypeError(
        `Cannot mix adapters: A [R, ${inFeatures}] and B [${outFeatures}, R] are required, received ${
          showShape(A.shape)
        } and ${showShape(B.shape)}`,
      );
    }
    const bits = new Uint32Array(Float32Array.of(scaling).buffer)[0];
    return [R, put(0, A), put(1, B), bias ? put(1, bias) : NO_BIAS, bits, 0, 0, 0];
  });
  const none = [0, 0, 0, NO_BIAS, 0, 0, 0, 0];
  const [A, B] = parts.map((list, which) => {
    const all = empty(device, [ends[which]]);
    for (const { tensor, at } of list) {
      device.copy(tensor.view, { ...all.view, offset: 4 * at, size: 4 * tensor.size });
    }
    return all;
  });
  return {
    samples: rows.length,
    maxRank: Math.max(...pairs.map((pair) => pair.A.shape[0])),
    places: Tensor.from(Uint32Array.from(rows.flatMap((row) => places[row] ?? none)), {
      shape: [rows.length, PLACE_WORDS],
      device,
    }),
    A,
    B,
    inFeatures,
    outFeatures,
  };
}

/**
 * x [samples ..., in] -> [samples ..., out].
 * @throws {TypeError} if x does not have as many samples, or the weight's sizes are others
 */
export function mixedLoraLinear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  stacked: StackedLora,
  options: LinearOptions = {},
): Tensor {
  const { samples, inFeatures, outFeatures, maxRank } = stacked;
  const rows = x.size / inFeatures;
  if (x.shape.at(-1) !== inFeatures || rows % samples !== 0) {
    throw new TypeError(
      `Cannot mix adapters: x of ${samples} samples [..., ${inFeatures}] is required, received ${
        showShape(x.shape)
      }`,
    );
  }
  const { activation, residual = null, layout } = options;
  return noGrad(() => {
    const { device } = x;
    const limit = device.limits.maxStorageBufferBindingSize;
    if (4 * rows * outFeatures > limit) {
      throw new RangeError(
        `Cannot mix adapters: a result of at most ${limit} bytes is required, received ${
          4 * rows * outFeatures
        }; use fewer rows`,
      );
    }
    const y = linear(x, weight, null, { layout });
    const rowsPerSample = rows / samples;
    const wide = inFeatures % 4 === 0 && outFeatures % 4 === 0;
    const most = mixedLoraColumns({ inFeatures, maxRank, wide }, device.profile.maxLoopIterations);
    const all = Math.min(most, Math.ceil(outFeatures / 4) * 4);
    const { mixedLoraColumns: own } = device.profile;
    const COLUMNS = own === Infinity ? all : own;
    const kernel = mixedLoraKernel({
      wide,
      tileRows: rowsPerSample === 1 ? 1 : 8,
      bias: bias !== null,
      activation: activation ?? "none",
      residual: residual !== null,
    });
    device.dispatch(
      kernel,
      {
        x: x.view,
        places: stacked.places.view,
        a: stacked.A.view,
        b: stacked.B.view,
        ...(bias ? { bias: bias.view } : {}),
        ...(residual ? { residual: residual.view } : {}),
        y: y.view,
      },
      { samples, rowsPerSample, inFeatures, outFeatures, maxRank },
      { COLUMNS },
      2 * rows * maxRank * (inFeatures + outFeatures),
    );
    return y;
  });
}

/**
 * The L2 norm of many gradients together, and clipping by it (`torch.nn.utils.clip_grad_norm_`), without a readback:
 *   norm = sqrt(sum of all g^2),   coefficient = min(1, maxNorm / (norm + 1e-6))
 * @module
 */

import { clipGradients, gradNormFinish, gradNormPartials } from "../../kernels/grad_norm.ts";
import { vectorsOf } from "../../kernels/tensor_slots.ts";
import { tidy } from "../scope.ts";
import { showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { launchSlots, packTensors } from "./_slot_packs.ts";

const WORKGROUP = 64;
/** Vec4s that a thread adds up at least, */
const MIN_PER_THREAD = 16;
/** and more of them where there would be more partial sums than this. */
const MAX_PARTIALS = 32768;

/**
 * Result of `gradNorm`.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import { type GradNorm, gradNorm } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const { norm, clip }: GradNorm = gradNorm([Tensor.from([3, 4])], 1);
 * console.log(await norm.item(), (await clip.data())[0].toFixed(2)); // 5 0.20
 * ```
 */
export interface GradNorm {
  /** The norm before clipping, a scalar; infinite or NaN if an element is, or if the squares are too large. */
  readonly norm: Tensor;
  /** [2]: the coefficient and the norm, for `optimizer.step({ clip })`. */
  readonly clip: Tensor;
}

function checkGrads(action: string, grads: readonly Tensor[]): void {
  if (grads.length === 0) throw new RangeError(`Cannot ${action}: at least one gradient is required`);
  for (const { dtype, shape } of grads) {
    if (dtype === "float32") continue;
    throw new TypeError(
      `Cannot ${action}: float32 gradients are required, received ${dtype} ${showShape(shape)}`,
    );
  }
}

/**
 * The norm of all `grads` together and what clips it to `maxNorm`.
 *
 * @example
 * ```ts
 * import { AdamW, AutoModelForCausalLM } from "@peft/webgpu";
 * import { gradNorm } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const params = [...model.parameters()], optimizer = new AdamW(params, { lr: 1e-4 });
 * model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] }).loss!.backward();
 * const { clip } = gradNorm(params.flatMap(({ grad }) => grad ?? []), 1);
 * optimizer.step({ clip }); // clips as it reads the gradients
 * ```
 * @param maxNorm positive; Infinity clips nothing
 * @throws {RangeError} for no gradient, or a maxNorm that is not positive
 */
export function gradNorm(grads: readonly Tensor[], maxNorm: number): GradNorm {
  checkGrads("take the norm of gradients", grads);
  if (!(maxNorm > 0)) {
    throw new RangeError(`Cannot clip gradients: a positive maxNorm is required, received ${maxNorm}`);
  }
  return tidy(() => {
    const { device } = grads[0];
    const sizes = grads.map((grad) => grad.size);
    const total = sizes.reduce((sum, size) => sum + vectorsOf(size), 0);
    const perThread = Math.max(MIN_PER_THREAD, Math.ceil(total / MAX_PARTIALS));
    const vectorsPerGroup = WORKGROUP * perThread;
    const packs = packTensors(device, sizes, { each: 1, shared: 1, blocks: 1 });
    const groups = packs.flatMap(({ pieces }) => pieces)
      .reduce((sum, { size }) => sum + Math.ceil(vectorsOf(size) / vectorsPerGroup), 0);
    const count = groups * WORKGROUP;
    const partials = empty(device, [count], "uint32");
    let offset = 0;
    for (const pack of packs) {
      offset += WORKGROUP * launchSlots(device, {
        kernel: gradNormPartials,
        pack,
        each: { g: grads },
        shared: { partials: partials.view },
        params: { perThread, offset },
        vectorsPerGroup,
      });
    }
    const norm = empty(device, []);
    const clip = empty(device, [2]);
    device.dispatch(gradNormFinish, { partials: partials.view, norm: norm.view, clip: clip.view }, {
      count,
      maxNorm: Math.min(maxNorm, 3.4e38),
    });
    return { norm, clip };
  });
}

/** Multiplies every gradient, in place, by the coefficient of `gradNorm`. */
export function scaleByClip(grads: readonly Tensor[], clip: Tensor): void {
  checkGrads("clip gradients", grads);
  const { device } = grads[0];
  const sizes = grads.map((grad) => grad.size);
  for (const pack of packTensors(device, sizes, { each: 1, shared: 1, blocks: 1 })) {
    launchSlots(device, {
      kernel: clipGradients,
      pack,
      each: { g: grads },
      written: "g",
      shared: { clip: clip.view },
      params: {},
      vectorsPerGroup: WORKGROUP,
    });
  }
}

/**
 * Clipping of gradients by their common norm (`torch.nn.utils.clip_grad_norm_`).
 * @module
 */

import { full, type Tensor, tidy } from "../../autograd/mod.ts";
import { gradNorm, scaleByClip } from "../../autograd/ops/grad_norm.ts";

/**
 * Scales the gradients of `params`, in place, by min(1, maxNorm / (norm + 1e-6)), where norm is the L2 norm of all of
 * them together. Nothing is read back. Parameters without a gradient are passed over. A training loop that needs the
 * norm no further than its optimizer saves this pass: `optimizer.step({ clip: gradNorm(grads, maxNorm).clip })`.
 * @param params one parameter, or several
 * @param maxNorm positive; Infinity scales nothing
 * @returns the norm before clipping, a scalar; not finite if a gradient is not
 * @throws {RangeError} for a maxNorm that is not positive, or no parameter
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, clipGradNorm, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] }).loss!.backward();
 * const norm = clipGradNorm(model.parameters(), 1);
 * console.log(await norm.item());
 * ```
 */
export function clipGradNorm(params: Tensor | Iterable<Tensor>, maxNorm: number): Tensor {
  const all = [...new Set(Symbol.iterator in params ? params : [params])];
  if (all.length === 0) throw new RangeError("Cannot clip gradients: at least one parameter is required");
  const grads = all.flatMap(({ grad }) => grad ? [grad] : []);
  return tidy(() => {
    if (grads.length === 0) return full(all[0].device, [], 0);
    const { norm, clip } = gradNorm(grads, maxNorm);
    scaleByClip(grads, clip);
    return norm;
  });
}

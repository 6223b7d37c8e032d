/**
 * Activations in half the memory: what ops save for their gradients is packed as float16 when it is recorded, and read
 * as float32 again in the backward pass. Arithmetic, parameters and gradients stay float32. No device feature is needed.
 * @module
 */

import { cast } from "./ops/cast.ts";
import { type SavedStore, withSavedStore } from "./record.ts";
import { type Storage, Tensor } from "./tensor.ts";

/** Tensors with fewer elements are not worth two launches. */
const SMALLEST = 1024;

/** A store that packs each tensor once: several ops may save one. */
function halves(): SavedStore {
  const packed = new WeakMap<Storage, Storage>();
  return {
    pack(tensor) {
      if (tensor.dtype !== "float32" || tensor.size < SMALLEST || tensor.size % 2 !== 0) return null;
      const known = packed.get(tensor.storage);
      if (known && known.references > 0) return new Tensor(known, [tensor.size], "float16");
      const half = cast(tensor.alias([tensor.size]), "float16");
      packed.set(tensor.storage, half.storage);
      return half;
    },
    unpack: (half, shape) => cast(half, "float32").alias(shape),
  };
}

/**
 * Runs `body`, a forward pass, so that what its gradients need is kept in half the memory. Values beyond 65,504 become
 * infinite there.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { withHalfActivations } from "@peft/webgpu/tensor";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const { loss } = withHalfActivations(() => model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }));
 * loss!.backward(); // Trainer's fp16 does this
 * ```
 */
export function withHalfActivations<T>(body: () => T): T {
  return withSavedStore(halves(), body);
}

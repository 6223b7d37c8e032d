/**
 * Gradient checkpointing: a part of a model whose activations are computed again in the backward pass instead of kept.
 * @see Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174
 * @module
 */

import type { RandomPlace, RandomState } from "./random.ts";
import { withSavedStore } from "./record.ts";
import { tidy, untracked } from "./scope.ts";
import { settingsKey } from "./settings.ts";
import { backward, newestNode, nodesBelow, noGrad, recordNode, withGrad } from "./tape.ts";
import type { TapeTensor } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/**
 * What is computed twice.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { checkpoint, type Checkpointed, dropout, multiply, RandomState, sum, Tensor } from "@peft/webgpu/tensor";
 *
 * const random = new RandomState(await initDevice(), 7);
 * const x = Tensor.from([3, 4], { requiresGrad: true }), mask = Tensor.from([1, 0]);
 * const part: Checkpointed<{ x: Tensor }> = {
 *   name: "masked dropout",
 *   inputs: { x },
 *   constants: { mask },
 *   random,
 *   body: ({ x }, { mask }) => dropout(multiply(x, mask), 0.5, random), // drops the same the second time
 * };
 * sum(checkpoint(part)).backward();
 * console.log(await x.grad!.data()); // [2, 0], or [0, 0] where it drops the first
 * ```
 */
export interface Checkpointed<Inputs extends Readonly<Record<string, Tensor>>> {
  /** Its name, for errors. */
  readonly name: string;
  /** Tensors that gradients may flow to: all that `body` reads of what other ops computed with gradients. */
  readonly inputs: Inputs;
  /** Other tensors that `body` reads and the caller's scope frees. */
  readonly constants: Readonly<Record<string, Tensor>>;
  /** Where its dropout draws from: the second time it draws the same numbers. */
  readonly random: RandomState;
  /**
   * Computes the result, the same whenever it runs; parameters may be read from outside.
   * @param again whether this is the second time: then nobody reads the result, only what its gradient needs
   */
  readonly body: (inputs: Inputs, constants: Readonly<Record<string, Tensor>>, again: boolean) => Tensor;
}

function record<Inputs extends Readonly<Record<string, Tensor>>>(
  part: Checkpointed<Inputs>,
  y: Tensor,
  place: RandomPlace,
): void {
  const { name, random, body } = part;
  const [inputNames, constantNames] = [Object.keys(part.inputs), Object.keys(part.constants)];
  const inputs = inputNames.map((key) => part.inputs[key]);
  const { call } = place;
  const settings = settingsKey();
  recordNode(name, {
    inputs,
    saved: [...inputs, ...constantNames.map((key) => part.constants[key]), place.tensor],
    outputs: [y],
    backward: ({ dys, saved, needs }) => {
      if (settingsKey() !== settings) {
        throw new Error(
          `Cannot compute ${name} again for its gradient: train or eval mode, adapters and what trains must be as in the forward pass; run backward() before changing them, or switch gradient checkpointing off`,
        );
      }
      const tensors = saved as readonly Tensor[];
      const constants = Object.fromEntries(constantNames.map((key, i) => [key, tensors[inputs.length + i]]));
      const gradients: (TapeTensor | null)[] = inputNames.map(() => null);
      const first = newestNode();
      const result = withGrad(() =>
        tidy(() => {
          const again = Object.fromEntries(inputNames.map((key, i) => {
            const input = tensors[i].alias();
            if (needs[i]) catchGradient(input, (dx) => gradients[i] = dx);
            return [key, input];
          })) as unknown as Inputs;
          const place = { tensor: tensors.at(-1)!, call };
          return withSavedStore(null, () => random.from(place, () => body(again, constants, true)));
        })
      );
      const stranger = result.node && nodesBelow(result.node).find(({ id }) => id <= first);
      if (stranger) {
        result.dispose();
        throw new Error(
          `Cannot compute ${name} again for its gradient: it reads a result of "${stranger.name}" that is not among its inputs`,
        );
      }
      if (result.requiresGrad) backward(result, dys[0]!, () => dys[0]!);
      result.dispose();
      return gradients;
    },
  });
}

/** Makes `tensor` the result of an op that keeps the gradient it is sent. */
function catchGradient(tensor: TapeTensor, take: (dy: TapeTensor) => void): void {
  recordNode("checkpoint input", {
    inputs: [],
    saved: [],
    outputs: [tensor],
    backward: ({ dys }) => {
      take(untracked(() => dys[0]!.alias()));
      return [];
    },
  });
}

/**
 * Computes `part.body` and keeps nothing but its inputs; the backward pass computes it again. Gradients are those of the
 * plain computation to the bit.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { checkpoint, gelu, matmul, RandomState, sum, Tensor } from "@peft/webgpu/tensor";
 *
 * const random = new RandomState(await initDevice(), 0);
 * const x = Tensor.from([[1, 2]], { requiresGrad: true }), up = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * const body = ({ x }: { x: Tensor }) => gelu(matmul(x, up)); // the product is not kept
 * sum(checkpoint({ name: "mlp", inputs: { x }, constants: {}, random, body })).backward();
 * console.log(await x.grad!.data()); // [6, 15]
 * ```
 * @throws {Error} in the backward pass, if train or eval mode, adapters or what trains changed in between
 */
export function checkpoint<Inputs extends Readonly<Record<string, Tensor>>>(
  part: Checkpointed<Inputs>,
): Tensor {
  const { tensor, call } = part.random.place;
  const place = { tensor: untracked(() => tensor.alias()), call }; // an older one, should the stream move on
  try {
    const y = noGrad(() => tidy(() => part.body(part.inputs, part.constants, false)));
    record(part, y, place);
    return y;
  } finally {
    place.tensor.dispose();
  }
}

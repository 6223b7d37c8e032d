/**
 * One training step of a language model, as tests do it by hand.
 * @module
 */
import { type Tensor, tidy } from "../../autograd/mod.ts";
import type { Optimizer } from "../../train/mod.ts";

/** What is trained: ids are its labels. */
interface Trained {
  forward(inputs: { inputIds: number[][] | Tensor; labels: number[][] | Tensor }): { readonly loss?: Tensor };
}

/** Forward, backward and update; its loss, which is the caller's to dispose. */
export function trainingStep(
  model: Trained,
  optimizer: Optimizer,
  inputIds: number[][] | Tensor,
): Tensor {
  const loss = tidy(() => {
    const { loss } = model.forward({ inputIds, labels: inputIds });
    loss!.backward();
    return loss!;
  });
  optimizer.step();
  optimizer.zeroGrad();
  return loss;
}

/**
 * One training step, as benches time it.
 * @module
 */
import { type Tensor, tidy } from "../autograd/mod.ts";
import type { Optimizer } from "../train/mod.ts";

/** What is trained: ids are its labels. */
interface Trained {
  forward(inputs: { inputIds: number[][]; labels: number[][] }): unknown;
}

/** Forward, backward and update, to the end; the loss. */
export async function trainingStep(
  model: Trained,
  optimizer: Optimizer,
  inputIds: number[][],
): Promise<number> {
  const loss = tidy(() => {
    const { loss } = model.forward({ inputIds, labels: inputIds }) as { loss: Tensor };
    loss.backward();
    return loss;
  });
  optimizer.step();
  optimizer.zeroGrad();
  const value = await loss.item();
  loss.dispose();
  return value;
}

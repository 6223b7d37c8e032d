/**
 * The reference of preference tuning: the model as it was, which is the same model without its adapters, or another one.
 * @module
 */

import { noGrad, Tensor } from "../../autograd/mod.ts";
import { evaluating } from "../evaluate.ts";
import type { TrainableModel } from "../trainable_model.ts";

/** Adapter that is the reference if the model has one of this name, as in TRL. */
const REFERENCE_ADAPTER = "ref";

/** A model that can do without its adapters. */
interface AdaptedModel extends TrainableModel {
  disableAdapter<T>(body: () => T): T;
  readonly peftConfig?: Readonly<Record<string, { readonly bias?: string }>>;
}

const isAdapted = (model: TrainableModel): model is AdaptedModel =>
  "disableAdapter" in model && typeof model.disableAdapter === "function";

/** A model's forward as the reference: without gradients, dropout and what trains. */
export type ReferenceForward = TrainableModel["forward"];

/** Where the reference's numbers come from. */
export interface Reference {
  readonly forward: ReferenceForward;
  /** Whether it stays the same while the model trains; else it must be asked before the first step. */
  readonly isFixed: boolean;
  /** The model that it is, where it is not the one that trains. */
  readonly model?: TrainableModel;
}

/**
 * The reference of a model: `refModel` if there is one; else the adapter "ref", or the model without adapters.
 * @throws {TypeError} if there is neither, and nothing is computed before the training
 */
export function referenceOf(
  action: string,
  model: TrainableModel,
  refModel: TrainableModel | undefined,
  isPrecomputed: boolean,
): Reference {
  if (refModel === model) {
    throw new TypeError(
      `Cannot ${action}: a refModel apart from the model that trains is required, received the same; leave it out for a model with adapters`,
    );
  }
  if (refModel) {
    return {
      ...{ isFixed: true, model: refModel },
      forward: (inputs) => evaluating(refModel, () => noGrad(() => refModel.forward(inputs))),
    };
  }
  const plain: ReferenceForward = (inputs) => evaluating(model, () => noGrad(() => model.forward(inputs)));
  if (!isAdapted(model)) {
    if (isPrecomputed) return { isFixed: false, forward: plain };
    throw new TypeError(
      `Cannot ${action}: a model with adapters (getPeftModel), a refModel or precomputeRefLogProbs is required for the reference, received a model without adapters`,
    );
  }
  const configs = model.peftConfig ?? {};
  if (REFERENCE_ADAPTER in configs) {
    return {
      isFixed: true,
      forward: (inputs) => {
        const { inputIds } = inputs as { inputIds: { length: number } | Tensor };
        const rows = inputIds instanceof Tensor ? inputIds.shape[0] : inputIds.length;
        const adapterNames = new Array<string>(rows).fill(REFERENCE_ADAPTER);
        return plain({ ...inputs, adapterNames } as Parameters<ReferenceForward>[0]);
      },
    };
  }
  const biased = Object.entries(configs).find(([, { bias = "none" }]) => bias !== "none");
  if (biased && !isPrecomputed) {
    throw new TypeError(
      `Cannot ${action}: adapters with bias "none", a refModel or precomputeRefLogProbs is required, received "${
        biased[0]
      }" with bias "${biased[1].bias}", which stays trained where adapters are off`,
    );
  }
  return { isFixed: !biased, forward: (inputs) => model.disableAdapter(() => plain(inputs)) };
}

/**
 * Where a step that was not finite went wrong: it is run again, and every result is looked at.
 * @module
 */

import { type Tensor, tidy, withHalfActivations } from "../autograd/mod.ts";
import { NonFiniteSearch } from "../autograd/ops/non_finite.ts";
import { watchOps } from "../autograd/record.ts";
import type { Batch, DataLoader } from "./data/data_loader.ts";
import type { Objective } from "./objective.ts";
import { randomStates, type TrainableModel, trainableParameters } from "./trainable_model.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** A step. */
export interface SearchedStep {
  readonly model: TrainableModel;
  readonly objective: Objective;
  /** Its batches with items. */
  readonly batches: readonly Batch[];
  /** Items of all batches. */
  readonly items: number;
  readonly fp16: boolean;
}

interface Place {
  readonly kind: "weights" | "result" | "gradient";
  readonly text: string;
}

/**
 * Runs forward and backward again with the weights as they are, and says in words which value was the first that is
 * not finite; null where all are. Weights stay as they are; gradients are gone afterwards.
 */
export async function findNonFinite(
  { model, objective, batches, items, fp16 }: SearchedStep,
): Promise<string | null> {
  const parameters = trainableParameters(model);
  const names = new Map([...model.namedParameters()].map(([name, { storage }]) => [storage, name]));
  const [first] = parameters.values();
  const search = new NonFiniteSearch<Place>(first.device);
  for (const [name, parameter] of parameters) {
    search.look(parameter, { kind: "weights", text: `the weights "${name}"` });
  }
  let lastName = "";
  const watch = (op: string, inputs: Readonly<Record<string, Tensor | null>>, outputs: readonly Tensor[]) => {
    const own = Object.values(inputs).flatMap((input) => input && names.get(input.storage) || []).at(-1);
    if (own) lastName = own;
    const at = own ? ` with "${own}"` : lastName && `, after "${lastName}"`;
    for (const output of outputs) search.look(output, { kind: "result", text: `the result of ${op}${at}` });
  };
  try {
    for (const batch of batches) {
      tidy(() => {
        const forward = () => watchOps(watch, () => objective.loss(model, batch, items).loss);
        (fp16 ? withHalfActivations(forward) : forward()).backward();
      });
      // the last of them is the first that backward came to
      for (const [name, { grad }] of [...parameters].reverse()) {
        if (grad) search.look(grad, { kind: "gradient", text: `the gradient of "${name}"` });
      }
      zero(parameters.values());
    }
  } finally {
    zero(parameters.values());
  }
  return (await search.found())[0]?.text ?? null;
}

function zero(parameters: Iterable<{ grad: { dispose(): void } | null }>): void {
  for (const parameter of parameters) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}

/** A step of a run, which has gone on since. */
export interface PastStep {
  readonly model: TrainableModel;
  readonly objective: Objective;
  readonly loader: DataLoader;
  readonly args: TrainingArguments;
  /** Optimizer steps an epoch. */
  readonly stepsPerEpoch: number;
  /** Its number, from 1. */
  readonly step: number;
  /** Steps that were taken until now. */
  readonly globalStep: number;
}

/** The first value of a step that is not finite, in words, as far as running it again tells; "" where it cannot run. */
export async function placeOfNonFinite(
  { model, objective, loader, args, stepsPerEpoch, step, globalStep }: PastStep,
): Promise<string> {
  const { gradientAccumulationSteps: parts, fp16 } = args;
  const [epoch, place] = [Math.floor((step - 1) / stepsPerEpoch), (step - 1) % stepsPerEpoch];
  const batches: Batch[] = [];
  let read = 0;
  for await (const batch of loader.readBatches(epoch, place * parts)) {
    if (objective.countItems(batch) > 0) batches.push(batch);
    if (++read === parts) break;
  }
  const items = batches.reduce((sum, batch) => sum + objective.countItems(batch), 0);
  const randoms = randomStates(model).map((random) => ({ random, step: random.step }));
  try {
    // about where it was then: each forward since has moved it on by one
    for (const { random, step: now } of randoms) {
      random.step = Math.max(0, now - parts * (globalStep - step + 1));
    }
    const found = await findNonFinite({ model, objective, batches, items, fp16 });
    if (found !== null) return `the first value that is not finite is in ${found}`;
    return "running it again with the weights as they are now finds no single value that is not finite";
  } catch {
    return ""; // such as memory that does not suffice: the step itself is what matters
  } finally {
    for (const { random, step } of randoms) random.step = step;
  }
}

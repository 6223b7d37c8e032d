/**
 * A training step recorded once and replayed: no model code runs, no buffer is made, every bind group is there.
 * @module
 */

import type { Capture, Device } from "../gpu/mod.ts";
import { keep, untracked } from "./scope.ts";
import { nestedShape, type Shape, showShape } from "./shape.ts";
import { Tensor } from "./tensor.ts";

/** One input of a step: rows of integers on the host. */
export type StepInput = readonly (readonly number[])[];

/** A step for inputs of one set of shapes. */
interface Recorded<Name extends string> {
  readonly inputs: Readonly<Record<Name, Tensor>>;
  capture: Capture | null;
  result: Tensor;
}

/** Shapes a step is kept recorded for; the oldest is forgotten beyond. */
const MAX_SHAPES = 8;

const flatten = (rows: StepInput) => Int32Array.from(rows.flat());

/**
 * Makes a step that is recorded and then replayed. `body` gets its inputs as int32 tensors and returns one tensor, such
 * as the loss; it must do the whole step (forward, `backward()`, optimizer step, `zeroGrad()`), read nothing back, and
 * do the same launches every time. What changes between steps goes through device buffers: the inputs, the optimizer's
 * step number and learning rate, the seeds of dropout.
 *
 * For inputs of new shapes, the first call runs `body`, the second runs and records it, later ones replay the record;
 * the numbers are the same bit for bit. The returned tensor is overwritten by the next call and belongs to the step.
 *
 * @example
 * ```ts
 * import { AdamW, captureStep, type Device, type GPT2LMHeadModel, type Tensor, tidy } from "@peft/webgpu";
 *
 * declare const device: Device, model: GPT2LMHeadModel, optimizer: AdamW, batches: number[][][];
 * const step = captureStep(device, ({ inputIds }: { inputIds: Tensor }) => {
 *   const loss = tidy(() => {
 *     const output = model.forward({ inputIds, labels: inputIds });
 *     output.loss!.backward();
 *     return output.loss!;
 *   });
 *   optimizer.step();
 *   optimizer.zeroGrad();
 *   return loss;
 * });
 * for (const inputIds of batches) console.log(await step({ inputIds }).item());
 * ```
 */
export function captureStep<Name extends string>(
  device: Device,
  body: (inputs: Readonly<Record<Name, Tensor>>) => Tensor,
): (inputs: Readonly<Record<Name, StepInput>>) => Tensor {
  const records = new Map<string, Recorded<Name>>();
  const run = (inputs: Readonly<Record<Name, Tensor>>): Tensor => untracked(() => keep(body(inputs)));
  return (given) => {
    const names = Object.keys(given).sort() as Name[];
    const shapes: Shape[] = names.map((name) => nestedShape(given[name]));
    const key = names.map((name, i) => `${name} ${showShape(shapes[i])}`).join(", ");
    const present = records.get(key);
    if (!present) {
      if (records.size === MAX_SHAPES) forget(records);
      const inputs = Object.fromEntries(
        names.map((name, i) => [
          name,
          untracked(() => Tensor.from(flatten(given[name]), { shape: shapes[i], device })),
        ]),
      ) as Record<Name, Tensor>;
      const result = run(inputs);
      records.set(key, { inputs, capture: null, result });
      return result;
    }
    for (const name of names) present.inputs[name].write(flatten(given[name]));
    if (present.capture) present.capture.replay();
    else {
      present.result.dispose();
      const { result, capture } = device.capture(() => run(present.inputs));
      present.result = result;
      present.capture = capture;
    }
    return present.result;
  };
}

/** Drops the oldest record. */
function forget<Name extends string>(records: Map<string, Recorded<Name>>): void {
  const [[key, { inputs, capture, result }]] = records;
  result.dispose();
  capture?.dispose();
  for (const tensor of Object.values<Tensor>(inputs)) tensor.dispose();
  records.delete(key);
}

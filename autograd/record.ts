/**
 * Records ops on the tape: operands and their gradients go by name.
 * @module
 */
import { recordNode, wantsGrad } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

/** Operands by name; null for one that a call does without. */
export type Operands = Readonly<Record<string, Tensor | null>>;

/** What a backward function is given. */
export interface BackwardContext<Inputs extends Operands, Saved extends Operands> {
  /** The gradient of the first output; only an op with several outputs may get none, see `dys`. */
  readonly dy: Tensor;
  /** Gradients of all outputs; null where nothing came back for an output. */
  readonly dys: readonly (Tensor | null)[];
  /** What `record` was asked to save: the tape's own handles. */
  readonly saved: Saved;
  /** Whether each input wants a gradient; others may be left out of the result. */
  readonly needs: Readonly<Record<keyof Inputs, boolean>>;
  /**
   * The gradient that other ops have sent to an input already, or null. Asking for it is a promise to add it to what is
   * returned for that input, in the kernel that computes it: one pass over memory less.
   */
  readonly arrived: (input: keyof Inputs) => Tensor | null;
}

/** Gradients of inputs by name; null or left out where none is wanted. May contain an element of `dys` itself. */
export type Gradients<Inputs extends Operands> = { readonly [Name in keyof Inputs]?: Tensor | null };

/** One op that was computed. */
export interface Recording<Inputs extends Operands, Saved extends Operands> {
  readonly inputs: Inputs;
  /** Tensors the backward function reads; the tape holds them until then. Null keeps nothing. Default none. */
  readonly saved?: Saved;
  readonly outputs: readonly Tensor[];
  readonly backward: (context: BackwardContext<Inputs, Saved>) => Gradients<Inputs>;
}

/** Names and tensors of the operands that are present, and the names of those a call does without. */
interface Split {
  readonly names: string[];
  readonly tensors: Tensor[];
  readonly absent: string[];
}

function split(operands: Operands | undefined): Split {
  const result: Split = { names: [], tensors: [], absent: [] };
  for (const name in operands) {
    const tensor = operands[name];
    if (tensor === null) result.absent.push(name);
    else {
      result.names.push(name);
      result.tensors.push(tensor);
    }
  }
  return result;
}

/** Values by name, and `none` for the absent. */
function byName<T>(names: readonly string[], values: readonly T[], absent: readonly string[], none: T) {
  const result: Record<string, T> = {};
  for (const name of absent) result[name] = none;
  for (let i = 0; i < names.length; i++) result[names[i]] = values[i];
  return result;
}

/** Whether ops are recorded and an input wants a gradient. */
function wanted(inputs: Operands): boolean {
  for (const name in inputs) if (wantsGrad(inputs[name])) return true;
  return false;
}

/** Records an op if an input wants a gradient, and returns its first output. */
export function record<Inputs extends Operands, Saved extends Operands>(
  name: string,
  op: Recording<Inputs, Saved>,
): Tensor {
  if (wanted(op.inputs)) recordOp(name, op);
  return op.outputs[0];
}

function recordOp<Inputs extends Operands, Saved extends Operands>(
  name: string,
  { inputs, saved, outputs, backward }: Recording<Inputs, Saved>,
): void {
  const given = split(inputs);
  const kept = split(saved);
  // The closure keeps names alone: a node that kept the caller's handles would keep their memory.
  const [inputNames, absentInputs] = [given.names, given.absent];
  const [savedNames, absentSaved] = [kept.names, kept.absent];
  recordNode(name, {
    inputs: given.tensors,
    saved: kept.tensors,
    outputs,
    backward: (context) => {
      const gradients = backward({
        dy: context.dys[0] as Tensor,
        dys: context.dys as readonly (Tensor | null)[],
        saved: byName(savedNames, context.saved, absentSaved, null as never) as unknown as Saved,
        needs: byName(inputNames, context.needs, absentInputs, false) as Record<keyof Inputs, boolean>,
        arrived: (input) => context.arrived(inputNames.indexOf(input as string)) as Tensor | null,
      });
      return inputNames.map((input) => gradients[input] ?? null);
    },
  });
}

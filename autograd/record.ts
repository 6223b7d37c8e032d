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

/** Names and tensors of the operands that are present. */
function present(operands: Operands): [names: string[], tensors: Tensor[]] {
  const entries = Object.entries(operands).filter((entry): entry is [string, Tensor] => entry[1] !== null);
  return [entries.map(([name]) => name), entries.map(([, tensor]) => tensor)];
}

/** Names of the operands that a call does without. */
function absentOf(operands: Operands): string[] {
  return Object.keys(operands).filter((name) => operands[name] === null);
}

/** Records an op if an input wants a gradient, and returns its first output. */
export function record<Inputs extends Operands, Saved extends Operands>(
  name: string,
  { inputs, saved, outputs, backward }: Recording<Inputs, Saved>,
): Tensor {
  const [inputNames, inputTensors] = present(inputs);
  if (!wantsGrad(...inputTensors)) return outputs[0];
  const [savedNames, savedTensors] = present(saved ?? {});
  // The closure keeps names alone: a node that kept the caller's handles would keep their memory.
  const absent = absentOf(inputs);
  const unsaved = absentOf(saved ?? {});
  recordNode(name, {
    inputs: inputTensors,
    saved: savedTensors,
    outputs,
    backward: (context) => {
      const kept: Record<string, Tensor | null> = {};
      for (const key of unsaved) kept[key] = null;
      savedNames.forEach((key, i) => kept[key] = context.saved[i] as Tensor);
      const needs: Record<string, boolean> = {};
      for (const key of absent) needs[key] = false;
      inputNames.forEach((key, i) => needs[key] = context.needs[i]);
      const gradients = backward({
        dy: context.dys[0] as Tensor,
        dys: context.dys as readonly (Tensor | null)[],
        saved: kept as Saved,
        needs: needs as Record<keyof Inputs, boolean>,
        arrived: (input) => context.arrived(inputNames.indexOf(input as string)) as Tensor | null,
      });
      return inputNames.map((key) => gradients[key] ?? null);
    },
  });
  return outputs[0];
}

/**
 * Records ops on the tape: operands and their gradients go by name.
 * @module
 */
import { recordNode, wantsGrad } from "./tape.ts";
import type { Shape } from "./shape.ts";
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
  /** Whether what it saves keeps its element type in any case: gradients, which have a wider range. Default false. */
  readonly savesGradients?: boolean;
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

/** Keeps what ops save in another form. */
export interface SavedStore {
  /** The tensor in that form, or null to keep it as it is. */
  pack(tensor: Tensor): Tensor | null;
  /** What was packed, as it was. */
  unpack(packed: Tensor, shape: Shape): Tensor;
}

let store: SavedStore | null = null;

/** Runs `body`; what its ops save is kept by `next`, or as it is where that is null. */
export function withSavedStore<T>(next: SavedStore | null, body: () => T): T {
  const before = store;
  store = next;
  try {
    return body();
  } finally {
    store = before;
  }
}

/** What a node holds of `tensor`, and how to have it back. */
interface Held {
  readonly tensor: Tensor;
  readonly restore: (held: Tensor) => Tensor;
}

const same = (held: Tensor): Tensor => held;
const asItIs = (tensor: Tensor): Held => ({ tensor, restore: same });

/**
 * The saved tensors as the store keeps them: those that ops made, if they are at least an eighth of the largest (the
 * others are sums of rows, which need their digits).
 */
function hold(tensors: readonly Tensor[], inputs: Operands, store: SavedStore): Held[] {
  const largest = Math.max(...tensors.map(({ size }) => size));
  const leaves = new Set(
    Object.values(inputs).flatMap((input) => input && !input.node ? [input.storage] : []),
  );
  return tensors.map((tensor) => {
    const kept = tensor.size * 8 < largest || leaves.has(tensor.storage) ? null : store.pack(tensor);
    const { shape } = tensor; // the function must not hold on to the tensor
    return kept ? { tensor: kept, restore: (held) => store.unpack(held, shape) } : asItIs(tensor);
  });
}

/** Follows the ops that run: the name, operands and results of each. */
export type OpWatcher = (name: string, inputs: Operands, outputs: readonly Tensor[]) => void;

let watcher: OpWatcher | null = null;

/** Runs `body`; each of its ops is shown to `next` after its launches. */
export function watchOps<T>(next: OpWatcher, body: () => T): T {
  const before = watcher;
  watcher = next;
  try {
    return body();
  } finally {
    watcher = before;
  }
}

/** Whether ops are watched: each that can stand alone should then be an op of its own. */
export function isWatched(): boolean {
  return watcher !== null;
}

/** Records an op if an input wants a gradient, and returns its first output. */
export function record<Inputs extends Operands, Saved extends Operands>(
  name: string,
  op: Recording<Inputs, Saved>,
): Tensor {
  watcher?.(name, op.inputs, op.outputs);
  if (wanted(op.inputs)) recordOp(name, op);
  return op.outputs[0];
}

function recordOp<Inputs extends Operands, Saved extends Operands>(
  name: string,
  { inputs, saved, savesGradients, outputs, backward }: Recording<Inputs, Saved>,
): void {
  const given = split(inputs);
  const kept = split(saved);
  // The closure keeps names alone: a node that kept the caller's handles would keep their memory.
  const [inputNames, absentInputs] = [given.names, given.absent];
  const [savedNames, absentSaved] = [kept.names, kept.absent];
  const held = store && !savesGradients ? hold(kept.tensors, inputs, store) : kept.tensors.map(asItIs);
  const restores = held.map(({ restore }) => restore);
  recordNode(name, {
    inputs: given.tensors,
    saved: held.map(({ tensor }) => tensor),
    outputs,
    backward: (context) => {
      const gradients = backward({
        dy: context.dys[0] as Tensor,
        dys: context.dys as readonly (Tensor | null)[],
        saved: byName(
          savedNames,
          (context.saved as readonly Tensor[]).map((tensor, i) => restores[i](tensor)),
          absentSaved,
          null as never,
        ) as unknown as Saved,
        needs: byName(inputNames, context.needs, absentInputs, false) as Record<keyof Inputs, boolean>,
        arrived: (input) => context.arrived(inputNames.indexOf(input as string)) as Tensor | null,
      });
      return inputNames.map((input) => gradients[input] ?? null);
    },
  });
  for (const { tensor, restore } of held) if (restore !== same) tensor.dispose(); // the node has its own handle
}

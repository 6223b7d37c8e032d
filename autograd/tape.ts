/**
 * Reverse-mode differentiation. An op whose input wants a gradient records a node; `backward` walks the nodes from
 * the newest to the oldest, and frees what each one saved as soon as its gradient is done.
 * @module
 */

import { addInPlace, sumOfTwo } from "./ops/_accumulate.ts";
import { sameShape, showShape } from "./shape.ts";
import { keep, tidy, untracked } from "./scope.ts";
import { onesLike, type Tensor } from "./tensor.ts";

/** What a backward function is given. */
export interface BackwardContext {
  /** Gradients of the outputs; null where nothing came back for an output (never for an op with one output). */
  readonly dys: readonly (Tensor | null)[];
  /** The tensors `record` was asked to save, in order. */
  readonly saved: readonly Tensor[];
  /** Whether each input wants a gradient; others may be left null. */
  readonly needs: readonly boolean[];
  /**
   * The gradient that other ops have sent to input `i` already, or null. Asking for it is a promise to add it to what is
   * returned for that input, in the kernel that computes it: one pass over memory less.
   */
  readonly arrived: (i: number) => Tensor | null;
}

/** Gradients of the inputs, in order; null where none is wanted. May return an element of `dys` itself. */
export type BackwardFunction = (context: BackwardContext) => (Tensor | null)[];

/** One recorded op. */
export interface Recording {
  readonly inputs: readonly Tensor[];
  /** Tensors the backward function reads; the tape holds them until then. */
  readonly saved: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly backward: BackwardFunction;
}

let recording = true;
let watcher: ((leaf: Tensor) => void) | null = null;
let lastId = 0;

/** Where a gradient goes: to an op's output or to a leaf tensor. */
type Edge =
  | { readonly kind: "node"; readonly node: Node; readonly output: number }
  | { readonly kind: "leaf"; readonly leaf: Tensor };

/** A recorded op in the graph; alive while an output handle or a later node refers to it. */
export class Node {
  readonly id = ++lastId;
  readonly name: string;
  readonly edges: readonly (Edge | null)[];
  readonly outputs: number;
  readonly backward: BackwardFunction;
  saved: Tensor[] | null;
  /** Run once, when what the node saved is freed. */
  readonly whenFreed: (() => void)[] = [];
  #references = 0;

  constructor(name: string, { inputs, saved, outputs, backward }: Recording) {
    this.name = name;
    this.edges = inputs.map((input): Edge | null => {
      if (!input.requiresGrad) return null;
      if (!input.node) return { kind: "leaf", leaf: input };
      input.node.retain();
      return { kind: "node", node: input.node, output: input.outputIndex };
    });
    this.saved = untracked(() => saved.map((tensor) => tensor.alias()));
    this.outputs = outputs.length;
    this.backward = backward;
  }

  retain(): void {
    this.#references++;
  }

  /** Frees the node, and nodes only it refers to, when the last reference goes. */
  release(): void {
    const stack: Node[] = [this];
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (--node.#references > 0) continue;
      node.free();
      for (const edge of node.edges) if (edge?.kind === "node") stack.push(edge.node);
    }
  }

  /** Disposes what the node saved. */
  free(): void {
    for (const tensor of this.saved ?? []) tensor.dispose();
    this.saved = null;
    for (const callback of this.whenFreed.splice(0)) callback();
  }
}

/** Runs `body` without recording: its results want no gradient. */
export function noGrad<T>(body: () => T): T {
  const before = recording;
  recording = false;
  try {
    return body();
  } finally {
    recording = before;
  }
}

/** Runs `body` and tells of each leaf before its gradient is added to. */
export function watchLeaves<T>(watch: (leaf: Tensor) => void, body: () => T): T {
  const before = watcher;
  watcher = watch;
  try {
    return body();
  } finally {
    watcher = before;
  }
}

/** Whether ops are being recorded. */
export function isRecording(): boolean {
  return recording;
}

/** Whether an op on these inputs will be recorded: it may then save what its backward wants. */
export function wantsGrad(...inputs: readonly (Tensor | null | undefined)[]): boolean {
  return recording && inputs.some((input) => input?.requiresGrad);
}

/** Records an op if an input wants a gradient, and returns its first output. */
export function record(name: string, op: Recording): Tensor {
  if (wantsGrad(...op.inputs)) {
    const node = new Node(name, op);
    op.outputs.forEach((output, i) => output.attach(node, i));
  }
  return op.outputs[0];
}

/** Nodes that lead to `root`, newest first. */
function nodesBelow(root: Node): Node[] {
  const seen = new Set([root]);
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop()) {
    for (const edge of node.edges) {
      if (edge?.kind === "node" && !seen.has(edge.node)) {
        seen.add(edge.node);
        stack.push(edge.node);
      }
    }
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

/** Adds `dx` to what has arrived at one place; takes over `dx`. */
function accumulate(present: Tensor | null | undefined, dx: Tensor): Tensor {
  if (!present) return dx;
  if (present.isShared) {
    const sum = sumOfTwo(present, dx);
    present.dispose();
    dx.dispose();
    return sum;
  }
  addInPlace(present, dx);
  dx.dispose();
  return present;
}

function accumulateLeaf(leaf: Tensor, dx: Tensor): void {
  watcher?.(leaf);
  if (leaf.isDisposed) dx.dispose();
  else if (leaf.grad) leaf.grad = accumulate(leaf.grad, dx);
  else if (dx.isShared) { // an optimizer writes into gradients: a leaf's must be its own
    leaf.grad = dx.copy();
    dx.dispose();
  } else leaf.grad = dx;
}

/**
 * Propagates `gradient` (default 1, for a scalar) from `root` to every leaf that wants one, adding to its `grad`.
 * @throws {TypeError} if `root` has no gradient history, or is no scalar and `gradient` is missing
 * @throws {Error} if the graph was freed by an earlier backward
 */
export function backward(root: Tensor, gradient?: Tensor): void {
  if (!root.requiresGrad) {
    throw new TypeError("Cannot run backward: no tensor that requires a gradient leads to this one");
  }
  if (!gradient && root.size !== 1) {
    throw new TypeError(
      `Cannot run backward from a tensor of shape ${
        showShape(root.shape)
      }: a scalar, or a gradient of its shape, is required`,
    );
  }
  if (gradient && !sameShape(gradient.shape, root.shape)) {
    throw new TypeError(
      `Cannot run backward: the gradient must have shape ${showShape(root.shape)}, received ${
        showShape(gradient.shape)
      }`,
    );
  }
  const order = root.node ? nodesBelow(root.node) : [];
  const freed = order.find((node) => node.saved === null);
  if (freed) {
    throw new Error(
      `Cannot run backward a second time: what "${freed.name}" saved is freed; run the forward again`,
    );
  }
  untracked(() => noGrad(() => walk(root, order, gradient ? gradient.alias() : onesLike(root))));
}

function walk(root: Tensor, order: readonly Node[], seed: Tensor): void {
  if (!root.node) return accumulateLeaf(root, seed);
  const arrived = new Map<Node, (Tensor | null)[]>();
  arrived.set(
    root.node,
    Array.from({ length: root.node.outputs }, (_, i) => i === root.outputIndex ? seed : null),
  );
  try {
    for (const node of order) {
      const dys = arrived.get(node);
      if (dys?.some((dy) => dy !== null)) propagate(node, dys, arrived);
      arrived.delete(node);
      node.free();
    }
  } catch (error) { // a graph that is half consumed is of no use
    for (const node of order) node.free();
    for (const dy of [...arrived.values()].flat()) dy?.dispose();
    throw error;
  }
}

function propagate(node: Node, dys: (Tensor | null)[], arrived: Map<Node, (Tensor | null)[]>): void {
  const needs = node.edges.map((edge) => edge !== null);
  const consumed: Tensor[] = [];
  const takeArrived = (i: number): Tensor | null => {
    const edge = node.edges[i];
    const slots = edge?.kind === "node" ? arrived.get(edge.node) : undefined;
    const present = edge?.kind === "node" ? slots?.[edge.output] ?? null : null;
    if (present && edge?.kind === "node") {
      slots![edge.output] = null;
      consumed.push(present);
    }
    return present;
  };
  const dxs = tidy(() => node.backward({ dys, saved: node.saved!, needs, arrived: takeArrived }).slice());
  const taken = new Set<Tensor>(dys.filter((dy) => dy !== null));
  dxs.forEach((dx, i) => {
    const edge = node.edges[i];
    if (!dx) return;
    const own = taken.has(dx) ? dx.alias() : keep(dx);
    taken.add(dx);
    if (!edge) own.dispose();
    else if (edge.kind === "leaf") accumulateLeaf(edge.leaf, own);
    else {
      let slots = arrived.get(edge.node);
      if (!slots) arrived.set(edge.node, slots = new Array(edge.node.outputs).fill(null));
      slots[edge.output] = accumulate(slots[edge.output], own);
    }
  });
  for (const tensor of [...dys, ...consumed]) tensor?.dispose();
}

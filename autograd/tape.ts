/**
 * Reverse-mode differentiation. An op whose input wants a gradient records a node; `backward` walks the nodes from
 * the newest to the oldest, and frees what each one saved as soon as its gradient is done.
 * @module
 */

import { sameShape, type Shape, showShape } from "./shape.ts";
import { keep, tidy, untracked } from "./scope.ts";

/** What the tape needs of a tensor. */
export interface TapeTensor {
  readonly shape: Shape;
  readonly size: number;
  readonly requiresGrad: boolean;
  readonly isDisposed: boolean;
  /** Whether other handles view the same memory. */
  readonly isShared: boolean;
  readonly node: Node | null;
  readonly outputIndex: number;
  grad: TapeTensor | null;
  attach(node: Node, outputIndex: number): void;
  alias(): TapeTensor;
  copy(): TapeTensor;
  dispose(): void;
  /** This plus `other` of the same shape, in memory of its own. */
  plus(other: TapeTensor): TapeTensor;
  /** Adds `other` of the same shape to this one's memory. */
  add(other: TapeTensor): void;
}

/** What a node's backward function is given; operands are numbered in the order they were recorded in. */
export interface NodeContext {
  /** Gradients of the outputs; null where nothing came back for an output (never for an op with one output). */
  readonly dys: readonly (TapeTensor | null)[];
  readonly saved: readonly TapeTensor[];
  /** Whether each input wants a gradient. */
  readonly needs: readonly boolean[];
  /** Takes the gradient that other ops have sent to input `i` already; null if there is none. */
  readonly arrived: (i: number) => TapeTensor | null;
}

/** One recorded op, its operands in order. */
export interface NodeRecording {
  readonly inputs: readonly TapeTensor[];
  /** Tensors the backward function reads; the tape holds them until then. */
  readonly saved: readonly TapeTensor[];
  readonly outputs: readonly TapeTensor[];
  /** Gradients of the inputs, in order; null where none is wanted. May return an element of `dys` itself. */
  readonly backward: (context: NodeContext) => readonly (TapeTensor | null)[];
}

let recording = true;
let watcher: ((leaf: TapeTensor) => void) | null = null;
let lastId = 0;

/** Where a gradient goes: to an op's output or to a leaf tensor. */
type Edge =
  | { readonly kind: "node"; readonly node: Node; readonly output: number }
  | { readonly kind: "leaf"; readonly leaf: TapeTensor };

/** A recorded op in the graph; alive while an output handle or a later node refers to it. */
export class Node {
  readonly id = ++lastId;
  readonly name: string;
  readonly edges: readonly (Edge | null)[];
  readonly outputs: number;
  readonly backward: NodeRecording["backward"];
  saved: TapeTensor[] | null;
  /** Run once, when what the node saved is freed. */
  readonly whenFreed: (() => void)[] = [];
  #references = 0;

  constructor(name: string, { inputs, saved, outputs, backward }: NodeRecording) {
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

/**
 * Runs `body` without recording: its results want no gradient.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, noGrad } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const { logits } = noGrad(() => model.forward({ inputIds: [[1, 2, 3]] }));
 * console.log(logits.requiresGrad); // false
 * ```
 */
export function noGrad<T>(body: () => T): T {
  const before = recording;
  recording = false;
  try {
    return body();
  } finally {
    recording = before;
  }
}

/** Runs `body` with recording, also where it is off: in the backward function of an op that computes again. */
export function withGrad<T>(body: () => T): T {
  const before = recording;
  recording = true;
  try {
    return body();
  } finally {
    recording = before;
  }
}

/** The id of the newest node. */
export function newestNode(): number {
  return lastId;
}

/** Runs `body` and calls `watch` with each leaf before its gradient is added to. */
export function watchLeaves<T>(watch: (leaf: TapeTensor) => void, body: () => T): T {
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
export function wantsGrad(...inputs: readonly (TapeTensor | null | undefined)[]): boolean {
  return recording && inputs.some((input) => input?.requiresGrad);
}

/** Makes the outputs of an op lead to its inputs. */
export function recordNode(name: string, recording: NodeRecording): void {
  const node = new Node(name, recording);
  recording.outputs.forEach((output, i) => output.attach(node, i));
}

/** Nodes that lead to `root`, newest first. */
export function nodesBelow(root: Node): Node[] {
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
function accumulate(present: TapeTensor | null | undefined, dx: TapeTensor): TapeTensor {
  if (!present) return dx;
  if (present.isShared) {
    const sum = present.plus(dx);
    present.dispose();
    dx.dispose();
    return sum;
  }
  present.add(dx);
  dx.dispose();
  return present;
}

function accumulateLeaf(leaf: TapeTensor, dx: TapeTensor): void {
  watcher?.(leaf);
  if (leaf.isDisposed) dx.dispose();
  else if (leaf.grad) leaf.grad = accumulate(leaf.grad, dx);
  else if (dx.isShared) { // an optimizer writes into gradients: a leaf's must be its own
    leaf.grad = dx.copy();
    dx.dispose();
  } else leaf.grad = dx;
}

/**
 * Propagates `gradient` (default `one()`, for a scalar) from `root` to every leaf that wants one, adding to its `grad`.
 * @throws {TypeError} if `root` has no gradient history, or is no scalar and `gradient` is missing
 * @throws {Error} if the graph was freed by an earlier backward
 */
export function backward(root: TapeTensor, gradient: TapeTensor | undefined, one: () => TapeTensor): void {
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
  untracked(() => noGrad(() => walk(root, order, gradient ? gradient.alias() : one())));
}

function walk(root: TapeTensor, order: readonly Node[], seed: TapeTensor): void {
  if (!root.node) return accumulateLeaf(root, seed);
  const arrived = new Map<Node, (TapeTensor | null)[]>();
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
  } catch (error) { // a graph that is half consumed cannot be used again
    for (const node of order) node.free();
    for (const dy of [...arrived.values()].flat()) dy?.dispose();
    throw error;
  }
}

function propagate(node: Node, dys: (TapeTensor | null)[], arrived: Map<Node, (TapeTensor | null)[]>): void {
  const needs = node.edges.map((edge) => edge !== null);
  const consumed: TapeTensor[] = [];
  const takeArrived = (i: number): TapeTensor | null => {
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
  const taken = new Set<TapeTensor>(dys.filter((dy) => dy !== null));
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

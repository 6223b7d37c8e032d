/**
 * Trees of named modules and parameters, with PyTorch's paths: `transformer.h.0.attn.c_attn.weight`.
 * @module
 */

import { type Tensor, untracked } from "../autograd/mod.ts";
import { noteSetting } from "../autograd/settings.ts";
import { Parameter } from "./parameter.ts";
import { loadInto } from "./load_state_dict.ts";
import type { LoadResult, StateDict } from "./state_dict.ts";

const join = (prefix: string, name: string) => prefix === "" ? name : `${prefix}.${name}`;

/** Functions that run every module in eval mode, one inside the other. */
let evaluations = 0;
const EVALUATION = {};

/**
 * Runs `body` with every module in eval mode, whatever `training` says, and leaves them as they are. `body` must not be
 * asynchronous: the mode applies only to what it computes before it returns.
 */
export function inEvalMode<T>(body: () => T): T {
  if (++evaluations === 1) noteSetting(EVALUATION, "on", false, true);
  try {
    return body();
  } finally {
    if (--evaluations === 0) noteSetting(EVALUATION, "on", true, false);
  }
}

/** Whether this runs in `inEvalMode`. */
export function isInEvalMode(): boolean {
  return evaluations > 0;
}

/**
 * A node of the tree. Attributes that are parameters, modules or arrays of modules are its parts.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { matmul, Module, Parameter, Tensor } from "@peft/webgpu/tensor";
 *
 * class Double extends Module {
 *   weight: Parameter;
 *   constructor(device: Awaited<ReturnType<typeof initDevice>>) {
 *     super();
 *     this.weight = Parameter.from([[2, 0], [0, 2]], { device });
 *   }
 *   forward(x: Tensor): Tensor {
 *     return matmul(x, this.weight);
 *   }
 * }
 * const double = new Double(await initDevice());
 * console.log([...double.namedParameters()].map(([name]) => name)); // [ "weight" ]
 * console.log(await double.forward(Tensor.from([[1, 2]])).data()); // [2, 4]
 * ```
 */
export class Module {
  // Not a private name: `clone()` copies what it finds.
  private isTraining = true;

  /** Whether dropout is active: not in `inEvalMode`. New modules train. */
  get training(): boolean {
    return this.isTraining && evaluations === 0;
  }

  set training(on: boolean) {
    noteSetting(this, "training", this.isTraining, on);
    this.isTraining = on;
  }

  /** Its own parameters by name. */
  *ownParameters(): Generator<[string, Parameter]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Parameter) yield [name, value];
  }

  /** Its child modules by name; those of an array as `name.0`, `name.1`. */
  *children(): Generator<[string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (const [i, item] of value.entries()) if (item instanceof Module) yield [`${name}.${i}`, item];
      }
    }
  }

  /** Every module below and this one (path `prefix`), parents first; a module found twice is listed once. */
  *namedModules(prefix = "", seen: Set<Module> = new Set()): Generator<[string, Module]> {
    if (seen.has(this)) return;
    seen.add(this);
    yield [prefix, this];
    for (const [name, child] of this.children()) yield* child.namedModules(join(prefix, name), seen);
  }

  /** Every parameter with its path; a parameter found twice (tied weights) is listed once, by its first path. */
  *namedParameters(prefix = ""): Generator<[string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [path, module] of this.namedModules(prefix)) {
      for (const [name, parameter] of module.ownParameters()) {
        if (seen.has(parameter)) continue;
        seen.add(parameter);
        yield [join(path, name), parameter];
      }
    }
  }

  /** Every parameter once. */
  *parameters(): Generator<Parameter> {
    for (const [, parameter] of this.namedParameters()) yield parameter;
  }

  /** The module at a path such as `h.0.attn`. @throws {RangeError} if there is none */
  getSubmodule(path: string): Module {
    return this.#find(path).module;
  }

  /** Puts `module` at a path where a module is now. @throws {RangeError} if there is none */
  setSubmodule(path: string, module: Module): void {
    const { parent, name } = this.#find(path);
    if (!parent) throw new RangeError(`Cannot replace module "${path}": the root has no place to put it`);
    parent.setChild(name, module);
  }

  /** The module at a path, the one above it, and its name there. */
  #find(path: string): { module: Module; parent: Module | null; name: string } {
    let found: { module: Module; parent: Module | null; name: string } = {
      module: this,
      parent: null,
      name: "",
    };
    let rest = path;
    while (rest !== "") {
      const parent = found.module;
      let next: typeof found | undefined;
      for (const [name, module] of parent.children()) {
        if (rest === name || rest.startsWith(`${name}.`)) next = { module, parent, name };
      }
      if (!next) throw new RangeError(`Cannot find module "${path}": there is no "${rest}" in it`);
      rest = rest.slice(next.name.length + 1);
      found = next;
    }
    return found;
  }

  /** Puts `module` in the place of the child `name`, as `children()` names it. */
  setChild(name: string, module: Module): void {
    const [key, index] = name.split(".");
    const parts = this as unknown as Record<string, Module | Module[]>;
    const list = index === undefined ? null : parts[key] as Module[];
    noteSetting(this, name, list ? list[Number(index)] : parts[key], module);
    if (list) list[Number(index)] = module;
    else parts[key] = module;
  }

  /** Switches dropout on, here and below. */
  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }

  /** Switches dropout off, here and below. */
  eval(): this {
    return this.train(false);
  }

  /** Whether all its float32 parameters train. */
  requiresGrad_(on = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = on && parameter.dtype === "float32";
    return this;
  }

  /** Every path to a parameter, tied ones under each of their names; the tensors themselves, not copies. */
  stateDict(prefix = ""): StateDict {
    const state: StateDict = new Map();
    const visit = (module: Module, path: string): void => {
      for (const [name, parameter] of module.ownParameters()) state.set(join(path, name), parameter);
      for (const [name, child] of module.children()) visit(child, join(path, name));
    };
    visit(this, prefix);
    return state;
  }

  /**
   * Copies values into the parameters.
   * @param options `strict` (default): missing and unexpected names are errors too
   * @throws {TypeError} listing every mismatch; nothing is copied then
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>, options: { strict?: boolean } = {}): LoadResult {
    return loadInto(this.stateDict(), state, options);
  }

  /**
   * A module of the same class with parameters of its own; other attributes are shared, tied parameters stay tied.
   * @param copies what each parameter was copied to
   */
  clone(copies: Map<Parameter, Parameter> = new Map()): this {
    const copy = Object.create(Object.getPrototypeOf(this));
    const cloned = (value: unknown): unknown => {
      if (value instanceof Parameter) {
        const present = copies.get(value);
        if (present) return present;
        const own = new Parameter(untracked(() => value.copy()), value.requiresGrad);
        copies.set(value, own);
        return own;
      }
      if (value instanceof Module) return value.clone(copies);
      return Array.isArray(value) ? value.map(cloned) : value;
    };
    for (const [name, value] of Object.entries(this)) copy[name] = cloned(value);
    return copy;
  }

  /** Releases the memory of every parameter. */
  dispose(): void {
    for (const parameter of [...this.parameters()]) parameter.dispose();
  }
}

/**
 * Modules by name, such as adapters of one layer: `lora_A.default`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Linear, ModuleDict, Parameter } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const heads = new ModuleDict<Linear>();
 * heads.set("small", new Linear(Parameter.from([[1, 2]])));
 * console.log([...heads.namedParameters()].map(([name]) => name)); // [ "small.weight" ]
 * ```
 */
export class ModuleDict<M extends Module = Module> extends Module {
  readonly #items = new Map<string, M>();

  /** The modules by name. */
  override *children(): Generator<[string, M]> {
    yield* this.#items;
  }

  /** Adds or replaces. */
  override setChild(name: string, module: Module): void {
    this.set(name, module as M);
  }

  /** The module of a name. */
  get(name: string): M | undefined {
    return this.#items.get(name);
  }

  /** Adds or replaces. */
  set(name: string, module: M): void {
    noteSetting(this, name, this.#items.get(name) ?? null, module);
    this.#items.set(name, module);
  }

  /** Whether there is an item of that name. */
  has(name: string): boolean {
    return this.#items.has(name);
  }

  /** Removes and disposes. */
  delete(name: string): void {
    const item = this.#items.get(name);
    noteSetting(this, name, item ?? null, null);
    item?.dispose();
    this.#items.delete(name);
  }

  /** Renames an entry; it keeps its place in the order. */
  rename(from: string, to: string): void {
    const moved = this.#items.get(from) ?? null;
    noteSetting(this, from, moved, null);
    noteSetting(this, to, null, moved);
    const entries = [...this.#items].map(([name, item]) => [name === from ? to : name, item] as const);
    this.#items.clear();
    for (const [name, item] of entries) this.#items.set(name, item);
  }

  /** The names, in order of insertion. */
  keys(): string[] {
    return [...this.#items.keys()];
  }
}

/**
 * Parameters by name, such as adapters' vectors of one layer: `ia3_l.default`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Parameter, ParameterDict } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const scales = new ParameterDict();
 * scales.set("sea", Parameter.from([1, 1]));
 * console.log([...scales.namedParameters()].map(([name]) => name)); // [ "sea" ]
 * ```
 */
export class ParameterDict extends Module {
  readonly #items = new Map<string, Parameter>();

  /** The parameters by name. */
  override *ownParameters(): Generator<[string, Parameter]> {
    yield* this.#items;
  }

  /** The parameter of a name. */
  get(name: string): Parameter | undefined {
    return this.#items.get(name);
  }

  /** Adds or replaces. */
  set(name: string, parameter: Parameter): void {
    noteSetting(this, name, this.#items.get(name) ?? null, parameter);
    this.#items.set(name, parameter);
  }

  /** Whether there is an item of that name. */
  has(name: string): boolean {
    return this.#items.has(name);
  }

  /** Removes and disposes. */
  delete(name: string): void {
    const item = this.#items.get(name);
    noteSetting(this, name, item ?? null, null);
    item?.dispose();
    this.#items.delete(name);
  }

  /** Renames an entry; it keeps its place in the order. */
  rename(from: string, to: string): void {
    const moved = this.#items.get(from) ?? null;
    noteSetting(this, from, moved, null);
    noteSetting(this, to, null, moved);
    const entries = [...this.#items].map(([name, item]) => [name === from ? to : name, item] as const);
    this.#items.clear();
    for (const [name, item] of entries) this.#items.set(name, item);
  }

  /** The names, in order of insertion. */
  keys(): string[] {
    return [...this.#items.keys()];
  }
}

/**
 * Lifetimes without bookkeeping by hand: tensors made inside a scope are disposed at its end, except its result.
 * @module
 */

/** Something with device memory that can be released. */
export interface Disposable {
  dispose(): void;
  readonly isDisposed: boolean;
}

const scopes: Set<Disposable>[] = [];

/** Puts a new tensor under the innermost scope. */
export function track(item: Disposable): void {
  scopes.at(-1)?.add(item);
}

/** Takes a tensor out of every open scope: it lives until it is disposed or collected. */
export function keep<T extends Disposable>(item: T): T {
  for (const scope of scopes) scope.delete(item);
  return item;
}

function isDisposable(value: object): value is Disposable {
  return typeof (value as Disposable).dispose === "function" && "isDisposed" in value;
}

/** A value that owns tensors without being one, such as a model's output. */
export interface TensorOwner {
  ownedTensors(): Iterable<Disposable>;
}

/** Disposable values in arrays, plain objects and maps, any depth. */
function collect(value: unknown, found: Set<Disposable>): void {
  if (typeof value !== "object" || value === null) return;
  if (isDisposable(value)) found.add(value);
  else if (Array.isArray(value)) { for (const item of value) collect(item, found); }
  else for (const item of partsOf(value)) collect(item, found);
}

/** What a value holds that is no array; nothing where it is of another class. */
function partsOf(value: object): Iterable<unknown> {
  if ("ownedTensors" in value) return (value as TensorOwner).ownedTensors();
  if (value instanceof Map) return value.values();
  return Object.getPrototypeOf(value) === Object.prototype ? Object.values(value) : [];
}

function close(scope: Set<Disposable>, result: unknown): void {
  const kept = new Set<Disposable>();
  collect(result, kept);
  const outer = scopes.at(-1);
  for (const item of scope) {
    if (kept.has(item)) outer?.add(item);
    else item.dispose();
  }
}

/**
 * Runs `body` and disposes every tensor made in it, except those in its result (a tensor, or arrays, plain objects
 * and maps of tensors). What a gradient still needs stays with the tape. Scopes nest.
 * @throws {TypeError} if `body` is asynchronous: it would go on with tensors that are disposed
 *
 * @example
 * ```ts
 * import { initDevice, Tensor, tidy } from "@peft/webgpu";
 * import { matmul } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 2], [3, 4]], { device: await initDevice() });
 * const y = tidy(() => matmul(matmul(x, x), x)); // what lies between is freed at once
 * console.log(await y.data()); // Float32Array [37, 54, 81, 118]
 * ```
 */
export function tidy<T>(body: () => T): T {
  const scope = new Set<Disposable>();
  scopes.push(scope);
  let result: T | undefined;
  try {
    const value = body();
    if (value instanceof Promise) {
      value.catch(() => {}); // it fails soon, on disposed tensors
      throw new TypeError(
        "Cannot tidy an asynchronous function: its tensors would be disposed at its first await; tidy the parts between",
      );
    }
    return result = value;
  } finally {
    scopes.splice(scopes.lastIndexOf(scope), 1);
    close(scope, result);
  }
}

/** Runs `body` outside every scope: tensors it makes are the caller's to dispose. */
export function untracked<T>(body: () => T): T {
  const outer = scopes.splice(0);
  try {
    return body();
  } finally {
    scopes.push(...outer);
  }
}

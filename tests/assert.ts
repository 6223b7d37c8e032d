/**
 * The assertions every test imports from "@std/assert": the names and argument order of `@std/assert`, implemented
 * over `node:assert/strict` because JSR cannot be reached from the build machines, plus the numeric comparisons
 * {@linkcode assertAllClose} and {@linkcode relativeL2}.
 *
 * @module
 */
import nodeAssert, { AssertionError } from "node:assert/strict";

/** What {@linkcode assertThrows} and {@linkcode assertRejects} accept as the expected class. */
// deno-lint-ignore no-explicit-any -- the constructor's own arguments are not ours to restrict
export type ErrorClass<E extends Error = Error> = abstract new (...args: any[]) => E;

/** How far two number lists may differ: |actual - expected| <= atol + rtol * |expected|, element by element. */
export interface Tolerance {
  /** Relative tolerance, default 1e-5. */
  rtol?: number;
  /** Absolute tolerance, default 1e-6. */
  atol?: number;
  /** What is compared; opens the failure message. */
  label?: string;
}

function fail(message: string, actual?: unknown, expected?: unknown): never {
  throw new AssertionError({ message, actual, expected });
}

/** Asserts that `condition` is truthy. */
export function assert(condition: unknown, message = "Expected a truthy value"): asserts condition {
  if (!condition) fail(message, condition, true);
}

/** Asserts deep strict equality (NaN equals NaN, 0 differs from -0). */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  if (message === undefined) return nodeAssert.deepStrictEqual(actual, expected);
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    fail(`${message}\n${(error as Error).message}`, actual, expected);
  }
}

/** Asserts that the two values are not deeply strictly equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  nodeAssert.notDeepStrictEqual(actual, expected, message);
}

/** Asserts |actual - expected| <= tolerance (default: 1e-7 of the larger magnitude, as @std/assert). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  if (Object.is(actual, expected)) return;
  const limit = tolerance ?? 1e-7 * Math.max(Math.abs(actual), Math.abs(expected));
  const delta = Math.abs(expected - actual);
  if (delta <= limit) return;
  fail(
    `${
      message ? `${message}: ` : ""
    }Expected ${actual} to be within ${limit} of ${expected}, differs by ${delta}`,
    actual,
    expected,
  );
}

function checkError<E extends Error>(
  error: unknown,
  errorClass: ErrorClass<E> | undefined,
  messageIncludes: string | undefined,
  message: string | undefined,
): E {
  const prefix = message ? `${message}: ` : "";
  if (!(error instanceof Error)) fail(`${prefix}Expected an Error to be thrown, received ${String(error)}`);
  if (errorClass && !(error instanceof errorClass)) {
    fail(`${prefix}Expected ${errorClass.name}, received ${error.constructor.name}: ${error.message}`);
  }
  if (messageIncludes !== undefined && !error.message.includes(messageIncludes)) {
    fail(
      `${prefix}Expected the error message to include "${messageIncludes}", received "${error.message}"`,
      error.message,
      messageIncludes,
    );
  }
  return error as E;
}

/** Asserts that `fn` throws an Error, optionally of a class and with a message part; returns the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, errorClass, messageIncludes, message);
  }
  fail(`${message ? `${message}: ` : ""}Expected function to throw`);
}

/** Asserts that the promise of `fn` rejects with an Error, optionally of a class and with a message part. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  messageIncludes?: string,
  message?: string,
): Promise<E> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    fail(`${message ? `${message}: ` : ""}Function throws when expected to reject: ${String(error)}`);
  }
  try {
    await promise;
  } catch (error) {
    return checkError(error, errorClass, messageIncludes, message);
  }
  fail(`${message ? `${message}: ` : ""}Expected function to reject`);
}

/** Asserts that `actual` matches the regular expression. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  if (expected.test(actual)) return;
  fail(`${message ? `${message}: ` : ""}Expected "${actual}" to match ${expected}`, actual, expected);
}

/** Asserts that `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  if (actual.includes(expected)) return;
  fail(`${message ? `${message}: ` : ""}Expected "${actual}" to include "${expected}"`, actual, expected);
}

/**
 * Asserts that two number lists of equal length agree element by element: |a - e| <= atol + rtol * |e|. NaN must meet
 * NaN, and an infinity the same infinity. The failure names how many elements differ, the worst index with both
 * values, and the largest relative error.
 */
export function assertAllClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance = {},
): void {
  const { rtol = 1e-5, atol = 1e-6, label = "values" } = tolerance;
  if (actual.length !== expected.length) {
    fail(`${label}: expected ${expected.length} elements, received ${actual.length}`);
  }
  let differing = 0;
  let worst = -1;
  let worstExcess = -1;
  let maxRelative = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i]!;
    const e = expected[i]!;
    if (a === e || (Number.isNaN(a) && Number.isNaN(e))) continue;
    const finite = Number.isFinite(a) && Number.isFinite(e);
    const delta = finite ? Math.abs(a - e) : Infinity;
    const limit = atol + rtol * Math.abs(e);
    const relative = e === 0 ? Infinity : delta / Math.abs(e);
    if (finite && e !== 0) maxRelative = Math.max(maxRelative, relative);
    if (delta <= limit && finite) continue;
    differing++;
    const excess = finite ? delta - limit : Infinity;
    if (excess > worstExcess) {
      worstExcess = excess;
      worst = i;
    }
  }
  if (differing === 0) return;
  const a = actual[worst]!;
  const e = expected[worst]!;
  fail(
    `${label}: ${differing} of ${expected.length} elements differ (rtol ${rtol}, atol ${atol}); worst at index ${worst}: ` +
      `received ${a}, expected ${e}, difference ${Math.abs(a - e).toExponential(3)}; ` +
      `max relative error ${maxRelative.toExponential(3)}`,
  );
}

/**
 * ||actual - expected||2 / ||expected||2 in float64; 0 when both are zero, Infinity when only `expected` is, NaN when
 * any element is NaN (so that `relativeL2(...) < limit` fails).
 */
export function relativeL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    fail(`relativeL2: expected ${expected.length} elements, received ${actual.length}`);
  }
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    const d = actual[i]! - expected[i]!;
    difference += d * d;
    norm += expected[i]! * expected[i]!;
  }
  if (difference === 0 && norm === 0) return 0;
  return Math.sqrt(difference) / Math.sqrt(norm);
}

/**
 * Rules for the fields of config.json that architectures share. They bound sizes, so that a hostile file is refused before
 * anything is allocated by it.
 * @module
 */

import { ACTIVATION_NAMES, type ActivationName } from "../nn/mod.ts";
import { type Rule, rule } from "../options/rules.ts";

/** Greatest token id: ids are int32 on the device. */
const MAX_ID = 2 ** 31 - 1;

/** Greatest size: enough for any published model. */
const MAX_SIZE = 2 ** 24;

const isSize = (value: unknown) =>
  Number.isInteger(value) && value as number >= 1 && value as number <= MAX_SIZE;
const isId = (value: unknown) => Number.isInteger(value) && Math.abs(value as number) <= MAX_ID;

/** A width, a length or a number of tokens. */
export const size: Rule<number> = rule("a positive integer", isSize);

/** {@linkcode size}, or null for the architecture's own. */
export const sizeOrNull: Rule<number | null> = rule(
  "a positive integer or null",
  (value) => value === null || isSize(value),
);

/** A number of blocks: each takes objects on the host. */
export const depth: Rule<number> = {
  ...size,
  accepts: (value): value is number => isSize(value) && value as number <= 4096,
  message: (name, value) =>
    `${name} must be ${isSize(value) ? "at most 4096" : size.wanted}, received ${JSON.stringify(value)}`,
};

/** An activation of `transformers`. */
export const activationName: Rule<ActivationName> = rule(
  `one of ${ACTIVATION_NAMES.join(", ")}`,
  (value) => ACTIVATION_NAMES.some((name) => name === value),
);

/** A dropout. */
export const probability: Rule<number> = rule(
  "a number from 0 to 1",
  (value) => typeof value === "number" && value >= 0 && value <= 1,
);

/** An epsilon or a standard deviation. */
export const positive: Rule<number> = rule(
  "a positive number",
  (value) => typeof value === "number" && value > 0 && value < 10,
);

/** A special token, or null for none; some files say -1 for none. */
export const tokenId: Rule<number | null> = rule("a token id", (value) => value === null || isId(value));

/** {@linkcode tokenId}, or several tokens. */
export const tokenIds: Rule<number | number[] | null> = rule(
  "a token id",
  (value) => value === null || (Array.isArray(value) ? value.every(isId) : isId(value)),
);

/** Says on the console, as `transformers` does, that a negative id is taken for none. @param name as in config.json */
export function warnOfNegativeId(name: string, value: number | number[] | null): void {
  const ids = [value ?? []].flat();
  if (ids.some((id) => id < 0)) {
    console.warn(`\`${name}\` should be positive but got ${ids}: it is taken for none.`);
  }
}

/**
 * Rules for values that only adapter configurations have.
 * @module
 */

import { choice, number, orNull, refusedAs, type Rule, rule, table } from "../../options/rules.ts";

const isNames = (value: unknown): boolean =>
  Array.isArray(value) && value.every((entry) => typeof entry === "string");

/** A list of module names, with "pattern" also a regular expression, or null. */
export function names(form: "list"): Rule<readonly string[] | null>;
/** A list of module names, with "pattern" also a regular expression, or null. */
export function names(form: "pattern"): Rule<readonly string[] | string | null>;
export function names(form: "list" | "pattern"): Rule<never> {
  const pattern = form === "pattern";
  return rule(
    pattern ? "a list of names, a string or null" : "a list of names or null",
    (value) => value === null || isNames(value) || (pattern && typeof value === "string"),
  );
}

/** The number of a block, a list of such, or null. */
export const layers: Rule<number | readonly number[] | null> = rule(
  "a number from 0, a list of such, or null",
  (value) =>
    value === null || [value].flat().every((layer) => Number.isInteger(layer) && (layer as number) >= 0),
);

/** A positive integer, refused in `peft`'s words. */
export const rank: Rule<number> = refusedAs(
  rule<number>("a positive integer", (value) => Number.isInteger(value) && (value as number) > 0),
  (name, value) => `\`${name}\` should be a positive integer value but the value passed is ${value}`,
);

/** Ranks by patterns of module names. */
export const rankTable: Rule<Readonly<Record<string, number>>> = table("map patterns to numbers", rank);

/** Alphas by patterns of module names. */
export const alphaTable: Rule<Readonly<Record<string, number>>> = table("map patterns to numbers", number(0));

/** A probability. */
export const probability: Rule<number> = number(0, 1);

/** Which biases of the base train: none, all, or those of adapted modules. */
export function bias<const Own extends string>(own: Own): Rule<"none" | "all" | Own> {
  return choice("none", "all", own);
}

const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && new Set(value).size === value.length &&
  value.every((id) => Number.isInteger(id) && id >= 0);

const TOKENS = "a list of different token ids from 0";

/** Different token ids, at least one. */
export const tokens: Rule<readonly number[]> = rule(TOKENS, isTokens);

/** Different token ids, such ids by module name, or null. */
export const tokensByModule: Rule<readonly number[] | Readonly<Record<string, readonly number[]>> | null> =
  orNull(
    rule(`${TOKENS}, a table of module names to such,`, (value) => {
      if (isTokens(value)) return true;
      if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
      const lists = Object.values(value);
      return lists.length > 0 && lists.every(isTokens);
    }),
  );

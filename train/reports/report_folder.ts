/**
 * Where reports write: to a folder on disk, which a store is not.
 * @module
 */

import type { TrainingArguments } from "../training_arguments.ts";

/**
 * The folder of a report: its own, or else `outputDir`.
 * @param action what the report does
 * @throws {TypeError} where neither is a path
 */
export function reportFolder(
  action: string,
  own: string | undefined,
  { outputDir }: Pick<TrainingArguments, "outputDir">,
): string {
  const folder = own ?? outputDir;
  if (typeof folder === "string") return folder;
  throw new TypeError(
    `Cannot ${action}: a folder on disk is required, of its own or as outputDir, received ${
      folder === null ? "none" : "a store"
    }`,
  );
}

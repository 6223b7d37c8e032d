/**
 * Where reports write: to a folder on disk, which a store is not.
 * @module
 */

import type { TrainingArguments } from "../training_arguments.ts";

/** What reports that need a folder do. */
const ACTIONS = { jsonl: "keep a run log", tensorboard: "write for TensorBoard" } as const;

type WritesFiles = keyof typeof ACTIONS;
type Place = Pick<TrainingArguments, "outputDir">;

/** The folder of a report: its own, or else `outputDir`. @throws {TypeError} where neither is a path */
export function reportFolder(report: WritesFiles, own: string | null, { outputDir }: Place): string {
  const folder = own ?? outputDir;
  if (typeof folder === "string") return folder;
  throw new TypeError(
    `Cannot ${ACTIONS[report]}: the path of a folder on disk is required as outputDir, received ${
      folder === null ? "none" : "a store"
    }`,
  );
}

/** Whether the reports behind `reportTo` can write. @throws {TypeError} where one of them has no folder */
export function checkReportFolders(args: Place & Pick<TrainingArguments, "reportTo">): void {
  for (const name of [args.reportTo].flat()) {
    if (name in ACTIONS) reportFolder(name as WritesFiles, null, args);
  }
}

/**
 * The callbacks behind `reportTo`.
 * @module
 */

import type { TrainerCallback } from "../trainer_state.ts";
import { ConsoleReport } from "./console_report.ts";
import type { ReportName } from "./report_names.ts";
import { RunLog, type RunLogOptions } from "./run_log.ts";
import { TensorBoardLog } from "./tensorboard.ts";

const MAKERS: { readonly [Name in ReportName]: (options: RunLogOptions) => TrainerCallback } = {
  console: () => new ConsoleReport(),
  jsonl: (options) => new RunLog(options),
  tensorboard: () => new TensorBoardLog(),
};

/** A callback for each name. */
export function makeReports(
  reportTo: ReportName | "none" | readonly ReportName[],
  options: RunLogOptions,
): TrainerCallback[] {
  return [reportTo].flat().flatMap((name) => name === "none" ? [] : [MAKERS[name](options)]);
}

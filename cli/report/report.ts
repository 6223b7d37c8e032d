/**
 * `report`: the page of a run, from its log.
 * @module
 */

import { readRunLog, RUN_LOG } from "@peft/webgpu/train";
import { text } from "../../options/rules.ts";
import { type Command, UsageError } from "../command.ts";
import { reportPage } from "./page.ts";

/** Name of the page in a run's folder. */
export const REPORT_FILE = "report.html";

const flags = {
  run: {
    rule: text,
    required: true,
    help: `Folder of a run that kept ${RUN_LOG} (finetune --report, reportTo "jsonl")`,
  },
  output: { rule: text, help: `The page's file; default ${REPORT_FILE} in the folder` },
} as const;

/** Writes the page of a run. Returns its path. */
export async function writeReport(folder: string, output = `${folder}/${REPORT_FILE}`): Promise<string> {
  const log = `${folder}/${RUN_LOG}`;
  if (await Deno.stat(log).then(() => false, (error) => error instanceof Deno.errors.NotFound)) {
    throw new UsageError(
      `Cannot make a report of "${folder}": ${RUN_LOG} is required, which finetune --report keeps, received a folder without it`,
    );
  }
  const events = await readRunLog(log);
  try {
    await Deno.writeTextFile(output, reportPage(events, `Training run: ${folder.split("/").at(-1)}`));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    throw new UsageError(`Cannot write the report: ${(cause as Error).message}`, { cause });
  }
  return output;
}

/** The command. */
export const report: Command<typeof flags> = {
  name: "report",
  summary: "Make a page of a run: curves, samples, settings",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: ["./run report --run out/adapter"],
  async run(values) {
    const output = await writeReport(values.run.replace(/\/+$/, ""), values.output);
    console.log(`report written to ${output}`);
    return { output };
  },
};

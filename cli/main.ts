/**
 * The command line. Exit codes: 0 done, 1 a mistake in what was asked (flags, files,
 * data, permissions), 2 anything else (no GPU adapter, a failed device, a defect of this library), 130 after Ctrl-C.
 * @module
 */

import { type Command, helpText, readFlags, UsageError } from "./command.ts";
import { chat } from "./chat/chat.ts";
import { endWithReaders } from "./closed_pipes.ts";
import { completion } from "./completion.ts";
import { convert } from "./convert.ts";
import { doctor } from "./doctor.ts";
import { evaluate } from "./evaluate.ts";
import { cache } from "./hub/cache.ts";
import { download } from "./hub/download.ts";
import { login } from "./hub/login.ts";
import { logout } from "./hub/logout.ts";
import { push } from "./hub/push.ts";
import { finetune } from "./training/finetune.ts";
import { generate } from "./generate.ts";
import { info } from "./info.ts";
import { INTERRUPTED, InterruptedError } from "./interrupt.ts";
import { merge } from "./merge.ts";
import { report } from "./report/report.ts";
import { serve } from "./serve.ts";
import { sweep } from "./sweep/sweep.ts";
import { worker } from "./sweep/worker.ts";
import { tokenize } from "./tokenize.ts";
import { tune } from "./tune.ts";
import { isUserError } from "../jobs/user_errors.ts";

const HUB = [download, push, cache, login, logout];
const TASKS = [
  chat,
  finetune,
  sweep,
  worker,
  generate,
  serve,
  info,
  tune,
  evaluate,
  tokenize,
  merge,
  convert,
  report,
  doctor,
  ...HUB,
]
  .map((command) => command as unknown as Command);
const COMMANDS: ReadonlyMap<string, Command> = new Map(
  [...TASKS, completion(TASKS) as unknown as Command].map((command) => [command.name, command]),
);

const HELP = [
  "Parameter-efficient fine-tuning of language models on WebGPU.",
  "",
  "Usage: ./run <command> [flags]",
  "",
  ...[...COMMANDS.values()].map((command) => `  ${command.name.padEnd(10)} ${command.summary}`),
  "",
  "./run <command> --help shows a command's flags.",
].join("\n");

/** Whether the system itself said that a disk is full: of files that no message of ours names. */
const isDiskFull = (error: unknown) => (error as { code?: unknown } | null)?.code === "ENOSPC";

/** The first line of what a failed command prints. */
function errorLine(error: unknown): string {
  if (isDiskFull(error)) return "Cannot go on: no space is left on the disk";
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof Deno.errors.NotCapable ? `Cannot go on: ${message}` : message;
}

/** Whether PEFT_WEBGPU_TRACE asks for stacks; no where the environment may not be read. */
function wantsTrace(): boolean {
  try {
    return Deno.env.has("PEFT_WEBGPU_TRACE");
  } catch {
    return false;
  }
}

/** `console.log`, whatever it means by now. */
const log = console.log.bind(console);
const print = (result: object) => log(JSON.stringify(result));

/** Runs a command. With `--json`, stdout holds its result alone. */
async function runCommand(command: Command, values: Parameters<Command["run"]>[0]): Promise<void> {
  if (!values.json) return void await command.run(values);
  console.log = console.error;
  try {
    print(await command.run(values) ?? {});
  } finally {
    console.log = log;
  }
}

/**
 * Runs a command line and returns its exit code.
 *
 * @example
 * ```ts
 * import { main } from "@peft/webgpu/cli";
 *
 * const code = await main(["tokenize", "--model", "examples/demo/model", "--data", "examples/demo/data/pirate.jsonl"]);
 * console.log(code); // 0; 1 for a mistake in the command, 2 for a defect
 * ```
 */
export async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "help") {
    console.log(HELP);
    return name === undefined ? 1 : 0;
  }
  let wantsJson = rest.includes("--json");
  try {
    const command = COMMANDS.get(name);
    if (!command) {
      throw new UsageError(`Cannot run "${name}": the commands are ${[...COMMANDS.keys()].join(", ")}`);
    }
    const values = await readFlags(command, rest);
    wantsJson = values?.json ?? wantsJson;
    if (!values) console.log(helpText(command));
    else await runCommand(command, values);
    return 0;
  } catch (error) {
    if (error instanceof InterruptedError) {
      if (wantsJson) print(error.result);
      return INTERRUPTED;
    }
    console.error(`error: ${errorLine(error)}`);
    if (wantsJson) print({ error: errorLine(error) });
    if (wantsTrace()) console.error(error);
    return isUserError(error) || isDiskFull(error) ? 1 : 2;
  }
}

if (import.meta.main) {
  endWithReaders();
  Deno.exit(await main(Deno.args));
}

/**
 * The command line: `chat`, `finetune`, `generate`, `info`, `tune`. Exit codes: 0 done, 1 a mistake in what was asked (flags, files,
 * data, permissions), 2 anything else (no GPU adapter, a failed device, a defect of this library), 130 after Ctrl-C.
 * @module
 */

import { type Command, helpText, parseFlags, UsageError } from "./command.ts";
import { chat } from "./chat.ts";
import { finetune } from "./finetune.ts";
import { generate } from "./generate.ts";
import { info } from "./info.ts";
import { INTERRUPTED, InterruptedError } from "./interrupt.ts";
import { tune } from "./tune.ts";
import { isUserError } from "./user_errors.ts";

const COMMANDS = { chat, finetune, generate, info, tune } as const;

const HELP = [
  "Parameter-efficient fine-tuning of language models on WebGPU.",
  "",
  "Usage: ./run <command> [flags]",
  "",
  ...Object.values(COMMANDS).map((command) => `  ${command.name.padEnd(10)} ${command.summary}`),
  "",
  "./run <command> --help shows a command's flags.",
].join("\n");

/** The first line of what a failed command prints. */
function errorLine(error: unknown): string {
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

/** Runs a command line and returns its exit code. */
export async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "help") {
    console.log(HELP);
    return name === undefined ? 1 : 0;
  }
  try {
    if (!Object.hasOwn(COMMANDS, name)) {
      throw new UsageError(
        `Cannot run "${name}": the commands are ${Object.keys(COMMANDS).join(", ")}`,
      );
    }
    const command = COMMANDS[name as keyof typeof COMMANDS] as unknown as Command;
    const values = parseFlags(command, rest);
    if (!values) console.log(helpText(command));
    else await command.run(values);
    return 0;
  } catch (error) {
    if (error instanceof InterruptedError) return INTERRUPTED;
    console.error(`error: ${errorLine(error)}`);
    if (wantsTrace()) console.error(error);
    return isUserError(error) ? 1 : 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));

/**
 * The command line: `finetune`, `generate`, `info`. Exit codes: 0 done, 1 a mistake in what was asked (flags, files,
 * data), 2 anything else (no GPU adapter, a failed device, a defect of this library).
 * @module
 */

import { type Command, helpText, parseFlags, UsageError } from "./command.ts";
import { finetune } from "./finetune.ts";
import { generate } from "./generate.ts";
import { info } from "./info.ts";

const COMMANDS = { finetune, generate, info } as const;

const HELP = [
  "Parameter-efficient fine-tuning of GPT-2 on WebGPU.",
  "",
  "Usage: deno task <command> [flags]",
  "",
  ...Object.values(COMMANDS).map((command) => `  ${command.name.padEnd(10)} ${command.summary}`),
  "",
  "deno task <command> --help shows a command's flags.",
].join("\n");

/** Names of errors that say what is wrong with the request, not with the program. */
const USER_ERRORS: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "SyntaxError",
  "UsageError",
  "NoMatchingModuleError",
  "SafetensorsError",
  "JsonFileError",
  "HubError",
  "DatasetError",
  "CheckpointError",
]);

/** Whether an error was made on purpose, with a message for the user: they all begin alike. */
function isUserError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  return error instanceof UsageError ||
    error.message.startsWith("Cannot ") && (USER_ERRORS.has(error.name) || error.name === "Error");
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
    const message = error instanceof Error ? error.message : String(error);
    console.error(`error: ${message}`);
    if (Deno.env.get("PEFT_WEBGPU_TRACE")) console.error(error);
    return isUserError(error) ? 1 : 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));

/**
 * `login`: a token of the hub, kept where Python's huggingface_hub keeps it.
 * @module
 */

import { login as keepToken } from "@peft/webgpu/hub";
import { text } from "../../options/rules.ts";
import { type Command, UsageError } from "../command.ts";

const flags = {
  token: {
    rule: text,
    help: "Access token; default: asked for, or read from stdin, where no list of processes shows it",
  },
} as const;

const [CTRL_C, BACKSPACE, ENTER, LINE_FEED] = [3, 127, 13, 10];

/** A line that a user types and nobody sees; null where they leave it with Ctrl-C. */
function readHidden(question: string): string | null {
  Deno.stderr.writeSync(new TextEncoder().encode(question));
  const typed: number[] = [];
  const byte = new Uint8Array(1);
  Deno.stdin.setRaw(true);
  try {
    while (Deno.stdin.readSync(byte) !== null) {
      if (byte[0] === CTRL_C) return null;
      if (byte[0] === ENTER || byte[0] === LINE_FEED) break;
      if (byte[0] === BACKSPACE) typed.pop();
      else typed.push(byte[0]);
    }
  } finally {
    Deno.stdin.setRaw(false);
    Deno.stderr.writeSync(new TextEncoder().encode("\n"));
  }
  return new TextDecoder().decode(Uint8Array.from(typed));
}

async function askToken(): Promise<string> {
  const given = Deno.stdin.isTerminal()
    ? readHidden("Access token, from the settings of your account (it is not shown): ")
    : await new Response(Deno.stdin.readable).text();
  if (given?.trim()) return given;
  throw new UsageError("Cannot run login: an access token is required, received none");
}

/** The command. */
export const login: Command<typeof flags> = {
  name: "login",
  summary: "Keep a token of the hub, for downloads and pushes",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-net", "--allow-env", "--allow-sys=homedir"],
  examples: ["./run login", "./run login < token.txt"],
  async run(values) {
    const { name, role, path } = await keepToken(values.token ?? await askToken());
    console.log(`logged in as ${name}${role === null ? "" : `, who may ${role}`}; the token is in ${path}`);
    if (Deno.env.has("HF_TOKEN")) console.log("HF_TOKEN is set, and comes first");
    return { name, role, path };
  },
};

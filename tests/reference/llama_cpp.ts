/**
 * llama.cpp, the reference for GGUF files that we write.
 * @module
 */

import { fetchLlamaCpp } from "../../tools/fetch_llama_cpp.ts";

/**
 * A folder with llama.cpp, or null on a machine without npm. Tests register with `ignore: folder === null` and names that
 * begin with "llama.cpp": `tools/test_output.ts` then lists them as skipped.
 */
export function llamaCppFolder(): Promise<string | null> {
  return fetchLlamaCpp(() => console.log("fetching llama.cpp (85 MB)"));
}

/** What llama.cpp is asked. */
export interface LlamaCppRequest {
  /** Path of a GGUF file. */
  readonly model: string;
  /** Path of a LoRA adapter. */
  readonly adapter?: string;
  /** Token ids to continue, most probable token first. */
  readonly prompts: readonly (readonly number[])[];
  /** Texts to tokenize, without special tokens around them. */
  readonly texts?: readonly string[];
  /** Whether names of special tokens in the texts are those tokens; default false. */
  readonly special?: boolean;
  /** New tokens. */
  readonly count: number;
}

/** What it answers. */
export interface LlamaCppAnswer {
  /** The new tokens of each prompt. */
  readonly rows?: number[][];
  /** The token ids of each text. */
  readonly ids?: number[][];
  /** Why it refused the files. */
  readonly error?: string;
}

const RUNNER = new URL("./llama_cpp_runner.mjs", import.meta.url).pathname;

/** Asks llama.cpp, all in one process. */
export async function askLlamaCpp(
  folder: string,
  requests: readonly LlamaCppRequest[],
): Promise<LlamaCppAnswer[]> {
  const child = new Deno.Command("node", {
    args: [RUNNER, folder],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(requests)));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  if (code !== 0) throw new Error(`llama.cpp ended with ${code}: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

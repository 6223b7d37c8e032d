/**
 * What becomes of a command whose output nobody reads any more, as after `| head`: one that prints an answer ends, one
 * that trains goes on.
 * @module
 */

import process from "node:process";

const isClosed = (error: unknown) =>
  error instanceof Deno.errors.BrokenPipe || (error as { code?: string }).code === "EPIPE";

/** Lets the program end quietly where stdout is closed while an answer is streamed, and do without a stderr that is. */
export function endWithReaders(): void {
  process.stdout.on("error", (error) => {
    if (isClosed(error)) Deno.exit(0);
    throw error;
  });
  process.stderr.on("error", (error) => {
    if (!isClosed(error)) throw error;
  });
}

/** Writes a part of an answer, and ends the program where nobody reads it. */
export function writeAnswer(text: string): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  } catch (error) {
    if (isClosed(error)) Deno.exit(0);
    throw error;
  }
}

/** Writes a part of a progress line, if anybody reads it. */
export function writeProgress(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch (error) {
    if (!isClosed(error)) throw error;
  }
}

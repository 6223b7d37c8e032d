/**
 * Ctrl-C: the first press asks the work to end, the second one ends the process.
 * @module
 */

/** Exit code of a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** Thrown when the work ended early because the user asked for it; everything is said already. */
export class InterruptedError extends Error {
  override name = "InterruptedError";

  /** @param result what `--json` prints */
  constructor(readonly result: Readonly<Record<string, unknown>> = { interrupted: true }) {
    super("interrupted");
  }
}

/** Runs `work` with a signal that Ctrl-C or a polite kill aborts, printing `message` then. */
export async function interruptible<T>(
  message: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) Deno.exit(INTERRUPTED);
    console.error(`\n${message}`);
    controller.abort();
  };
  const names: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const name of names) Deno.addSignalListener(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of names) Deno.removeSignalListener(name, stop);
  }
}

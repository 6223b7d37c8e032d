/**
 * What a run of `deno test` printed, as counts and failures.
 * @module
 */

/** Passed and failed checks or tests. */
export interface Counts {
  passed: number;
  failed: number;
  /** Names of tests that were skipped, because this machine lacks what they need. */
  skipped: string[];
}

/**
 * Counts from the closing line of `deno test`. Ignored tests count as failed: every test runs everywhere, except those of
 * the real model (names that begin with "SmolLM2"), which a machine without pip cannot fetch, those of llama.cpp and of the
 * npm package (names that begin with "llama.cpp" and "npm:"), which need Node and npm, those of nginx and NATS, which not
 * every system packages, and those of Firefox, zsh and fish, which not everyone has. Without a closing line (a type error, a
 * killed process) one failure is counted.
 */
export function readCounts(output: string): Counts {
  // deno-lint-ignore no-control-regex -- colours begin with the escape character
  const plain = output.replaceAll(/\x1b\[[0-9;]*m/g, "");
  const closing = [
    ...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*?\| (\d+) failed(?:.*?\| (\d+) ignored)?/gm),
  ]
    .at(-1);
  const skipped = [
    ...plain.matchAll(/^((?:SmolLM2|llama\.cpp|npm:|nginx|NATS|Firefox|zsh|fish).*) \.\.\. ignored \(/gm),
  ].map((
    [, name],
  ) => name);
  if (!closing) return { passed: 0, failed: 1, skipped };
  const ignored = Number(closing[3] ?? 0) - skipped.length;
  return { passed: Number(closing[1]), failed: Number(closing[2]) + ignored, skipped };
}

/** What a finished `deno test` counts for. A process that ends badly though no test failed counts as one failure. */
export function judge(
  counts: Counts,
  { code, signal }: { readonly code: number; readonly signal: Deno.Signal | null },
): Counts & { readonly note: string } {
  if (code === 0 || counts.failed > 0) return { ...counts, note: "" };
  return { ...counts, failed: 1, note: `the process ended with ${signal ?? `code ${code}`}` };
}

/** Lines of a failed group that are repeated at the end. */
const REPEATED_LINES = 40;

/**
 * What a failed `deno test` says of its failures: its section of errors, with names and places; without one (a killed
 * process) its last lines.
 */
export function readFailures(output: string): string {
  // deno-lint-ignore no-control-regex -- colours begin with the escape character
  const lines = output.replaceAll(/\x1b\[[0-9;]*m/g, "").trimEnd().split("\n");
  const errors = lines.findLastIndex((line) => line.trim() === "ERRORS");
  if (errors < 0) return lines.slice(-REPEATED_LINES).join("\n");
  return lines.slice(errors + 1, errors + 1 + REPEATED_LINES).join("\n").trim();
}

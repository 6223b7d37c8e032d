/**
 * A line on stderr while a model is downloaded and loaded, so that stdout holds results alone.
 * @module
 */

import type { HubProgress } from "@peft/webgpu";
import type { LoadProgress } from "@peft/webgpu/model";
import { writeProgress } from "./closed_pipes.ts";

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

/** What one report of progress says. */
function describeLoading(progress: LoadProgress | HubProgress): string {
  if ("file" in progress) {
    const { file, loadedBytes, totalBytes } = progress;
    const percent = totalBytes > 0 ? ` (${Math.floor(100 * loadedBytes / totalBytes)} %)` : "";
    return `downloading ${file}: ${megabytes(loadedBytes)} of ${megabytes(totalBytes)} MB${percent}`;
  }
  return `loading weights: ${progress.loaded} of ${progress.total} tensors`;
}

/** Rewrites one line on a terminal, and writes a line every two seconds elsewhere; nothing for what takes less. */
export class LoadingLine {
  #last = performance.now();
  #width = 0;
  readonly #terminal = Deno.stderr.isTerminal();

  /** Shows how far it is. */
  readonly show = (progress: LoadProgress | HubProgress): void => {
    const now = performance.now();
    if (now - this.#last < (this.#terminal ? 100 : 2000)) return;
    this.#last = now;
    const text = describeLoading(progress);
    writeProgress(this.#terminal ? `\r${text.padEnd(this.#width)}` : `${text}\n`);
    this.#width = Math.max(this.#width, text.length);
  };

  /** Clears the line of a terminal. */
  [Symbol.dispose](): void {
    if (this.#terminal && this.#width > 0) writeProgress(`\r${" ".repeat(this.#width)}\r`);
  }
}

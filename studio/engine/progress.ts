/**
 * Tells the page of progress, not more often than it can show.
 * @module
 */

import type { EngineEvent, Progress } from "../protocol.ts";

/** Between two reports of one piece of work. */
const PROGRESS_MS = 60;

/** A function that tells of a call's progress. */
export function progressTeller(
  send: (event: EngineEvent) => void,
): (id: number, progress: Progress) => void {
  let told = { what: "", at: 0 };
  return (id, progress) => {
    const { text, done, total } = progress;
    const now = performance.now();
    const isSame = told.what === `${id} ${text}` && done !== total;
    if (isSame && now - told.at < PROGRESS_MS) return;
    told = { what: `${id} ${text}`, at: now };
    send({ event: "progress", id, progress });
  };
}

/**
 * Calls of JetStream's client: how long they may take, and what becomes of their errors.
 * @module
 */

import type { JetStreamManager } from "@nats-io/jetstream";
import { deadline } from "@nats-io/nats-core";
import { brokerError } from "./nats.ts";

/** The record or object is no longer of the revision that a write names. */
export const WRONG_LAST_SEQUENCE = 10071;

/** The code of a server's error, or of its client's. */
export const codeOf = (error: unknown) => (error as { code?: unknown }).code;

/** Milliseconds after which a call of the client that has not ended counts as one to a broker that is away. */
export const PATIENCE_MS = 30_000;

/** Runs a call of the client; its errors become ours. */
export async function ask<T>(
  action: string,
  call: () => Promise<T>,
  patienceMs: number = PATIENCE_MS,
): Promise<T> {
  try {
    return await (patienceMs === Infinity ? call() : deadline(call(), patienceMs));
  } catch (error) {
    throw brokerError(action, error);
  }
}

/** What follows `prefix` in the subjects of a stream: asked for without a consumer, which the server would keep for a while. */
export async function subjectsOf(
  manager: JetStreamManager,
  stream: string,
  prefix: string,
): Promise<string[]> {
  const { state } = await manager.streams.info(stream, { subjects_filter: `${prefix}>` });
  return Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length));
}

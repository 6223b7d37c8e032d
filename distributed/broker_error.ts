/**
 * What can go wrong between this program and a broker.
 * @module
 */

/**
 * What failed: "unreachable": no broker answers, now or for a while; "credentials": it knows nobody of these credentials, or
 * does not let them do this; "certificate": one of the two does not trust the other's; "full": its store has no room; "other".
 *
 * @example
 * ```ts
 * import type { BrokerFailure } from "@peft/webgpu/distributed";
 *
 * const cures: Record<BrokerFailure, string> = {
 *   unreachable: "Is it running, and is the address right?",
 *   credentials: "Ask its owner for a user that may do this.",
 *   certificate: "Give the authority that signed its certificate.",
 *   full: "Remove what is no longer needed.",
 *   other: "Look into its log.",
 * };
 * console.log(cures.full);
 * ```
 */
export type BrokerFailure = "unreachable" | "credentials" | "certificate" | "full" | "other";

/**
 * An error of a broker, `Cannot <action>: <what is required>, received <what came>`.
 *
 * @example
 * ```ts
 * import { BrokerError, JetStreamBroker } from "@peft/webgpu/distributed";
 *
 * try {
 *   await (await JetStreamBroker.connect({ url: "nats://localhost:4222", timeoutMs: 500 })).close();
 * } catch (error) {
 *   if (!(error instanceof BrokerError)) throw error;
 *   console.log(error.failure, error.message); // such as "unreachable", with what would help
 * }
 * ```
 */
export class BrokerError extends Error {
  /** Its class, by which errors of users are told from defects. */
  override name = "BrokerError";

  /** Says what failed. @param failure what kind it is, by which a caller tries again or gives up */
  constructor(readonly failure: BrokerFailure, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Waits, though no longer than until `signal` aborts. */
async function pauseUnless(signal: AbortSignal | undefined, pauseMs: number): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, pauseMs);
    signal?.addEventListener("abort", end);
  });
}

/**
 * Does something with a broker, again and again while none can be reached: it may be restarting.
 *
 * @example
 * ```ts
 * import { LocalBroker, withPatience } from "@peft/webgpu/distributed";
 *
 * const records = await new LocalBroker().records("results");
 * const keys = await withPatience(() => records.keys(), { patienceMs: 10_000 }); // a broker that restarts is waited for
 * console.log(keys); // []
 * ```
 * @param patienceMs how long it goes on trying, in milliseconds
 * @param onWait told of the first failure, with what it was
 * @throws {BrokerError} the last one, when patience is over or `signal` aborts; any other error at once
 */
export async function withPatience<T>(
  work: () => Promise<T>,
  { patienceMs, signal, onWait }: {
    patienceMs: number;
    signal?: AbortSignal;
    onWait?: (error: BrokerError) => void;
  },
): Promise<T> {
  const end = Date.now() + patienceMs;
  for (let pauseMs = 250, told = false;; pauseMs = Math.min(5000, 2 * pauseMs)) {
    try {
      return await work();
    } catch (error) {
      const isOver = Date.now() + pauseMs > end || signal?.aborted;
      if (!(error instanceof BrokerError) || error.failure !== "unreachable" || isOver) throw error;
      if (!told) onWait?.(error);
      told = true;
      await pauseUnless(signal, pauseMs);
      if (signal?.aborted) throw error;
    }
  }
}

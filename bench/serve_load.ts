/**
 * The questions that loads of a server ask, and what comes of them.
 * @module
 */

import { median } from "./harness.ts";

/** Short questions, as people ask them. */
export const QUESTIONS: readonly string[] = [
  "What is the capital of France?",
  "Name three fruits.",
  "Why is the sky blue?",
  "Write one sentence about the sea.",
  "What is two plus three?",
  "Who wrote Hamlet?",
  "How do I boil an egg?",
  "Give me a short greeting.",
];

/** One answer. */
export interface Answered {
  /** Milliseconds to its first text. */
  readonly first: number;
  /** Milliseconds to its end. */
  readonly whole: number;
  /** Tokens of it. */
  readonly tokens: number;
}

/**
 * Keeps `clients` requests open for `seconds`; those that are open then are finished.
 * @param ask one request, by number
 */
export async function keepAsking(
  clients: number,
  seconds: number,
  ask: (i: number) => Promise<Answered>,
): Promise<{ answers: Answered[]; seconds: number }> {
  const answers: Answered[] = [];
  const begin = performance.now();
  let count = 0;
  const client = async () => {
    while (performance.now() - begin < seconds * 1000) answers.push(await ask(count++));
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { answers, seconds: (performance.now() - begin) / 1000 };
}

/** A line about a load. */
export function describeLoad(
  { answers, seconds }: { answers: readonly Answered[]; seconds: number },
): string {
  const tokens = answers.reduce((sum, { tokens }) => sum + tokens, 0);
  return `${answers.length} answers, ${tokens} tokens in ${seconds.toFixed(0)} s: ${
    (tokens / seconds).toFixed(1)
  } tokens/s, median first text ${
    (median(answers.map(({ first }) => first)) / 1000).toFixed(2)
  } s, median answer ${(median(answers.map(({ whole }) => whole)) / 1000).toFixed(2)} s`;
}

/**
 * What is wrong with a list of messages: the message and its key.
 * @module
 */

import { editDistance } from "../../options/names.ts";

/**
 * A message of a conversation.
 *
 * @example
 * ```ts
 * import { RowDataset } from "@peft/webgpu";
 * import type { Message } from "@peft/webgpu/train";
 *
 * const messages: Message[] = [
 *   { role: "system", content: "You are a pirate." },
 *   { role: "user", content: "Who are you?" },
 *   { role: "assistant", content: "A pirate, arr!" },
 * ];
 * console.log(RowDataset.from([{ messages }]).length); // 1
 * ```
 */
export interface Message {
  /** "system", "user", "assistant" or "tool", as far as the template knows them. */
  readonly role: string;
  /** What was said. */
  readonly content?: unknown;
  /** Other fields, for the template. */
  readonly [field: string]: unknown;
}

type Given = Readonly<Record<string, unknown>>;

/** Edits of a key that is meant as another. */
const MOST_EDITS = 2;

const isObject = (value: unknown): value is Given =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The key that was meant as `name`. */
function misspelt(message: Given, name: string): string | undefined {
  return Object.keys(message).find((key) => editDistance(key.toLowerCase(), name) <= MOST_EDITS);
}

/** The misspelt key of a message's content; undefined where it has content, or is one without, such as a call. */
const misspeltContent = (message: Given) =>
  message.content === undefined && message.tool_calls === undefined
    ? misspelt(message, "content")
    : undefined;

/** Whether a value is a list of messages. */
export const isMessages = (value: unknown): value is Message[] =>
  Array.isArray(value) && value.length > 0 &&
  value.every((one) => isObject(one) && typeof one.role === "string" && !misspeltContent(one));

/** What a message has instead of a text under a key. */
function keyProblem(message: Given, name: string): string | null {
  const value = message[name];
  if (typeof value === "string") return null;
  if (value !== undefined) return `has a "${name}" that is ${value === null ? "null" : `a ${typeof value}`}`;
  const key = misspelt(message, name);
  if (key !== undefined) return `has the key ${JSON.stringify(key)} in place of "${name}"`;
  const keys = Object.keys(message).slice(0, 5).map((key) => JSON.stringify(key)).join(", ");
  return `has no "${name}"${keys && ` but ${keys}`}`;
}

function messageProblem(message: unknown): string | null {
  if (!isObject(message)) return `is ${message === null ? "null" : `a ${typeof message}`}`;
  const isShared = message.role === undefined && ("from" in message || "value" in message); // ShareGPT's
  const problems = (isShared ? ["from", "value"] : ["role"]).map((name) => keyProblem(message, name));
  const found = problems.find((problem) => problem !== null);
  const content = misspeltContent(message);
  return found ??
    (content && !isShared ? `has the key ${JSON.stringify(content)} in place of "content"` : null);
}

/** How every answer of `conversationProblem` begins. */
export const CONVERSATION = "a conversation";

/** Columns that hold messages alone, and those that may hold them. */
const [ALWAYS, MAYBE] = [["messages", "conversations"], ["prompt", "completion", "chosen", "rejected"]];

/** What is wrong with the messages of a row, as it follows "received"; null for nothing. */
export function conversationProblem(row: Given): string | null {
  for (const name of [...ALWAYS, ...MAYBE]) {
    const value = row[name];
    const isList = Array.isArray(value) && (value.length > 0 || ALWAYS.includes(name));
    if (value === undefined || !isList && MAYBE.includes(name)) continue;
    const start = `${CONVERSATION} ("${name}")`;
    if (!isList) return `${start} that is ${value === null ? "null" : `a ${typeof value}`}`;
    if (value.length === 0) return `${start} without a message`;
    for (const [i, message] of value.entries()) {
      const problem = messageProblem(message);
      if (problem) return `${start} whose message ${i + 1} ${problem}`;
    }
  }
  return null;
}

/**
 * Conversations as training examples: what the assistant says is learned, and the token that ends it; the rest is read.
 * @module
 */

import { commonLength } from "./common_length.ts";
import type { Example, TextTokenizer } from "./example.ts";
import type { Message } from "./rows.ts";

/**
 * What a tokenizer needs for conversations.
 *
 * @example
 * ```ts
 * import { chatExample } from "@peft/webgpu";
 * import type { ChatTokenizer } from "@peft/webgpu/train";
 *
 * const encode = (text: string) => [...new TextEncoder().encode(text)];
 * const bytes: ChatTokenizer = {
 *   encode,
 *   eosTokenId: 10,
 *   decode: (ids) => new TextDecoder().decode(new Uint8Array(ids)),
 *   applyChatTemplate: (messages, { addGenerationPrompt }) =>
 *     encode(messages.map(({ role, content }) => `${role}: ${content}.`).join("") + (addGenerationPrompt ? "assistant: " : "")),
 * };
 * const { inputIds, labels } = chatExample(bytes, [
 *   { role: "user", content: "Who are you" },
 *   { role: "assistant", content: "A pirate" },
 * ]);
 * console.log(bytes.decode(inputIds.filter((_, i) => labels[i] !== -100))); // A pirate.
 * ```
 */
export interface ChatTokenizer extends TextTokenizer {
  /** Ids of a conversation. */
  applyChatTemplate(
    messages: readonly Message[],
    options: { addGenerationPrompt: boolean; tools?: readonly unknown[] },
  ): number[];
  /** Text of ids. */
  decode(ids: readonly number[]): string;
}

/**
 * Options of `chatExample`.
 *
 * @example
 * ```ts
 * import { chatExample } from "@peft/webgpu";
 * import type { ChatExampleOptions, ChatTokenizer, Message } from "@peft/webgpu/train";
 *
 * const tools = [{ type: "function", function: { name: "find_gold", parameters: { type: "object" } } }];
 * const options: ChatExampleOptions = { tools, learnedFrom: 2 };
 * // the answers from message 2 on are learned; the one before was learned already
 * const example = (tokenizer: ChatTokenizer, messages: readonly Message[]) => chatExample(tokenizer, messages, options);
 * ```
 */
export interface ChatExampleOptions {
  /** Functions that the model may call, as JSON schemas. */
  tools?: readonly unknown[];
  /** Messages before this number are read, whoever says them; default 0. */
  learnedFrom?: number;
}

/** Whether `long` begins with `short`. */
const begins = (long: readonly number[], short: readonly number[]) =>
  short.length <= long.length && short.every((id, i) => long[i] === id);

/**
 * A conversation as a training example: labels are -100 except over the assistant's words and the token that ends
 * them. Each answer is found between the conversation up to it with the beginning of an answer, and with it.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, chatExample } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * tokenizer.chatTemplate =
 *   "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
 * const { inputIds, labels } = chatExample(tokenizer, [
 *   { role: "user", content: "Who are you?" },
 *   { role: "assistant", content: "A pirate." },
 * ]);
 * console.log(inputIds.length, labels.filter((label) => label !== -100).length);
 * ```
 * @throws {TypeError} without an answer, and for a chat template that writes earlier messages otherwise once others follow
 */
export function chatExample(
  tokenizer: ChatTokenizer,
  messages: readonly Message[],
  { tools, learnedFrom = 0 }: ChatExampleOptions = {},
): Required<Pick<Example, "inputIds" | "labels">> {
  const render = (count: number, addGenerationPrompt: boolean) =>
    tokenizer.applyChatTemplate(messages.slice(0, count), { addGenerationPrompt, ...tools && { tools } });
  const answers = messages.flatMap(({ role }, i) => role === "assistant" && i >= learnedFrom ? [i] : []);
  if (answers.length === 0) {
    throw new TypeError(
      `Cannot train on a conversation: a message of the assistant is required, received ${
        messages.slice(learnedFrom).map(({ role }) => `"${role}"`).join(", ")
      }`,
    );
  }
  const whole = render(messages.length, false);
  const labels = new Array<number>(whole.length).fill(-100);
  let end = 0;
  for (const i of answers) {
    const [before, after] = [render(i, true), render(i + 1, false)];
    const length = i + 1 === messages.length ? after.length : commonLength(whole, after);
    end = lastWord(tokenizer, after.slice(0, length));
    if (!begins(whole, before) || end <= before.length) {
      throw new TypeError(
        `Cannot train on a conversation: the chat template must put an answer behind its generation prompt, received ${
          JSON.stringify(tokenizer.decode(whole))
        }`,
      );
    }
    for (let at = before.length; at < end; at++) labels[at] = whole[at];
  }
  const kept = answers.at(-1) === messages.length - 1 ? end : whole.length;
  return { inputIds: whole.slice(0, kept), labels: labels.slice(0, kept) };
}

/** Ids without the white space at their end, such as a line break after the token that ends a turn. */
function lastWord(tokenizer: ChatTokenizer, ids: readonly number[]): number {
  let end = ids.length;
  while (end > 0 && tokenizer.decode([ids[end - 1]]).trim() === "") end--;
  return end;
}

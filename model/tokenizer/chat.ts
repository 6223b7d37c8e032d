/**
 * `applyChatTemplate`: a conversation as token ids, and which of them the assistant wrote.
 *
 * @module
 */
import { checkOptions } from "../../options/names.ts";
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  type RenderedChat,
  type RenderOptions,
} from "./chat_template.ts";
import type { JsonObject } from "../../io/json.ts";
import type { TokenizerCore } from "./core.ts";
import { contentOf, type TokenizerSettings } from "./settings.ts";

/**
 * Options of `applyChatTemplate`, those of `transformers` in camelCase.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { ChatOptions } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("HuggingFaceTB/SmolLM2-135M-Instruct");
 * const options: ChatOptions = { addGenerationPrompt: true, chatTemplateKwargs: { enable_thinking: false } };
 * const ids = tokenizer.applyChatTemplate([{ role: "user", content: "Who are you?" }], options);
 * console.log(tokenizer.decode(ids)); // ends where the assistant begins
 * ```
 */
export interface ChatOptions {
  /** Ends with the beginning of an answer, so that a model goes on with one; default false. */
  addGenerationPrompt?: boolean;
  /** Ends inside the last message, so that a model goes on with it; default false. */
  continueFinalMessage?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  tools?: readonly unknown[];
  /** Texts that the model may quote from. */
  documents?: readonly unknown[];
  /** false gives the text instead of ids; default true. */
  tokenize?: boolean;
  /** Also gives 1 for each token that the assistant wrote, by the template's `{% generation %}`; default false. */
  returnAssistantTokensMask?: boolean;
  /** A Jinja template, or the name of one of the tokenizer's, in place of its own. */
  chatTemplate?: string;
  /** Other variables of the template, such as `{ enable_thinking: false }`. */
  chatTemplateKwargs?: Readonly<Record<string, unknown>>;
}

/**
 * Ids of a conversation with the assistant's part marked.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { ChatEncoding } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * tokenizer.chatTemplate = "{{ messages[0].content }}{% generation %}{{ messages[1].content }}{% endgeneration %}";
 * const chat = [{ role: "user", content: "Who?" }, { role: "assistant", content: " A pirate." }];
 * const encoding: ChatEncoding = tokenizer.applyChatTemplate(chat, { returnAssistantTokensMask: true });
 * console.log(tokenizer.decode(encoding.inputIds.filter((_, i) => encoding.assistantMasks[i] === 1))); // " A pirate."
 * ```
 */
export interface ChatEncoding {
  /** Token ids. */
  inputIds: number[];
  /** 1 for each token of which a character lies in what the assistant wrote, else 0. */
  assistantMasks: number[];
}

const OPTION_NAMES: readonly (keyof ChatOptions)[] = [
  "addGenerationPrompt",
  "continueFinalMessage",
  "tools",
  "documents",
  "tokenize",
  "returnAssistantTokensMask",
  "chatTemplate",
  "chatTemplateKwargs",
];

/** What a tokenizer knows of chats. */
export interface ChatSettings {
  /** Templates by name; "default" is the one that is used where no name is given. */
  readonly templates: Map<string, string>;
  /** tokenizer_config.json and the settings, which name special tokens. */
  readonly config: JsonObject;
  readonly settings: TokenizerSettings;
  /** Reads a template; null where Jinja was not loaded. */
  readonly read: (source: string) => ChatTemplate;
}

/** Texts of the special tokens by their names in templates: `bos_token`, `eos_token`, … */
function specialTokensOf(
  core: TokenizerCore,
  tokenizerConfig: JsonObject,
  settings: TokenizerSettings,
): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(tokenizerConfig)) {
    const content = /_token$/.test(name) ? contentOf(value) : undefined;
    if (content !== undefined) tokens[name] = content;
  }
  for (const name of ["bos", "eos", "pad"] as const) {
    const id = settings[`${name}TokenId`];
    const token = id === null ? undefined : core.tokenOf(id);
    if (token !== undefined) tokens[`${name}_token`] ??= token;
  }
  return tokens;
}

/** The template that is asked for; as `transformers`, "tool_use" where there are tools and such a template. */
function sourceOf({ templates }: ChatSettings, { chatTemplate, tools }: ChatOptions): string {
  if (chatTemplate !== undefined && chatTemplate !== null) return templates.get(chatTemplate) ?? chatTemplate;
  const source = (tools !== undefined ? templates.get("tool_use") : undefined) ?? templates.get("default");
  if (source !== undefined) return source;
  throw new ChatTemplateError(
    templates.size === 0
      ? "Cannot apply a chat template: the tokenizer has none; pass { chatTemplate } or set tokenizer.chatTemplate"
      : `Cannot apply a chat template: the tokenizer has several, name one of ${
        [...templates.keys()].map((name) => `"${name}"`).join(", ")
      } with { chatTemplate }`,
  );
}

/** Cuts the text behind the last message's own, as `transformers` does for `continue_final_message`. */
function cutAfterFinal(rendered: RenderedChat, messages: readonly ChatMessage[]): RenderedChat {
  const content = messages.at(-1)?.content;
  const wanted = typeof content === "string" ? content.trim() : "";
  const at = wanted === "" ? -1 : rendered.text.lastIndexOf(wanted);
  if (at < 0) {
    throw new ChatTemplateError(
      "Cannot continue the final message: the text of the last message must be in the rendered conversation",
    );
  }
  const end = at + wanted.length;
  const spans = rendered.assistantSpans.map(([start, stop]) => [start, Math.min(stop, end)] as const);
  return { text: rendered.text.slice(0, end), assistantSpans: spans.filter(([start, stop]) => start < stop) };
}

/**
 * For each token whether a character of it lies in one of the spans.
 * @throws {ChatTemplateError} where the tokens are not the text's characters one after another
 */
export function assistantMask(
  core: TokenizerCore,
  ids: readonly number[],
  { text, assistantSpans }: RenderedChat,
): number[] {
  const encoder = new TextEncoder();
  const bytesBefore = (characters: number) => encoder.encode(text.slice(0, characters)).length;
  const spans = assistantSpans.map(([start, end]) => [bytesBefore(start), bytesBefore(end)] as const);
  const lengths = ids.map((id) => core.tokenBytes(id));
  const total = encoder.encode(text).length;
  const sum = lengths.reduce((all, length) => all + length, 0);
  // SentencePiece may put a space before the text
  const extra = sum - total;
  if (extra !== 0 && extra !== 1) {
    throw new ChatTemplateError(
      `Cannot mark the assistant's tokens: the tokens must have the text's ${total} bytes, received ${sum}`,
    );
  }
  let at = -extra;
  return lengths.map((length) => {
    const [start, end] = [at, at += length];
    return spans.some(([from, to]) => start < to && end > from) ? 1 : 0;
  });
}

/** What `applyChatTemplate` gives: text, ids, or ids with the assistant's marked. */
export function applyChatTemplate(
  core: TokenizerCore,
  settings: ChatSettings,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): string | number[] | ChatEncoding {
  checkOptions("apply the chat template", options, OPTION_NAMES);
  const { addGenerationPrompt = false, continueFinalMessage = false, tokenize = true } = options;
  if (addGenerationPrompt && continueFinalMessage) {
    throw new TypeError(
      "Cannot apply the chat template: addGenerationPrompt or continueFinalMessage may be true, received both",
    );
  }
  const template = settings.read(sourceOf(settings, options));
  const { tools, documents, chatTemplateKwargs } = options;
  const render: RenderOptions = { addGenerationPrompt, tools, documents, variables: chatTemplateKwargs };
  let rendered = template.render(messages, specialTokensOf(core, settings.config, settings.settings), render);
  if (continueFinalMessage) rendered = cutAfterFinal(rendered, messages);
  if (!tokenize) return rendered.text;
  const ids = core.encode(rendered.text, false); // templates write special tokens themselves
  if (!options.returnAssistantTokensMask) return ids;
  if (!template.marksAssistant) {
    throw new ChatTemplateError(
      "Cannot mark the assistant's tokens: the chat template must have {% generation %} and {% endgeneration %} around them",
    );
  }
  return { inputIds: ids, assistantMasks: assistantMask(core, ids, rendered) };
}

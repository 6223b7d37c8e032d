/**
 * Conversations as text, by the Jinja template of a model, and which characters of it the assistant wrote.
 * Jinja is the npm package `@huggingface/jinja`, reached on first use.
 *
 * @module
 */
import type { Template as JinjaTemplate } from "@huggingface/jinja";
import { missingPackage } from "./json.ts";

/**
 * One turn of a conversation; templates may read other fields too (`tool_calls`, `name`, …).
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type ChatMessage } from "@peft/webgpu";
 *
 * const messages: ChatMessage[] = [
 *   { role: "user", content: "Who are you?" },
 *   { role: "assistant", content: "A pirate." },
 * ];
 * const tokenizer = await AutoTokenizer.fromPretrained("HuggingFaceTB/SmolLM2-135M-Instruct");
 * console.log(tokenizer.applyChatTemplate(messages, { tokenize: false }));
 * ```
 */
export interface ChatMessage {
  /** "system", "user", "assistant" or "tool", as far as the template knows them. */
  readonly role: string;
  /** What was said: text, or parts as the template takes them. */
  readonly content?: unknown;
  /** Other fields. */
  readonly [field: string]: unknown;
}

/** What a template is rendered with. */
export interface RenderOptions {
  /** Ends with the beginning of an answer, so that a model goes on with one; default false. */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Texts that the model may quote from. */
  readonly documents?: readonly unknown[];
  /** Other variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Text, and the ranges [start, end) of characters between `{% generation %}` and `{% endgeneration %}`. */
export interface RenderedChat {
  readonly text: string;
  readonly assistantSpans: readonly (readonly [start: number, end: number])[];
}

/**
 * Thrown when a template cannot be read, or refuses a conversation.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, ChatTemplateError } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * tokenizer.chatTemplate = "{{ raise_exception('no') }}";
 * try {
 *   tokenizer.applyChatTemplate([{ role: "user", content: "Hi" }]);
 * } catch (error) {
 *   console.log(error instanceof ChatTemplateError, (error as Error).message);
 * }
 * ```
 */
export class ChatTemplateError extends Error {
  /** "ChatTemplateError". */
  override name = "ChatTemplateError";
}

/** Longest template that is taken from a file. */
const MAX_TEMPLATE_CHARACTERS = 1_000_000;

/** Private-use characters that stand for the tags while a template is rendered. */
const [OPEN, CLOSE] = ["\ue000", "\ue001"];

/**
 * Replaces the tags that mark an assistant's text by prints of private-use characters, because the package drops them. Blanks
 * around them are dropped as Jinja with `trim_blocks` and `lstrip_blocks` does for a tag.
 */
function markGeneration(template: string): string {
  const tag = /(^|\n)?([ \t]*)\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}(\n?)/g;
  return template.replace(tag, (_whole, lineStart, blanks, left, end, right, newline) => {
    const atLineStart = lineStart !== undefined;
    const kept = atLineStart && left === "" ? "" : blanks; // lstrip_blocks
    const print = `{{${left === "-" ? "-" : ""} "${end === undefined ? OPEN : CLOSE}" ${
      right === "-" ? "-" : ""
    }}}`;
    return `${lineStart ?? ""}${kept}${print}${right === "" ? "" : newline}`; // trim_blocks
  });
}

/** Takes the marks out of a text. */
function findSpans(marked: string): RenderedChat {
  const spans: [number, number][] = [];
  let text = "";
  let start = -1;
  for (const piece of marked.split(/([\ue000\ue001])/)) {
    if (piece === OPEN) start = text.length;
    else if (piece === CLOSE) {
      if (start >= 0) spans.push([start, text.length]);
      start = -1;
    } else text += piece;
  }
  return { text, assistantSpans: spans };
}

/** A value as templates see it: entries that are null or undefined are absent, as `transformers` leaves them out. */
function withoutNull(message: ChatMessage): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
  );
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const fail = (received: string): never => {
    throw new TypeError(
      `Cannot apply the chat template: messages must be a list of objects with a role, received ${received}`,
    );
  };
  if (!Array.isArray(messages)) fail(messages === null ? "null" : typeof messages);
  messages.forEach((message, i) => {
    if (typeof message !== "object" || message === null || typeof message.role !== "string") {
      fail(`${JSON.stringify(message)?.slice(0, 100)} as message ${i}`);
    }
  });
}

/** A template that is ready to render. */
export class ChatTemplate {
  readonly #template: JinjaTemplate;
  readonly #marked: JinjaTemplate;
  /** Whether it marks what the assistant wrote. */
  readonly marksAssistant: boolean;

  private constructor(template: JinjaTemplate, marked: JinjaTemplate, marksAssistant: boolean) {
    this.#template = template;
    this.#marked = marked;
    this.marksAssistant = marksAssistant;
  }

  /** Reads templates, once Jinja is loaded: what `loadJinja` gives. */
  static reader(Template: typeof JinjaTemplate): (source: string) => ChatTemplate {
    return (source) => {
      if (typeof source !== "string") {
        throw new ChatTemplateError(
          `Cannot read the chat template: a text is required, received ${
            source === null ? "null" : typeof source
          }`,
        );
      }
      if (source.length > MAX_TEMPLATE_CHARACTERS) {
        throw new ChatTemplateError(
          `Cannot read the chat template: at most ${MAX_TEMPLATE_CHARACTERS} characters are allowed, received ${source.length}`,
        );
      }
      const text = source.replaceAll("\r\n", "\n");
      const marked = markGeneration(text);
      try {
        return new ChatTemplate(new Template(text), new Template(marked), marked !== text);
      } catch (cause) {
        throw new ChatTemplateError(
          `Cannot read the chat template: a valid Jinja template is required, received one with: ${
            messageOf(cause)
          }`,
          { cause },
        );
      }
    };
  }

  /**
   * The text of a conversation.
   * @param special special tokens by the template's names, such as `bos_token`
   * @throws {ChatTemplateError} when the template fails or refuses the conversation
   * @throws {TypeError} for messages that are no list of objects with a role
   */
  render(
    messages: readonly ChatMessage[],
    special: Readonly<Record<string, string>>,
    options: RenderOptions = {},
  ): RenderedChat {
    checkMessages(messages);
    const { addGenerationPrompt = false, tools, documents, variables = {} } = options;
    const context = {
      ...special,
      messages: messages.map(withoutNull),
      add_generation_prompt: addGenerationPrompt,
      ...(tools === undefined ? {} : { tools }),
      ...(documents === undefined ? {} : { documents }),
      ...variables,
    };
    try {
      if (!this.marksAssistant) return { text: this.#template.render(context), assistantSpans: [] };
      return findSpans(this.#marked.render(context));
    } catch (cause) {
      // what a template's raise_exception says, or a defect of the template
      throw new ChatTemplateError(`Cannot apply the chat template: ${messageOf(cause)}`, { cause });
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Loads Jinja; what it gives reads templates. @throws {Error} where the package is missing */
export async function loadJinja(): Promise<(source: string) => ChatTemplate> {
  const { Template } = await import("@huggingface/jinja").catch((cause) => {
    throw missingPackage("@huggingface/jinja", "peft_webgpu_jinja.js", cause);
  });
  return ChatTemplate.reader(Template);
}

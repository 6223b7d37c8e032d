/**
 * Answers and continued texts, streamed.
 * @module
 */

import { type CausalLM, type PeftModel, TextStreamer, type Tokenizer } from "@peft/webgpu";
import type { ChatOptions, ChatResult } from "../protocol.ts";
import { Refusal } from "./errors.ts";
import type { Form } from "./open_data.ts";
import { type OpenModel, PLAIN_TEMPLATE } from "./open_model.ts";

/** Tokens of an answer where nobody says how many. */
const USUAL_TOKENS = 256;
/** Part of the context that is kept for the answer of a long conversation. */
const ANSWER_PART = 4;
const USUAL_TEMPERATURE = 0.7;

type Messages = ChatOptions["messages"];

/** Tokens that end an answer. */
function endTokens({ base, tokenizer }: OpenModel): number[] {
  const { eosTokenId } = tokenizer;
  return [...new Set([...base.facts.eosTokenIds, ...eosTokenId === null ? [] : [eosTokenId]])];
}

/** Token ids of a conversation, or of texts that are continued. */
function encode(messages: Messages, form: Form, tokenizer: Tokenizer, hasTemplate: boolean): number[] {
  if (form === "text") return tokenizer.encode(messages.map(({ content }) => content).join(""));
  return tokenizer.applyChatTemplate([...messages], {
    addGenerationPrompt: true,
    ...!hasTemplate && { chatTemplate: PLAIN_TEMPLATE },
  });
}

/** The last messages that leave room for an answer, and their ids; the system message stays. */
function fit(messages: Messages, model: OpenModel, form: Form, wanted: number) {
  const { contextLength, hasChatTemplate } = model.facts;
  const system = messages[0]?.role === "system" ? messages.slice(0, 1) : [];
  for (let rest = messages.slice(system.length);; rest = rest.slice(form === "chat" ? 2 : 1)) {
    const ids = encode([...system, ...rest], form, model.tokenizer, hasChatTemplate);
    const room = rest.length > 1 ? Math.min(wanted, Math.floor(contextLength / ANSWER_PART)) : 1;
    if (ids.length > 0 && ids.length + room <= contextLength) {
      return { ids, forgotten: messages.length - system.length - rest.length };
    }
    if (rest.length > 1) continue;
    throw new Refusal(
      "bad-settings",
      ids.length === 0 ? "There is nothing to answer." : "This message is too long for the model.",
      ids.length === 0 ? "Type a message." : `Shorten it: the model reads ${contextLength} tokens at a time.`,
      `${ids.length} tokens`,
    );
  }
}

/** Who answers, and how it is spoken to. */
export interface Answerer {
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly form: Form;
}

/** Answers, and gives each piece of text as soon as no later token can change it. */
export async function answer(
  { model: speaker, form }: Answerer,
  options: ChatOptions,
  model: OpenModel,
  onPiece: (text: string, tokens: number) => void,
  signal: AbortSignal,
): Promise<ChatResult> {
  const { generationConfig: own } = model.base;
  const maxNewTokens = Math.max(1, Math.floor(options.maxNewTokens ?? USUAL_TOKENS));
  const { ids, forgotten } = fit(options.messages, model, form, maxNewTokens);
  const temperature = options.temperature ?? own.temperature ?? USUAL_TEMPERATURE;
  const doSample = temperature > 0;
  const [topK, topP] = [options.topK ?? own.topK, options.topP ?? own.topP];
  let text = "";
  let tokens = 0;
  const streamer = new TextStreamer(model.tokenizer, {
    skipPrompt: true,
    skipSpecialTokens: true,
    onFinalizedText: (piece) => {
      text += piece;
      if (piece !== "") onPiece(piece, tokens);
    },
  });
  const ends = endTokens(model);
  const begin = performance.now();
  const result = (end: ChatResult["end"]): ChatResult => ({
    ...{ text, promptTokens: ids.length, tokens, end, forgottenMessages: forgotten },
    tokensPerSecond: 1000 * tokens / Math.max(1, performance.now() - begin),
  });
  try {
    const [row] = await speaker.generate([ids], {
      maxNewTokens: Math.min(maxNewTokens, model.facts.contextLength - ids.length),
      doSample,
      ...doSample && { temperature, topK: topK ?? 0, topP: topP ?? 1 },
      ...doSample && { seed: options.seed ?? Math.floor(Math.random() * 2 ** 31) },
      repetitionPenalty: options.repetitionPenalty ?? own.repetitionPenalty,
      eosTokenId: ends,
      streamer: {
        begin: (prompts) => streamer.begin(prompts),
        put: (next) => {
          tokens++;
          return streamer.put(next);
        },
        end: () => streamer.end(),
      },
      signal,
    });
    return result(ends.includes(row.at(-1)!) ? "stop" : "length");
  } catch (error) {
    if (signal.aborted && error === signal.reason) return result("cancelled");
    throw error;
  }
}

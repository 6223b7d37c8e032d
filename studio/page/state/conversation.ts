/**
 * A conversation with one or several speakers, whose answers come piece by piece.
 * @module
 */
import { computed, type Signal, signal } from "@preact/signals";
import type { ChatOptions, ChatResult, Speaker, StudioError } from "../../protocol.ts";
import { call, haltWith, readError } from "../engine.ts";
import { announce } from "./announcement.ts";
import { model } from "./model.ts";

/** Someone to ask. */
export interface Voice {
  readonly speaker: Speaker;
  readonly name: string;
  /** Whether it continues texts or answers. */
  readonly form: "text" | "chat";
}

/** How an adapter of this form, or the base beside it, is spoken to: a model with a template always chats. */
export const spokenForm = (form: Voice["form"]): Voice["form"] =>
  model.value?.hasChatTemplate ? "chat" : form;

/** What one of them says. */
export interface Answer {
  readonly voice: Voice;
  readonly state: Signal<"waiting" | "writing" | "done" | "failed">;
  readonly text: Signal<string>;
  readonly facts: Signal<ChatResult | null>;
  readonly error: Signal<StudioError | null>;
}

/** A question and its answers. */
export interface Turn {
  readonly question: string;
  readonly answers: readonly Answer[];
}

/** How answers are chosen. */
export type Sampling = Pick<ChatOptions, "temperature" | "maxNewTokens">;

/** Tokens of an answer, unless the reader asks for more. */
export const USUAL_TOKENS = 128;

/** Stories vary; of answers the likeliest is compared. */
export const usualTemperature = (form: Voice["form"]): number => form === "text" ? 0.7 : 0;

/** A conversation. */
export class Conversation {
  readonly turns = signal<readonly Turn[]>([]);
  readonly isBusy = signal(false);
  readonly isEmpty = computed(() => this.turns.value.length === 0);
  /** How answers are chosen. */
  readonly sampling = signal<Sampling>({});
  #controller = new AbortController();

  /** Everything that was said to and by the voice in this place, then the question. */
  #messages(question: string, { form }: Voice, place: number): ChatOptions["messages"] {
    const ask = { role: "user", content: question } as const;
    if (form === "text") return [ask]; // it continues a text, which is no conversation
    const earlier = this.turns.value.flatMap(({ question, answers }) => {
      const text = answers[Math.min(place, answers.length - 1)].text.value;
      if (text === "") return [];
      return [{ role: "user", content: question }, { role: "assistant", content: text }] as const;
    });
    return [...earlier, ask];
  }

  /** Asks every voice; they answer one after another. */
  async ask(question: string, voices: readonly Voice[]): Promise<void> {
    this.#controller = new AbortController();
    const messages = voices.map((voice, place) => this.#messages(question, voice, place));
    const answers = voices.map((voice): Answer => ({
      voice,
      state: signal("waiting"),
      text: signal(""),
      facts: signal(null),
      error: signal(null),
    }));
    this.turns.value = [...this.turns.value, { question, answers }];
    this.isBusy.value = true;
    try {
      for (const [place, answer] of answers.entries()) await this.#answer(answer, messages[place]);
      announce(answers.map(({ voice, text }) => `${voice.name}: ${text.value}`).join(" "));
    } finally {
      this.isBusy.value = false;
    }
  }

  async #answer(answer: Answer, messages: ChatOptions["messages"]): Promise<void> {
    const { signal } = this.#controller;
    if (signal.aborted) return void (answer.state.value = "done");
    try {
      const { speaker, form } = answer.voice;
      const options = {
        ...{ speaker, form, messages, maxNewTokens: USUAL_TOKENS, temperature: usualTemperature(form) },
        ...this.sampling.value,
      };
      const facts = await call("chat", options, {
        signal,
        onEvent: (event) => {
          if (event.event !== "piece") return;
          answer.state.value = "writing";
          answer.text.value += event.text;
        },
      });
      answer.text.value = facts.text;
      answer.facts.value = facts;
      answer.state.value = "done";
    } catch (error) {
      const read = readError(error);
      answer.state.value = read.kind === "cancelled" ? "done" : "failed";
      if (read.kind !== "cancelled" && !haltWith(read)) answer.error.value = read;
    }
  }

  /** Ends the answer that is being written, and those that wait. */
  stop(): void {
    this.#controller.abort();
  }

  /** Forgets what was said. */
  clear(): void {
    this.stop();
    this.turns.value = [];
  }
}

/** Base and adapter, side by side. */
export const comparison = new Conversation();
/** The chat of the shelf, with another speaker for each message. */
export const talk = new Conversation();

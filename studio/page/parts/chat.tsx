/**
 * A conversation on the page: turns, and the line to write in.
 * @module
 */
import type { ComponentChildren, JSX, RefObject } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import {
  type Answer,
  type Conversation,
  type Turn,
  USUAL_TOKENS,
  usualTemperature,
  type Voice,
} from "../state/conversation.ts";
import { model } from "../state/model.ts";
import { NumberField } from "./field.tsx";
import { Failure } from "./failure.tsx";
import { More } from "./words.tsx";

function Said({ answer, question }: { answer: Answer; question: string }): JSX.Element {
  const { voice, state, text, facts, error } = answer;
  const continues = voice.form === "text";
  const found = facts.value;
  return (
    <article class={voice.speaker.kind === "base" ? "said base" : "said"} aria-label={voice.name}>
      <p class="voice">
        {voice.name}
        {state.value === "writing" && <span class="cursor" aria-hidden="true" />}
      </p>
      {error.value ? <Failure error={error.value} /> : (
        <p class="words">
          {continues && <span class="quiet">{question}</span>}
          {text.value}
          {state.value === "waiting" && <span class="quiet">{continues ? " …" : "waits for its turn…"}</span>}
          {state.value === "done" && text.value === "" && <span class="quiet">(says nothing)</span>}
        </p>
      )}
      {found && (
        <small class="quiet number">
          {`${found.tokens} tokens, ${Math.round(found.tokensPerSecond)} per second${
            found.end === "length" ? ", cut off at the limit" : ""
          }${found.forgottenMessages > 0 ? `, without the ${found.forgottenMessages} oldest messages` : ""}`}
        </small>
      )}
    </article>
  );
}

function One({ turn }: { turn: Turn }): JSX.Element {
  return (
    <li>
      <p class="question">
        <span class="hidden">You:</span>
        {turn.question}
      </p>
      <div class={turn.answers.length > 1 ? "answers side" : "answers"}>
        {turn.answers.map((answer, place) => <Said key={place} answer={answer} question={turn.question} />)}
      </div>
    </li>
  );
}

/** How answers are chosen. */
function SamplingFields(
  { conversation, form }: { conversation: Conversation; form: Voice["form"] },
): JSX.Element {
  const { sampling } = conversation;
  const { temperature, maxNewTokens } = sampling.value;
  return (
    <More label="More: how it answers">
      <div class="fields">
        <NumberField
          label="Randomness (temperature)"
          help="0: always the likeliest word; 1: as random as the model itself"
          min={0}
          max={2}
          value={temperature ?? usualTemperature(form)}
          onChange={(value) => sampling.value = { ...sampling.value, temperature: value }}
        />
        <NumberField
          label="Longest answer, in tokens"
          isInteger
          min={1}
          max={model.value!.contextLength}
          value={maxNewTokens ?? USUAL_TOKENS}
          onChange={(value) => sampling.value = { ...sampling.value, maxNewTokens: value }}
        />
      </div>
    </More>
  );
}

/** How near to its end a list counts as read to the end, in CSS pixels. */
const NEAR = 40;

/** A list that shows its newest line while it grows, unless the reader scrolled back. @param count turns: a new one is shown */
function useNewest(count: number): RefObject<HTMLDivElement | null> {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = list.current;
    if (!element) return;
    let isAtEnd = true;
    const follow = () => {
      if (isAtEnd) element.scrollTop = element.scrollHeight;
    };
    const look = () =>
      void (isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR);
    const observer = new ResizeObserver(follow);
    observer.observe(element.firstElementChild!);
    element.addEventListener("scroll", look, { passive: true });
    element.scrollIntoView({ block: "nearest" });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [count]);
  return list;
}

/** The conversation. @param props `children`: stands above the line to write in, such as who answers */
export function Chat(props: {
  conversation: Conversation;
  /** Whether those who answer continue texts. */
  form: Voice["form"];
  onAsk: (question: string) => void;
  suggestions: readonly string[];
  children?: ComponentChildren;
}): JSX.Element {
  const { conversation, onAsk, suggestions } = props;
  const [text, setText] = useState("");
  const id = useId();
  const continues = props.form === "text";
  const count = conversation.turns.value.length;
  const turns = useNewest(count);
  const ask = (question: string) => {
    if (question.trim() === "" || conversation.isBusy.value) return;
    setText("");
    onAsk(question.trim());
  };
  return (
    <section class="chat" aria-label="Conversation">
      {count > 0 && (
        <div ref={turns} class="turns" tabIndex={0} role="group" aria-label="What was said">
          <ol>
            {conversation.turns.value.map((turn, place) => <One key={place} turn={turn} />)}
          </ol>
        </div>
      )}
      <div class="chat-foot">
        {props.children}
        {suggestions.length > 0 && (
          <div class="row" role="group" aria-label="Suggestions">
            {suggestions.map((one) => (
              <button
                key={one}
                type="button"
                class="chip"
                disabled={conversation.isBusy.value}
                onClick={() => ask(one)}
              >
                {one}
              </button>
            ))}
          </div>
        )}
        <form
          class="ask"
          onSubmit={(event) => {
            event.preventDefault();
            ask(text);
          }}
        >
          <label for={id} class="hidden">{continues ? "The beginning of a text" : "Your question"}</label>
          <input
            id={id}
            type="text"
            autocomplete="off"
            value={text}
            placeholder={continues ? "Begin a text for it to continue…" : "Ask something…"}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          {conversation.isBusy.value
            ? <button type="button" class="calm" onClick={() => conversation.stop()}>Stop</button>
            : (
              <button type="submit" class="main" disabled={text.trim() === ""}>
                {continues ? "Go on" : "Ask"}
              </button>
            )}
        </form>
        <div class="row between">
          <SamplingFields conversation={conversation} form={props.form} />
          {count > 0 && (
            <button type="button" class="plain" onClick={() => conversation.clear()}>Clear</button>
          )}
        </div>
      </div>
    </section>
  );
}

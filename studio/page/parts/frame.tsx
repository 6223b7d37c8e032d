/**
 * Where a step ends, and what it says while it has nothing to show yet.
 * @module
 */
import type { JSX } from "preact";
import { model } from "../state/model.ts";
import { go, step, type StepId, STEPS, titleOf } from "../state/road.ts";
import { Opening } from "./words.tsx";

/** The way on, and the way back. @param props `why`: what has to be done first; the way on is closed then */
export function WayOn(
  props: { label: string; to: StepId; why?: string | null; isQuiet?: boolean },
): JSX.Element {
  const place = STEPS.findIndex(({ id }) => id === step.value);
  const back = place > 0 ? STEPS[place - 1].id : null;
  return (
    <nav class="way-on" aria-label="Before and after this step">
      {back && (
        <button type="button" class="plain" onClick={() => go(back)}>
          <span aria-hidden="true">←</span> {titleOf(back)}
        </button>
      )}
      <span class="why">{props.why}</span>
      {!props.why && (
        <button
          type="button"
          class={props.isQuiet ? "calm" : "main"}
          onClick={() => go(props.to)}
        >
          {props.label} <span aria-hidden="true">→</span>
        </button>
      )}
    </nav>
  );
}

/** In place of a step that needs another one first. */
export function Missing(props: { title: string; text: string; to: StepId; label: string }): JSX.Element {
  return (
    <>
      <Opening title={props.title}>{props.text}</Opening>
      <button type="button" class="main" onClick={() => go(props.to)}>{props.label}</button>
    </>
  );
}

/** In place of a step that needs a model and data first. */
export function MissingData(props: { title: string; text: string }): JSX.Element {
  return model.value
    ? <Missing {...props} to="data" label="Choose examples" />
    : <Missing {...props} to="model" label="Choose a model" />;
}

/**
 * What every step is made of: its opening, its end, and what it says while it has nothing to show yet.
 * @module
 */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { model } from "../state/model.ts";
import { go, step, type StepId, STEPS, titleOf } from "../state/road.ts";

let isFirst = true;

/**
 * A step's big words. Going to a step moves the focus here, so that a screen reader begins at its beginning; so do new words
 * where the button that was pressed is gone.
 */
export function Opening(props: { title: string; children?: ComponentChildren }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  const isArrival = useRef(true);
  useEffect(() => {
    const takesFocus = isArrival.current ? !isFirst : document.activeElement === document.body;
    if (takesFocus) heading.current?.focus({ preventScroll: true });
    if (isArrival.current && !isFirst) scrollTo({ top: 0 });
    isFirst = isArrival.current = false;
  }, [props.title]);
  return (
    <header class="opening">
      <h1 ref={heading} tabIndex={-1}>{props.title}</h1>
      {props.children && <p class="lead">{props.children}</p>}
    </header>
  );
}

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

/** A figure with its name. */
export function Fact(props: { name: string; children: ComponentChildren; note?: string }): JSX.Element {
  return (
    <div class="fact">
      <dt>{props.name}</dt>
      <dd>
        <span class="number">{props.children}</span>
        {props.note && <small>{props.note}</small>}
      </dd>
    </div>
  );
}

/** What few need, folded. */
export function More(props: { label: string; children: ComponentChildren; isOpen?: boolean }): JSX.Element {
  return (
    <details class="more" open={props.isOpen}>
      <summary>{props.label}</summary>
      <div class="more-body">{props.children}</div>
    </details>
  );
}

/**
 * The road along the top: every step, what is done, and where the reader is.
 * @module
 */
import type { JSX } from "preact";
import { go, step, STEPS, stepStates, titleOf } from "./state/road.ts";

/** What a screen reader says of a step. */
function spoken(isDone: boolean, isRunning: boolean, line: string): string {
  const state = isRunning ? "running" : isDone ? "done" : "";
  return [state, line].filter(Boolean).map((word) => `, ${word}`).join("");
}

/** The road. */
export function Road(): JSX.Element {
  const states = stepStates.value;
  const here = STEPS.findIndex(({ id }) => id === step.value);
  return (
    <nav class="road" aria-label="Steps">
      <ol>
        {STEPS.map(({ id, title }, place) => {
          const { isDone, isRunning, line } = states[id];
          const kind = [place === here && "here", isDone && "done", isRunning && "running"].filter(Boolean)
            .join(" ");
          return (
            <li key={id} class={kind}>
              <a
                href={`#${id}`}
                aria-current={place === here ? "step" : undefined}
                onClick={(event) => {
                  event.preventDefault();
                  go(id);
                }}
              >
                <span class="dot" aria-hidden="true">{isDone ? "✓" : place + 1}</span>
                <span class="name">{title}</span>
                <span class="hidden">{spoken(isDone, isRunning, line)}</span>
                <span class="line" aria-hidden="true">{line}</span>
              </a>
            </li>
          );
        })}
      </ol>
      <p class="place" aria-hidden="true">
        <b>{titleOf(step.value)}</b> <span class="quiet">{here + 1} of {STEPS.length}</span>
        <span class="quiet line">{states[step.value].line}</span>
      </p>
    </nav>
  );
}

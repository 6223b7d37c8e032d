/**
 * One of several, as a row of big words.
 * @module
 */
import type { JSX } from "preact";

/** A choice. */
export interface Choice<Id extends string> {
  readonly id: Id;
  readonly title: string;
  readonly note?: string;
}

/** Radio buttons that look like a row of words. */
export function Choices<Id extends string>(props: {
  /** What is chosen, for screen readers. */
  label: string;
  choices: readonly Choice<Id>[];
  value: Id | null;
  onChoose: (id: Id) => void;
  isDisabled?: boolean;
}): JSX.Element {
  const { label, choices, value, onChoose, isDisabled } = props;
  return (
    <fieldset class={choices.some(({ note }) => note) ? "choices" : "choices compact"} disabled={isDisabled}>
      <legend class="hidden">{label}</legend>
      {choices.map(({ id, title, note }) => (
        <label key={id} class={id === value ? "choice chosen" : "choice"}>
          <input
            type="radio"
            name={label}
            value={id}
            checked={id === value}
            onChange={() => onChoose(id)}
          />
          <span class="choice-title">{title}</span>
          {note && <small>{note}</small>}
        </label>
      ))}
    </fieldset>
  );
}

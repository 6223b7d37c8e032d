/**
 * Fields of settings: a name, an entry, one line of help.
 * @module
 */
import type { ComponentChildren, JSX } from "preact";
import { useId, useState } from "preact/hooks";

interface Common {
  readonly label: string;
  readonly help?: string;
}

function Field(
  props: Common & { id: string; children: ComponentChildren; problem?: string | null },
): JSX.Element {
  return (
    <div class="field">
      <label for={props.id}>{props.label}</label>
      {props.children}
      <small id={`${props.id}-help`} class={props.problem ? "problem" : undefined}>
        {props.problem ?? props.help}
      </small>
    </div>
  );
}

/** What was typed, as long as it is not taken. */
interface Draft {
  readonly text: string;
  /** What was wrong with it when the reader last left the field. */
  readonly problem: string | null;
  /** The value that the field had then; null while it is being typed. */
  readonly left: string | null;
}

/**
 * The text of a field that is taken when the reader leaves it. What is typed stays meanwhile, whatever else on the page
 * changes; what was left with a problem stays until it is corrected or the value changes.
 * @param take gives what is wrong with a text, which is taken if nothing is
 */
function useDraft(value: string, take: (text: string) => string | null) {
  const [last, setDraft] = useState<Draft | null>(null);
  const draft = last !== null && (last.left ?? value) === value ? last : null;
  if (draft !== last) setDraft(null); // else it would come back with the old value
  type Entry = { readonly currentTarget: { readonly value: string } };
  const entry = {
    value: draft?.text ?? value,
    onInput: ({ currentTarget: { value: text } }: Entry) =>
      setDraft({ text, problem: draft?.problem ?? null, left: null }),
    onChange: ({ currentTarget: { value: text } }: Entry) => {
      const problem = take(text);
      setDraft(problem === null ? null : { text, problem, left: value });
    },
    // a browser tells no change where the text is again what it was
    onBlur: () =>
      setDraft((now) => now?.left !== null ? now : now.problem === null ? null : { ...now, left: value }),
  };
  return { entry, problem: draft?.problem ?? null };
}

/** A number; what is no number, or out of bounds, is said and not taken. */
export function NumberField(
  props: Common & {
    value: number;
    min?: number;
    max?: number;
    isInteger?: boolean;
    onChange: (value: number) => void;
  },
): JSX.Element {
  const { min, max, isInteger } = props;
  const id = useId();
  const take = (text: string) => {
    const value = Number(text);
    const bounds = min !== undefined && max !== undefined
      ? `from ${min} to ${max}`
      : min !== undefined
      ? `${min} or more`
      : "";
    const isRight = text.trim() !== "" && Number.isFinite(value) && (!isInteger || Number.isInteger(value)) &&
      value >= (min ?? -Infinity) && value <= (max ?? Infinity);
    if (!isRight) return `A ${isInteger ? "whole number" : "number"} ${bounds}`.trim();
    props.onChange(value);
    return null;
  };
  const { entry, problem } = useDraft(String(props.value), take);
  return (
    <Field {...props} id={id} problem={problem}>
      <input
        id={id}
        type="text"
        inputMode={isInteger ? "numeric" : "decimal"}
        autocomplete="off"
        {...entry}
        aria-describedby={`${id}-help`}
        aria-invalid={problem !== null}
      />
    </Field>
  );
}

/** A line of text. */
export function TextField(
  props: Common & {
    value: string;
    placeholder?: string;
    isSecret?: boolean;
    onInput: (value: string) => void;
  },
): JSX.Element {
  const id = useId();
  const attributes = {
    id,
    autocomplete: "off",
    spellcheck: false,
    value: props.value,
    placeholder: props.placeholder,
    "aria-describedby": `${id}-help`,
    onInput: (event: { currentTarget: HTMLInputElement }) => props.onInput(event.currentTarget.value),
  };
  return (
    <Field {...props} id={id}>
      {props.isSecret ? <input {...attributes} type="password" /> : <input {...attributes} type="text" />}
    </Field>
  );
}

/** Several texts, one per line; they are taken when the reader leaves the field. */
export function LinesField(
  props: Common & { value: readonly string[]; onChange: (lines: readonly string[]) => void },
): JSX.Element {
  const id = useId();
  const { entry } = useDraft(props.value.join("\n"), (text) => {
    props.onChange(text.split("\n").map((line) => line.trim()).filter(Boolean));
    return null;
  });
  return (
    <Field {...props} id={id}>
      <textarea id={id} rows={3} {...entry} aria-describedby={`${id}-help`} />
    </Field>
  );
}

/** One of a few. */
export function SelectField<Id extends string>(
  props: Common & {
    value: Id;
    choices: readonly (readonly [id: Id, title: string])[];
    onChange: (value: Id) => void;
  },
): JSX.Element {
  const id = useId();
  return (
    <Field {...props} id={id}>
      <select
        id={id}
        value={props.value}
        aria-describedby={`${id}-help`}
        onChange={(event) => props.onChange(event.currentTarget.value as Id)}
      >
        {props.choices.map(([id, title]) => <option key={id} value={id}>{title}</option>)}
      </select>
    </Field>
  );
}

/** On or off. */
export function SwitchField(
  props: Common & { value: boolean; onChange: (value: boolean) => void },
): JSX.Element {
  const id = useId();
  return (
    <div class="field switch">
      <input
        id={id}
        type="checkbox"
        checked={props.value}
        aria-describedby={`${id}-help`}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
      <label for={id}>{props.label}</label>
      <small id={`${id}-help`}>{props.help}</small>
    </div>
  );
}

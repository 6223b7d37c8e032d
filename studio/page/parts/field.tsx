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

/**
 * The text of a field that is taken when the reader leaves it. What is typed stays meanwhile, whatever else on the page
 * changes.
 * @param take gives whether it is taken; else it stays, to be corrected
 */
function useDraft(taken: string, take: (text: string) => boolean) {
  const [draft, setDraft] = useState<string | null>(null);
  type Entry = { readonly currentTarget: { readonly value: string } };
  return {
    value: draft ?? taken,
    onInput: ({ currentTarget }: Entry) => setDraft(currentTarget.value),
    onChange: ({ currentTarget }: Entry) => setDraft(take(currentTarget.value) ? null : currentTarget.value),
  };
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
  const [problem, setProblem] = useState<string | null>(null);
  const take = (text: string) => {
    const value = Number(text);
    const bounds = min !== undefined && max !== undefined
      ? `from ${min} to ${max}`
      : min !== undefined
      ? `${min} or more`
      : "";
    const isRight = text.trim() !== "" && Number.isFinite(value) && (!isInteger || Number.isInteger(value)) &&
      value >= (min ?? -Infinity) && value <= (max ?? Infinity);
    setProblem(isRight ? null : `A ${isInteger ? "whole number" : "number"} ${bounds}`.trim());
    if (isRight) props.onChange(value);
    return isRight;
  };
  const entry = useDraft(String(props.value), take);
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
  const entry = useDraft(props.value.join("\n"), (text) => {
    props.onChange(text.split("\n").map((line) => line.trim()).filter(Boolean));
    return true;
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

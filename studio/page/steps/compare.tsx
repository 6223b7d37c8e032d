/**
 * Fifth step: the model before and after, side by side.
 * @module
 */
import type { JSX } from "preact";
import { computed, signal } from "@preact/signals";
import { Chat } from "../parts/chat.tsx";
import { SelectField } from "../parts/field.tsx";
import { Missing, WayOn } from "../parts/frame.tsx";
import { Opening } from "../parts/words.tsx";
import { comparison, spokenForm, type Voice } from "../state/conversation.ts";
import { data } from "../state/data.ts";
import { model } from "../state/model.ts";
import { usable } from "../state/shelf.ts";
import { isBusy, pick, status } from "../state/training.ts";
import { suggestions } from "./suggestions.ts";

const chosen = signal<string | null>(null);

/** The adapter on the right. */
const adapter = computed(() => pick(usable.value, chosen.value));

/** Who stands on the right: the adapter in training while that is paused, else one of the shelf; null where there is none. */
function rightVoice(): Voice | null {
  if (status.value === "paused") {
    return { speaker: { kind: "training" }, name: "So far", form: spokenForm(data.value?.form ?? "text") };
  }
  const right = adapter.value;
  if (!right) return null;
  const { adapterId, name, form } = right;
  return { speaker: { kind: "adapter", adapterId }, name: `After: ${name}`, form: spokenForm(form) };
}

/** The step. */
export function CompareStep(): JSX.Element {
  const right = rightVoice();
  if (!model.value) {
    return (
      <Missing title="Before and after" text="First choose a model." to="model" label="Choose a model" />
    );
  }
  if (isBusy.value) {
    return (
      <Missing
        title="Before and after"
        text="The model is in training. Pause that to compare."
        to="train"
        label="To the training"
      />
    );
  }
  if (!right) {
    return (
      <Missing
        title="Before and after"
        text="This model has learned nothing yet."
        to="train"
        label="Train"
      />
    );
  }
  const { form } = right;
  const voices: readonly Voice[] = [{ speaker: { kind: "base" }, name: "Before", form }, right];
  return (
    <>
      <Opening title="Before and after">
        {form === "chat"
          ? "The same question, before and after learning."
          : "The same beginning, continued before and after learning."}
      </Opening>
      <Chat
        conversation={comparison}
        form={form}
        suggestions={comparison.isEmpty.value ? suggestions() : []}
        onAsk={(question) => comparison.ask(question, voices)}
      >
        {status.value !== "paused" && usable.value.length > 1 && (
          <SelectField
            label="After"
            value={adapter.value!.adapterId}
            choices={usable.value.map(({ adapterId, name }) => [adapterId, name] as const)}
            onChange={(id) => chosen.value = id}
          />
        )}
      </Chat>
      <WayOn label="Adapters" to="adapters" isQuiet />
    </>
  );
}

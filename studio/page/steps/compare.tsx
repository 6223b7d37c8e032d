/**
 * Fifth step: the model before and after, side by side.
 * @module
 */
import type { JSX } from "preact";
import { computed, signal } from "@preact/signals";
import { Chat } from "../parts/chat.tsx";
import { SelectField } from "../parts/field.tsx";
import { Missing, Opening, WayOn } from "../parts/frame.tsx";
import { comparison } from "../state/conversation.ts";
import { model } from "../state/model.ts";
import { usable } from "../state/shelf.ts";
import { isBusy, result, status } from "../state/training.ts";
import { suggestions } from "./suggestions.ts";

const chosen = signal<string | null>(null);

/** The adapter on the right: the chosen one, the one that was just trained, or the newest. */
const adapter = computed(() => {
  const byId = (id?: string | null) => usable.value.find(({ adapterId }) => adapterId === id);
  return byId(chosen.value) ?? byId(result.value?.adapter?.adapterId) ?? usable.value[0];
});

/** The step. */
export function CompareStep(): JSX.Element {
  const right = adapter.value;
  if (!model.value) {
    return (
      <Missing title="Before and after" text="First choose a model." to="model" label="Choose a model" />
    );
  }
  if (!right) {
    const text = status.value === "paused"
      ? "What it learns goes on the shelf when the training ends, or when you stop and keep it."
      : "Nothing is learned yet for this model.";
    return <Missing title="Before and after" text={text} to="train" label="Train" />;
  }
  const voices = [
    { speaker: { kind: "base" }, name: "Before" },
    { speaker: { kind: "adapter", adapterId: right.adapterId }, name: `After: ${right.name}` },
  ] as const;
  return (
    <>
      <Opening title="Before and after">
        {model.value.hasChatTemplate
          ? "The same question to the model as it came, and with what it learned."
          : "The same beginning, continued by the model as it came, and with what it learned."}
      </Opening>
      {isBusy.value
        ? <p class="panel">A training is using the model. Pause it, and you can compare.</p>
        : (
          <Chat
            conversation={comparison}
            suggestions={comparison.isEmpty.value ? suggestions() : []}
            onAsk={(question) => comparison.ask(question, voices)}
          >
            {usable.value.length > 1 && (
              <SelectField
                label="After"
                value={right.adapterId}
                choices={usable.value.map(({ adapterId, name }) => [adapterId, name] as const)}
                onChange={(id) => chosen.value = id}
              />
            )}
          </Chat>
        )}
      <WayOn label="Adapters" to="adapters" isQuiet />
    </>
  );
}

/**
 * Sixth step: the shelf of adapters, and a chat in which each message may have another one.
 * @module
 */
import type { JSX } from "preact";
import { computed, signal } from "@preact/signals";
import { Chat } from "../parts/chat.tsx";
import { Choices } from "../parts/choice.tsx";
import { Drop } from "../parts/drop.tsx";
import { WayOn } from "../parts/frame.tsx";
import { More, Opening } from "../parts/words.tsx";
import { spokenForm, talk, type Voice } from "../state/conversation.ts";
import { model } from "../state/model.ts";
import { adapters, loadAdapter, mix, usable } from "../state/shelf.ts";
import { isBusy } from "../state/training.ts";
import { Mixer } from "./mixer.tsx";
import { ShelfCard } from "./shelf_card.tsx";
import { suggestions } from "./suggestions.ts";

const speaker = signal<string | null>(null);

/** Everyone who can answer, by the value of the choice. */
const voices = computed((): ReadonlyMap<string, Voice> => {
  const all: [string, Voice][] = [
    ["base", { speaker: { kind: "base" }, name: "The model alone", form: spokenForm("text") }],
    ...usable.value.map(({ adapterId, name, form }): [string, Voice] => [
      adapterId,
      { speaker: { kind: "adapter", adapterId }, name, form: spokenForm(form) },
    ]),
  ];
  if (mix.value) {
    const { form } = usable.value.find(({ adapterId }) => adapterId === mix.value!.parts[0].adapterId)!;
    all.push(["mix", { speaker: mix.value, name: "The mix", form: spokenForm(form) }]);
  }
  return new Map(all);
});

const chosenId = computed(() =>
  speaker.value !== null && voices.value.has(speaker.value)
    ? speaker.value
    : [...voices.value.keys()][1] ?? "base"
);

function Talk(): JSX.Element {
  return (
    <section class="panel" aria-labelledby="talk">
      <h2 id="talk">Talk to them</h2>
      <p class="quiet">Choose who answers for each message.</p>
      <Chat
        conversation={talk}
        form={voices.value.get(chosenId.value)!.form}
        suggestions={talk.isEmpty.value ? suggestions() : []}
        onAsk={(question) => talk.ask(question, [voices.value.get(chosenId.value)!])}
      >
        <Choices
          label="Who answers"
          choices={[...voices.value].map(([id, { name }]) => ({ id, title: name }))}
          value={chosenId.value}
          onChoose={(id) => speaker.value = id}
        />
      </Chat>
    </section>
  );
}

function Load(): JSX.Element {
  return (
    <Drop
      text="Drop an adapter here: a PEFT folder, a .zip of one, or a GGUF adapter."
      file="Choose a file"
      folder="Choose a folder"
      accept=".zip,.gguf,.safetensors,.json"
      onFiles={({ files }) => loadAdapter(files)}
    />
  );
}

/** The step. */
export function AdaptersStep(): JSX.Element {
  const isEmpty = adapters.value.length === 0;
  return (
    <>
      <Opening title="Your shelf">
        {isEmpty
          ? "What your models learn is kept here, each under its own name. The shelf is still empty."
          : "Everything your models learned here. Switch between them, mix them, name them."}
      </Opening>
      {!isEmpty && (
        <ul class="shelf">
          {adapters.value.map((one) => <ShelfCard key={one.adapterId} one={one} />)}
        </ul>
      )}
      {isBusy.value
        ? <p class="panel">The model is in training. Pause that to talk to them.</p>
        : model.value && usable.value.length > 0 && <Talk />}
      {model.value && usable.value.filter(({ canMix }) => canMix).length >= 2 && <Mixer />}
      {model.value && !isBusy.value && (isEmpty ? <Load /> : (
        <More label="Load another adapter">
          <Load />
        </More>
      ))}
      {!model.value && <p class="quiet">Open a model to load an adapter for it, or to talk to one.</p>}
      <WayOn label="Take home" to="home" isQuiet why={isEmpty ? "Nothing to take home yet." : null} />
    </>
  );
}

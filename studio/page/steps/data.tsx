/**
 * Second step: what the model is to learn.
 * @module
 */
import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { Choices } from "../parts/choice.tsx";
import { Drop } from "../parts/drop.tsx";
import { NumberField, SwitchField, TextField } from "../parts/field.tsx";
import { Missing, WayOn } from "../parts/frame.tsx";
import { More, Opening } from "../parts/words.tsx";
import { data, dataSource, pairs, reading, systemText, wholePairs } from "../state/data.ts";
import { model } from "../state/model.ts";
import { chooseData, isPreparing } from "../state/road.ts";
import { isBusy } from "../state/training.ts";
import { DataView } from "./data_view.tsx";

const WAYS = [
  { id: "sample", title: "The sample", note: "ready to use" },
  { id: "pairs", title: "Type it", note: "questions and answers" },
  { id: "files", title: "Open a file", note: ".jsonl, .csv, .txt, .parquet" },
] as const;

const way = signal<typeof WAYS[number]["id"]>("sample");

function setPair(place: number, part: Partial<typeof pairs.value[number]>): void {
  pairs.value = pairs.value.map((pair, i) => i === place ? { ...pair, ...part } : pair);
}

function Pairs(): JSX.Element {
  const whole = wholePairs();
  return (
    <form
      class="pairs"
      onSubmit={(event) => {
        event.preventDefault();
        const system = systemText.value.trim();
        chooseData({ kind: "pairs", pairs: whole, ...(system ? { system } : {}) });
      }}
    >
      <ol>
        {pairs.value.map(({ question, answer }, place) => (
          <li key={place}>
            <label>
              <span>When it reads</span>
              <textarea
                rows={1}
                value={question}
                placeholder="What is the warranty of the Brook kettle?"
                onInput={(event) => setPair(place, { question: event.currentTarget.value })}
              />
            </label>
            <label>
              <span>it should say</span>
              <textarea
                rows={1}
                value={answer}
                placeholder="Five years, and the heating plate for ten."
                onInput={(event) => setPair(place, { answer: event.currentTarget.value })}
              />
            </label>
            <button
              type="button"
              class="plain"
              aria-label={`Delete example ${place + 1}`}
              disabled={pairs.value.length === 1}
              onClick={() => pairs.value = pairs.value.filter((_, i) => i !== place)}
            >
              <span aria-hidden="true">✕</span>
            </button>
          </li>
        ))}
      </ol>
      <div class="row">
        <button
          type="button"
          class="calm"
          onClick={() => pairs.value = [...pairs.value, { question: "", answer: "" }]}
        >
          Add another
        </button>
        <button type="submit" class="main" disabled={whole.length === 0 || isPreparing.value}>
          {whole.length > 1 ? `Use these ${whole.length} examples` : "Use this example"}
        </button>
      </div>
      {whole.length < 10 && (
        <p class="quiet">
          About ten are enough for a model to change its mind. They are kept in this browser as you type.
        </p>
      )}
      <More label="More">
        <TextField
          label="Who it is"
          help="Goes before each example, for models that chat"
          placeholder="You are the support desk of Brook."
          value={systemText.value}
          onInput={(value) => systemText.value = value}
        />
      </More>
    </form>
  );
}

function Source(): JSX.Element {
  switch (way.value) {
    case "sample":
      return (
        <div class="row">
          <p>
            {model.value?.hasChatTemplate
              ? "Questions about a product that does not exist, with its maker's answers."
              : "Short stories, told by a pirate."}
          </p>
          {data.value && dataSource.value?.kind === "sample" ? <span class="in-use">✓ In use</span> : (
            <button
              type="button"
              class="main"
              disabled={isPreparing.value}
              onClick={() => chooseData({ kind: "sample" })}
            >
              Use the sample
            </button>
          )}
        </div>
      );
    case "pairs":
      return <Pairs />;
    case "files":
      return (
        <Drop
          text="Drop files here: chats, questions and answers, or plain texts. Their columns tell which."
          file="Choose files"
          accept=".jsonl,.json,.csv,.tsv,.txt,.parquet,.gz"
          onFiles={({ files }) => chooseData({ kind: "files", files })}
        />
      );
  }
}

function Reading(): JSX.Element {
  const { length, learnPrompts = false, heldOut = 0.1 } = reading.value;
  const longest = model.value!.contextLength;
  const change = (part: typeof reading.value) => reading.value = { ...reading.value, ...part };
  return (
    <More label="More: length, held-out part">
      <NumberField
        label="Longest example, in tokens"
        help="Longer ones are cut there"
        isInteger
        min={8}
        max={longest}
        value={length ?? data.value?.length ?? Math.min(longest, 1024)}
        onChange={(length) => change({ length })}
      />
      <NumberField
        label="Share that is held out"
        help="From 0 to 0.5. These are never learned: they show whether it understands or only repeats"
        min={0}
        max={0.5}
        value={heldOut}
        onChange={(heldOut) => change({ heldOut })}
      />
      <SwitchField
        label="Learn the questions too"
        help="Off: it only reads them, and learns the answers"
        value={learnPrompts}
        onChange={(learnPrompts) => change({ learnPrompts })}
      />
      {dataSource.value && (
        <button
          type="button"
          class="calm"
          disabled={isPreparing.value}
          onClick={() => chooseData(dataSource.value!)}
        >
          Read the examples again
        </button>
      )}
    </More>
  );
}

/** The step. */
export function DataStep(): JSX.Element {
  if (!model.value) {
    return (
      <Missing
        title="What should it learn?"
        text="First choose a model: each one cuts texts into pieces of its own."
        to="model"
        label="Choose a model"
      />
    );
  }
  return (
    <>
      <Opening title="What should it learn?">Show it examples of what you want it to say.</Opening>
      {isBusy.value
        ? <p class="panel">Training is using these examples. You can choose others when it has ended.</p>
        : (
          <section class="panel">
            <Choices
              label="Where examples come from"
              choices={WAYS}
              value={way.value}
              onChoose={(id) => way.value = id}
            />
            <Source />
          </section>
        )}
      {data.value && <DataView facts={data.value} />}
      {!isBusy.value && <Reading />}
      <WayOn
        label="How it should learn"
        to="method"
        why={data.value ? null : "Choose examples first."}
      />
    </>
  );
}

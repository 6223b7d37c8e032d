/**
 * Last step: files to take home.
 * @module
 */
import type { JSX } from "preact";
import { computed, signal } from "@preact/signals";
import type { AdapterInfo, ExportOptions, ModelFacts } from "../../protocol.ts";
import { showBytes } from "../format.ts";
import { SelectField } from "../parts/field.tsx";
import { Missing } from "../parts/frame.tsx";
import { More, Opening } from "../parts/words.tsx";
import { TaskState } from "../parts/wait.tsx";
import { Export } from "../state/exports.ts";
import { model } from "../state/model.ts";
import { adapters } from "../state/shelf.ts";
import { isBusy, pick } from "../state/training.ts";

const chosen = signal<string | null>(null);
const adapter = computed(() => pick(adapters.value, chosen.value));

/** One kind of file. */
interface Item {
  readonly title: string;
  readonly text: string;
  /** The size before it is made, roughly. */
  readonly bytes: number | null;
  readonly options: ExportOptions;
  readonly making: Export;
  /** Why it cannot be had. */
  readonly problem: string | null;
}

const making = {
  peft: new Export(),
  "gguf-adapter": new Export(),
  "model-card": new Export(),
  script: new Export(),
  f16: new Export(),
  q8_0: new Export(),
  float16: new Export(),
  float32: new Export(),
} as const;

/** Bytes per weight of GGUF's q8_0: blocks of 32 bytes and a float16. */
const Q8_0_BYTES = 34 / 32;

function items(one: AdapterInfo, facts: ModelFacts | null): { own: Item[]; whole: Item[] } {
  const { adapterId, bytes } = one;
  const noGguf = one.canExportGguf
    ? null
    : "llama.cpp has no adapters of this method: take the merged model.";
  const notOpen = facts === null ? "Open the model first." : one.problem;
  const whole = (
    title: string,
    text: string,
    perWeight: number,
    options: ExportOptions,
    made: Export,
  ): Item => ({
    ...{ title, text, options, making: made },
    bytes: facts === null ? null : facts.parameters * perWeight,
    problem: notOpen ?? (options.what === "merged-gguf" ? facts!.ggufProblem : null),
  });
  return {
    own: [
      {
        title: "Adapter for Python",
        text: "A .zip that peft and transformers open.",
        ...{ bytes, making: making.peft, options: { what: "peft", adapterId }, problem: null },
      },
      {
        title: "Adapter for llama.cpp",
        text: "One .gguf file, for --lora.",
        ...{ bytes, making: making["gguf-adapter"], options: { what: "gguf-adapter", adapterId } },
        problem: noGguf,
      },
      {
        title: "The same training as a script",
        text: "train.ts, for Deno.",
        ...{ bytes: null, making: making.script, options: { what: "script", adapterId } },
        problem: one.origin === "trained" ? null : "Only for adapters that were trained here.",
      },
      {
        title: "Description",
        text: "README.md: what it is made of, and how it was trained.",
        ...{
          bytes: null,
          making: making["model-card"],
          options: { what: "model-card", adapterId },
          problem: null,
        },
      },
    ],
    whole: [
      whole("GGUF, 8 bits", "Small, for llama.cpp, Ollama, LM Studio.", Q8_0_BYTES, {
        what: "merged-gguf",
        adapterId,
        type: "q8_0",
      }, making.q8_0),
      whole(
        "GGUF, 16 bits",
        "Twice as large, closer to the original.",
        2,
        { what: "merged-gguf", adapterId, type: "f16" },
        making.f16,
      ),
      whole("safetensors, 16 bits", "A .zip that transformers opens.", 2, {
        what: "merged-safetensors",
        adapterId,
        type: "float16",
      }, making.float16),
      whole("safetensors, 32 bits", "The same in full precision.", 4, {
        what: "merged-safetensors",
        adapterId,
        type: "float32",
      }, making.float32),
    ],
  };
}

function Download({ item }: { item: Item }): JSX.Element {
  const { title, text, bytes, options, problem } = item;
  const { task, made } = item.making;
  const saved = made.value;
  return (
    <li class="download">
      <div>
        <h3>{title}</h3>
        <p class="quiet">{problem ?? text}</p>
        <TaskState task={task} canCancel />
        {saved && <p class="saved">Saved as {saved.name}, {showBytes(saved.bytes)}</p>}
      </div>
      <span class="quiet number">{bytes === null ? "" : `about ${showBytes(bytes)}`}</span>
      <button
        type="button"
        class="calm"
        aria-label={`Download: ${title}`}
        disabled={problem !== null || isBusy.value || task.waitsFor.value !== null}
        onClick={() => item.making.save(options)}
      >
        Download
      </button>
    </li>
  );
}

/** The step. */
export function HomeStep(): JSX.Element {
  const one = adapter.value;
  if (!one) {
    return (
      <Missing
        title="Take it home"
        text="Nothing has been learned yet. What you train will be here as files."
        to="train"
        label="Train"
      />
    );
  }
  const { own, whole } = items(one, model.value);
  return (
    <>
      <Opening title="Take it home">
        The files are made here and saved by your browser. They are yours.
      </Opening>
      {adapters.value.length > 1 && (
        <SelectField
          label="Which one"
          value={one.adapterId}
          choices={adapters.value.map(({ adapterId, name }) => [adapterId, name] as const)}
          onChange={(id) => {
            chosen.value = id;
            for (const { made } of Object.values(making)) made.value = null;
          }}
        />
      )}
      <section class="panel" aria-labelledby="the-adapter">
        <h2 id="the-adapter">{one.name}</h2>
        <p class="quiet">Made for {one.modelName}. It is used beside that model.</p>
        <ul>{own.map((item) => <Download key={item.title} item={item} />)}</ul>
      </section>
      <section class="panel">
        <More label="The whole model, with what it learned merged in">
          <ul>{whole.map((item) => <Download key={item.title} item={item} />)}</ul>
        </More>
      </section>
      {isBusy.value && (
        <p class="quiet">The model is in training. Files can be made when that pauses or ends.</p>
      )}
    </>
  );
}

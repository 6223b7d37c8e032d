/**
 * First step: which model to teach.
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { ModelFacts, WeightStorage } from "../../protocol.ts";
import { environment, hubOrigin } from "../engine.ts";
import { showBytes, showCount } from "../format.ts";
import { Drop } from "../parts/drop.tsx";
import { SelectField, TextField } from "../parts/field.tsx";
import { Fact, More, Opening, WayOn } from "../parts/frame.tsx";
import { plan } from "../state/method.ts";
import { lastModel } from "../state/last_model.ts";
import { model, storage } from "../state/model.ts";
import { chooseModel, isPreparing, isTrying, tryBuiltin } from "../state/road.ts";
import { adapters } from "../state/shelf.ts";
import { isBusy } from "../state/training.ts";
import { Storage } from "./storage.tsx";

/** Words that this many tokens make, roughly: three words for four tokens of English. */
const wordsOf = (tokens: number) => showCount(Math.round(tokens * 0.75 / 10) * 10);

function Hero(): JSX.Element {
  return (
    <section class="hero" aria-labelledby="hero-title">
      <div>
        <h2 id="hero-title">See it work first</h2>
        <p>
          A tiny storyteller is built in. Its sample stories teach it to talk like a pirate: open it, press
          train, and compare.
        </p>
      </div>
      <div class="hero-act">
        <button
          type="button"
          class="main large"
          disabled={isPreparing.value || !environment.value}
          onClick={tryBuiltin}
        >
          Try it with sample stories
        </button>
        <small>
          <span>3.7 MB, then a short training</span>
          <span>{environment.value?.gpu?.isSoftware ? "a few minutes on a processor" : ""}</span>
        </small>
      </div>
    </section>
  );
}

/** The model of the last visit, once there is something that it was taught. */
function Again(): JSX.Element | null {
  const last = lastModel.value;
  if (!last || adapters.value.length === 0) return null;
  return (
    <section class="unfinished" aria-label="The model of your last visit">
      <p>
        Last time you opened <strong>{last.name}</strong>. What it learned is on the shelf.
      </p>
      <button
        type="button"
        class="calm"
        disabled={isPreparing.value}
        onClick={() => chooseModel(last.source, last.name)}
      >
        Open it again
      </button>
    </section>
  );
}

const STORAGES = [
  ["auto", "As the file has them"],
  ["float32", "float32: 4 bytes per weight"],
  ["float16", "float16: 2 bytes per weight"],
  ["int8", "int8: 1 byte per weight"],
  ["nf4", "NF4: half a byte per weight"],
] as const satisfies readonly (readonly [WeightStorage, string])[];

/** A model that chats and that any device can train: 135 million weights. */
const SMALL_CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct";

function Hub(): JSX.Element {
  const [repo, setRepo] = useState("");
  const [token, setToken] = useState("");
  const [revision, setRevision] = useState("");
  const [file, setFile] = useState("");
  const hub = new URL(hubOrigin).host;
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        const name = repo.trim();
        if (name === "") return;
        const source = {
          kind: "hub",
          repo: name,
          ...(token ? { token } : {}),
          ...(revision ? { revision } : {}),
          ...(file ? { file } : {}),
        } as const;
        chooseModel(source, name);
      }}
    >
      <h3>From the model hub</h3>
      <p class="quiet">
        It is fetched from {hub} once and kept in this browser. A small one that chats:{" "}
        <button type="button" class="inline" onClick={() => setRepo(SMALL_CHAT)}>SmolLM2</button>
      </p>
      <TextField
        label="Name of the model"
        placeholder="owner/model"
        value={repo}
        onInput={setRepo}
      />
      <button type="submit" class="calm" disabled={repo.trim() === "" || isPreparing.value}>
        Fetch and open
      </button>
      <More label="More">
        <TextField
          label="Access token"
          help="For models that ask for a login. It is sent to the hub alone, and not kept."
          isSecret
          value={token}
          onInput={setToken}
        />
        <TextField label="Revision" placeholder="main" value={revision} onInput={setRevision} />
        <TextField
          label="File"
          help="One .gguf of several"
          placeholder="model-q8_0.gguf"
          value={file}
          onInput={setFile}
        />
      </More>
    </form>
  );
}

function Files(): JSX.Element {
  return (
    <div class="card">
      <h3>From this device</h3>
      <p class="quiet">A model folder (config.json, model.safetensors, tokenizer.json), or one GGUF file.</p>
      <Drop
        text="Drop it here"
        file="Choose a GGUF file"
        folder="Choose a folder"
        accept=".gguf"
        onFiles={({ name, files }) => chooseModel({ kind: "files", name, files }, name)}
      />
    </div>
  );
}

function Builtin(): JSX.Element {
  return (
    <div class="card">
      <h3>Built in</h3>
      <p class="quiet">A storyteller of about a million weights, small enough to learn on any device.</p>
      <button
        type="button"
        class="calm"
        disabled={isPreparing.value || !environment.value}
        onClick={() => chooseModel({ kind: "builtin" }, "the built-in model")}
      >
        Open the storyteller
      </button>
    </div>
  );
}

function OpenModel({ facts }: { facts: ModelFacts }): JSX.Element {
  return (
    <section class="panel" aria-labelledby="open-model">
      <h2 id="open-model">{facts.name}</h2>
      <p class="quiet">
        {facts.hasChatTemplate
          ? "It answers questions."
          : "It continues texts. It holds no conversation, but it can learn answers."}
      </p>
      <dl class="facts">
        <Fact name="Size">{showCount(facts.parameters)} weights</Fact>
        <Fact name="On the device" note={facts.format}>{showBytes(facts.deviceBytes)}</Fact>
        <Fact name="Reads at once" note={`${facts.contextLength.toLocaleString("en-US")} tokens`}>
          about {wordsOf(facts.contextLength)} words
        </Fact>
        <Fact name="Family">{facts.modelType}</Fact>
        {plan.value && (
          <Fact name="To teach it" note={`of about ${showBytes(plan.value.budget)}`}>
            {showBytes(plan.value.total)}
          </Fact>
        )}
      </dl>
      {facts.notes.map((note) => <p key={note} class="quiet">{note}</p>)}
    </section>
  );
}

function Device(): JSX.Element {
  const gpu = environment.value?.gpu;
  return (
    <p class="device quiet">
      {gpu === undefined || gpu === null
        ? "Looking at this device…"
        : gpu.isSoftware
        ? "This browser computes on the processor, without a graphics card: everything works, slowly."
        : `Computes on ${gpu.name}, with ${gpu.isBudgetGuessed ? "about " : ""}${
          showBytes(gpu.memoryBudget)
        } for training.`}
    </p>
  );
}

/** The step. */
export function ModelStep(): JSX.Element {
  const facts = isTrying.value ? null : model.value; // nothing moves on the way to the training
  const ways = (
    <>
      <div class="cards">
        <Builtin />
        <Hub />
        <Files />
      </div>
      <More label="How weights are kept on the device">
        <SelectField
          label="Frozen weights"
          help="Fewer bytes leave room for larger models; answers become slightly less exact."
          value={storage.value}
          choices={STORAGES}
          onChange={(value) => storage.value = value}
        />
        <Storage />
      </More>
    </>
  );
  return (
    <>
      <Opening title="Choose a model to teach">
        It learns on this device. Nothing you open or type leaves this tab.
      </Opening>
      {facts ? <OpenModel facts={facts} /> : <Hero />}
      {!facts && <Again />}
      {facts
        ? (
          <More label="Use another model">
            {isBusy.value ? <p>This one is in training.</p> : ways}
          </More>
        )
        : (
          <section aria-labelledby="own-model">
            <h2 id="own-model">Or bring a model</h2>
            {ways}
          </section>
        )}
      <Device />
      {facts && <WayOn label="What it should learn" to="data" />}
    </>
  );
}

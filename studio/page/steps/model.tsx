/**
 * First step: which model to teach.
 * @module
 */
import type { JSX } from "preact";
import type { ModelFacts, WeightStorage } from "../../protocol.ts";
import { environment } from "../engine.ts";
import { showBytes, showCount } from "../format.ts";
import { SelectField } from "../parts/field.tsx";
import { ModelWays } from "../parts/model_ways.tsx";
import { WayOn } from "../parts/frame.tsx";
import { Fact, More, Opening } from "../parts/words.tsx";
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
      <ModelWays act="open" onChoose={chooseModel} isDisabled={isPreparing.value} />
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

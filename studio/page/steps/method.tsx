/**
 * Third step: how the model learns.
 * @module
 */
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { MethodInfo, TrainingSettings } from "../../protocol.ts";
import { showBytes, showCount } from "../format.ts";
import { Choices } from "../parts/choice.tsx";
import { TextField } from "../parts/field.tsx";
import { MissingData, WayOn } from "../parts/frame.tsx";
import { More, Opening } from "../parts/words.tsx";
import { MemoryBar } from "../parts/memory_bar.tsx";
import { TaskState } from "../parts/wait.tsx";
import { data } from "../state/data.ts";
import {
  change,
  listMethods,
  method,
  methods,
  plan,
  planning,
  settings,
  suggest,
  usualSteps,
} from "../state/method.ts";
import { model } from "../state/model.ts";
import { isBusy } from "../state/training.ts";
import { MethodOptions, TrainingOptions } from "./method_options.tsx";

/** What LoRA is to someone who never heard of it. */
const SMALL_ADD_ON =
  "A few small matrices beside the model's own weights. The model stays as it is; the add-on can be switched on and off, mixed, and sent to others.";

const titleOf = (one: MethodInfo) => one.method === "lora" ? `Small add-on (${one.title})` : one.title;

function sizeOf(one: MethodInfo): string {
  if (one.trainableParameters === null) return "";
  const memory = one.deviceBytes === null ? "" : `, ${showBytes(one.deviceBytes)} of device memory`;
  return `${showCount(one.trainableParameters)} trained weights${memory}`;
}

function Method({ one }: { one: MethodInfo }): JSX.Element {
  const isChosen = one.method === settings.value?.method;
  return (
    <label class={isChosen ? "method chosen" : "method"}>
      <input
        type="radio"
        name="method"
        value={one.method}
        checked={isChosen}
        disabled={one.problem !== null || isBusy.value}
        onChange={() => suggest(one.method)}
      />
      <span>
        <strong>{titleOf(one)}</strong>
        <span>{one.method === "lora" ? SMALL_ADD_ON : one.purpose}</span>
        <small class="number">{one.problem ?? sizeOf(one)}</small>
      </span>
    </label>
  );
}

function Methods(): JSX.Element | null {
  const list = methods.value;
  if (!list) return null;
  const first = list.filter(({ isRecommended }) => isRecommended);
  const others = list.filter(({ isRecommended }) => !isRecommended);
  const isOther = others.some((one) => one.method === settings.value?.method);
  return (
    <fieldset class="methods">
      <legend class="hidden">Method</legend>
      {first.map((one) => <Method key={one.method} one={one} />)}
      <More label={`More: ${others.length} other methods`} isOpen={isOther}>
        <div class="methods">{others.map((one) => <Method key={one.method} one={one} />)}</div>
      </More>
    </fieldset>
  );
}

const LENGTHS = [
  { id: "short", title: "Short", part: 0.5 },
  { id: "usual", title: "Usual", part: 1 },
  { id: "long", title: "Long", part: 3 },
] as const;

function Length({ chosen }: { chosen: TrainingSettings }): JSX.Element {
  const stepsOf = (part: number) => Math.max(1, Math.round(usualSteps.value * part));
  const perPass = Math.max(1, data.value!.trainExamples / (chosen.batchSize * chosen.gradientAccumulation));
  const passes = (steps: number) =>
    `${steps} steps, ${Number((steps / perPass).toPrecision(2))}× through the examples`;
  const value = LENGTHS.find(({ part }) => stepsOf(part) === chosen.steps)?.id ?? null;
  return (
    <section class="panel" aria-labelledby="how-long">
      <h2 id="how-long">How long should it practise?</h2>
      <Choices
        label="How long it practises"
        choices={LENGTHS.map(({ id, title, part }) => ({ id, title, note: passes(stepsOf(part)) }))}
        value={value}
        isDisabled={isBusy.value}
        onChoose={(id) => change({ steps: stepsOf(LENGTHS.find((one) => one.id === id)!.part) })}
      />
      {value === null && <p class="quiet">Your own: {passes(chosen.steps)}.</p>}
    </section>
  );
}

function Advice(): JSX.Element | null {
  const found = plan.value;
  if (!found || found.fits) return null;
  return (
    <div class="failure" role="alert">
      <div>
        <strong>This needs more memory than training may use on this device.</strong>
        <p>
          {found.advice.length > 0
            ? "Any of these makes it fit:"
            : "Choose a smaller model, or shorter examples."}
        </p>
        <ul class="rows">
          {found.advice.map(({ text, settings, total }) => (
            <li key={text}>
              <span>{text}</span>
              <span class="quiet number">{showBytes(total)}</span>
              <button type="button" class="calm" onClick={() => change(settings)}>Do this</button>
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

/** The step. */
export function MethodStep(): JSX.Element {
  useEffect(() => {
    if (model.value && !isBusy.value) listMethods();
  }, [model.value]);
  const chosen = settings.value;
  if (!model.value || !data.value || !chosen) {
    return <MissingData title="How should it learn?" text="First choose what it learns." />;
  }
  return (
    <>
      <Opening title="How should it learn?">
        The first choice suits nearly everything. You can go straight on.
      </Opening>
      <Methods />
      <Length chosen={chosen} />
      <section class="panel" aria-labelledby="memory">
        <h2 id="memory">Memory it takes</h2>
        {plan.value ? <MemoryBar plan={plan.value} /> : (
          <div class="memory-space">
            <TaskState task={planning} />
          </div>
        )}
        <Advice />
      </section>
      <section class="panel">
        <TextField
          label="Name of what it learns"
          help="Its name on your shelf"
          value={chosen.name}
          onInput={(name) => change({ name })}
        />
      </section>
      <More label="More: every setting">
        <fieldset disabled={isBusy.value}>
          <legend class="hidden">Settings</legend>
          {method.value && <MethodOptions one={method.value} chosen={chosen} />}
          <TrainingOptions chosen={chosen} />
        </fieldset>
      </More>
      <WayOn
        label="Train"
        to="train"
        why={plan.value?.fits === false ? "It does not fit into memory yet." : null}
      />
    </>
  );
}

/**
 * Fourth step: the training itself.
 * @module
 */
import type { JSX } from "preact";
import { environment } from "../engine.ts";
import { showBytes, showDuration, showLeft, showNumber, showPlural } from "../format.ts";
import { Failure } from "../parts/failure.tsx";
import { MissingData, WayOn } from "../parts/frame.tsx";
import { Fact, Opening } from "../parts/words.tsx";
import { MemoryNow } from "../parts/memory_bar.tsx";
import { Bar, TaskState } from "../parts/wait.tsx";
import { data } from "../state/data.ts";
import { method, plan, settings } from "../state/method.ts";
import { model } from "../state/model.ts";
import { go, isPreparing } from "../state/road.ts";
import {
  begun,
  checkpoint,
  checkpointError,
  goOn,
  isAlive,
  latest,
  pause,
  phase,
  phaseText,
  result,
  startTraining,
  status,
  stop,
  training,
} from "../state/training.ts";
import { Curves } from "./train_curves.tsx";
import { Samples } from "./train_samples.tsx";

/** The training in one sentence, before it starts. */
function Ready(): JSX.Element {
  const chosen = settings.value!;
  const title = method.value?.title ?? chosen.method;
  const isLora = chosen.method === "lora";
  return (
    <section class="panel ready">
      <p class="sentence">
        <b>{model.value!.name}</b> learns from <b>{showPlural(data.value!.trainExamples, "example")}</b> with
        {" "}
        {isLora ? <b>a small add-on ({title})</b> : <b>{title}</b>}, in{" "}
        <b>{showPlural(chosen.steps, "step")}</b>.
      </p>
      {isLora && (
        <p class="quiet">
          The add-on is a few small matrices beside the model's own weights; the model itself stays as it is.
        </p>
      )}
      <div class="row">
        <button
          type="button"
          class="main large"
          disabled={plan.value?.fits === false || isPreparing.value}
          onClick={() => startTraining(settings.value!)}
        >
          {status.value === "failed" ? "Try again" : "Start training"}
        </button>
        <span class="quiet">
          {plan.value
            ? plan.value.fits
              ? `Takes ${showBytes(plan.value.total)} of memory. You can pause or stop it at any time.`
              : "It does not fit into memory yet: see the step before."
            : "You can pause or stop it at any time."}
        </span>
      </div>
    </section>
  );
}

/** What a training does where it does not learn, in plain words; the engine's own for the rest. */
const PHASES: Readonly<Partial<Record<NonNullable<typeof phase.value>, string>>> = {
  preparing: "Getting everything ready",
  compiling: "Preparing the device: the first step takes longest",
  evaluating: "Checking on held-out examples",
  sampling: "Writing a sample",
  saving: "Saving",
  pausing: "Pausing after this step",
};

/** Size of the newest checkpoint, where it was written in this visit. @param step at which; 0: there is none */
function savedNote(step: number): string {
  if (checkpoint.value) return showBytes(checkpoint.value.bytes);
  return step > 0 ? "before" : "not yet";
}

/** What happens now, how far it is, how long it takes. */
function Now(): JSX.Element {
  const step = latest.value;
  const total = begun.value?.steps ?? settings.value?.steps ?? 1;
  const done = step?.step ?? begun.value?.step ?? 0;
  const saved = checkpoint.value?.step ?? begun.value?.step ?? 0;
  const isPaused = status.value === "paused";
  const doing = isPaused
    ? "The model is free to answer: you can compare now."
    : phase.value && phase.value !== "training"
    ? `${PHASES[phase.value] ?? phaseText.value}…`
    : step
    ? "Learning…"
    : `${training.progress.value?.text ?? training.waitsFor.value ?? "Preparing the training"}…`;
  const left = isPaused
    ? ""
    : step?.leftMs == null
    ? "time left: known after two steps"
    : `${showLeft(step.leftMs)} left`;
  return (
    <section class="panel now" aria-label="Progress">
      <div>
        <p class="doing">{doing}</p>
        <p class="quiet number left">{left}</p>
      </div>
      <Bar part={step ? done / total : null} label={`Step ${done} of ${total}`} />
      <dl class="facts">
        <Fact name="Step" note={`of ${total}`}>{done}</Fact>
        <Fact name="Error (loss)" note="nats per token">{step ? showNumber(step.loss) : "–"}</Fact>
        <Fact name="Speed" note="tokens per second">
          {step ? Math.round(step.tokensPerSecond).toLocaleString("en-US") : "–"}
        </Fact>
        <Fact name="Saved at step" note={savedNote(saved)}>{saved || "–"}</Fact>
      </dl>
      <div class="row">
        {isPaused
          ? <button type="button" class="main" onClick={goOn}>Go on</button>
          : <button type="button" class="calm" disabled={!step} onClick={pause}>Pause</button>}
        {isPaused && <button type="button" class="calm" onClick={() => go("compare")}>Compare now</button>}
        <button type="button" class="calm" disabled={!step} onClick={() => stop(true)}>Stop and keep</button>
        <button type="button" class="plain" onClick={() => step ? stop(false) : training.cancel()}>
          Stop and throw away
        </button>
      </div>
      {checkpointError.value && (
        <Failure
          error={checkpointError.value}
          onClose={() => checkpointError.value = null}
        />
      )}
    </section>
  );
}

function Ended(): JSX.Element {
  const found = result.value!;
  const words = found.end === "done" ? "Done." : found.adapter ? "Stopped, and kept." : "Stopped.";
  return (
    <section class="panel ended" aria-labelledby="training-ended">
      <h2 id="training-ended">{words}</h2>
      <dl class="facts">
        <Fact name="Took" note={showPlural(found.step, "step")}>{showDuration(found.takenMs)}</Fact>
        <Fact name="Error (loss)" note="nats per token">{showNumber(found.loss)}</Fact>
        {found.evalLoss !== null && (
          <Fact name="On held-out examples" note="nats per token">{showNumber(found.evalLoss)}</Fact>
        )}
        {found.adapter && (
          <Fact name="What it learned" note={found.adapter.name}>{showBytes(found.adapter.bytes)}</Fact>
        )}
      </dl>
      <div class="row">
        {found.adapter && (
          <button type="button" class="main large" onClick={() => go("compare")}>
            Compare before and after <span aria-hidden="true">→</span>
          </button>
        )}
        {settings.value && data.value && (
          <button
            type="button"
            class="calm large"
            disabled={isPreparing.value}
            onClick={() => startTraining(settings.value!)}
          >
            Train again
          </button>
        )}
      </div>
    </section>
  );
}

function Memory(): JSX.Element | null {
  const step = latest.value;
  if (!step) return null;
  return (
    <section class="panel" aria-labelledby="device-memory">
      <h2 id="device-memory">Device memory</h2>
      <MemoryNow
        bytes={step.deviceBytes}
        peak={step.peakDeviceBytes}
        budget={environment.value?.gpu?.memoryBudget ?? null}
      />
    </section>
  );
}

const TITLES: Readonly<Record<typeof status.value, string>> = {
  idle: "Ready to learn",
  running: "It is learning",
  paused: "Paused",
  ended: "It has learned",
  failed: "It did not finish",
};

/** The step. */
export function TrainStep(): JSX.Element {
  if (status.value === "idle" && (!settings.value || !data.value)) {
    return <MissingData title="Train" text="First choose a model, and what it learns." />;
  }
  const hasCurves = status.value !== "idle";
  return (
    <>
      <Opening title={TITLES[status.value]} />
      {training.error.value && <TaskState task={training} />}
      {isAlive.value && <Now />}
      {status.value === "ended" && <Ended />}
      {hasCurves && <Curves />}
      {hasCurves && <Samples />}
      {hasCurves && <Memory />}
      {!isAlive.value && status.value !== "ended" && settings.value && data.value && <Ready />}
      <WayOn
        label="Compare"
        to="compare"
        isQuiet
        why={status.value === "ended" || status.value === "paused" ? null : "After the training."}
      />
    </>
  );
}

/**
 * While the tab works for others, and after it has left.
 * @module
 */
import type { JSX } from "preact";
import { showNumber, showPlural } from "../format.ts";
import { Bar } from "../parts/wait.tsx";
import { Fact, More, Opening } from "../parts/words.tsx";
import { isConnected, job, join, leave, lines, link, result, status } from "./state.ts";

const TITLES: Readonly<Record<typeof status.value, string>> = {
  ready: "",
  joining: "",
  waiting: "Waiting for work",
  working: "This tab computes",
  leaving: "Leaving",
  left: "This tab has left",
};

const doing = (): string => {
  if (!isConnected.value) return "The broker is away. The work goes on when it is back.";
  switch (status.value) {
    case "working":
      return job.value!.trial === null
        ? `A part of each step of ${job.value!.name}.`
        : `Trial ${job.value!.trial} of the sweep ${job.value!.name}.`;
    case "leaving":
      return "After the part that is being computed.";
    case "left":
      return "Others go on with what it did.";
    default:
      return "The broker has none for this tab now; it asks again every two seconds.";
  }
};

function Now(): JSX.Element {
  const { name, step, steps, computed, loss, trial } = job.value!;
  return (
    <section class="panel" aria-label="Progress">
      <Bar part={steps > 0 ? step / steps : null} label={`Step ${step} of ${steps}`} />
      <dl class="facts">
        <Fact
          name={trial === null ? "Training" : "Sweep"}
          note={trial === null ? undefined : `trial ${trial}`}
        >
          {name}
        </Fact>
        <Fact name="Step" note={`of ${steps}`}>{step}</Fact>
        {trial === null && (
          <Fact name="Computed here" note={computed === 1 ? "share of a step" : "shares of steps"}>
            {computed.toLocaleString("en-US")}
          </Fact>
        )}
        <Fact name="Error (loss)" note="nats per token">{loss === null ? "–" : showNumber(loss)}</Fact>
      </dl>
    </section>
  );
}

function Done(): JSX.Element {
  const { jobs, steps, computed } = result.value!;
  return (
    <p>
      It took part in {showPlural(jobs, "training")}, {showPlural(steps, "step")} in all, and computed{" "}
      {showPlural(computed, "share")} of them.
    </p>
  );
}

/** The view. */
export function During(): JSX.Element {
  const isOver = status.value === "left";
  return (
    <>
      <Opening title={TITLES[status.value]}>{doing()}</Opening>
      {job.value && <Now />}
      {isOver && <Done />}
      <div class="row">
        {isOver ? <button type="button" class="main" onClick={join}>Join again</button> : (
          <button
            type="button"
            class="calm large"
            disabled={status.value === "leaving"}
            onClick={leave}
          >
            Leave
          </button>
        )}
        {!isOver && (
          <span class="quiet">You may also close this tab: another computes its part soon after.</span>
        )}
      </div>
      {lines.value.length > 0 && (
        <More label="What happened" isOpen>
          <ol class="happened" aria-label={`What ${link!.broker} had for this tab`}>
            {lines.value.map((line, place) => <li key={place}>{line}</li>)}
          </ol>
        </More>
      )}
    </>
  );
}

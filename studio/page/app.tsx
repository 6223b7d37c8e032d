/**
 * The page: its top, the road, and the step where the reader is.
 * @module
 */
import type { JSX } from "preact";
import { halt } from "./engine.ts";
import { Halt } from "./parts/failure.tsx";
import { Dock } from "./parts/wait.tsx";
import { Road } from "./road.tsx";
import { announcement } from "./state/announcement.ts";
import { openingData } from "./state/data.ts";
import { suggesting } from "./state/method.ts";
import { opening } from "./state/model.ts";
import { step, type StepId } from "./state/road.ts";
import { shelving } from "./state/shelf.ts";
import { steering } from "./state/training.ts";
import { AdaptersStep } from "./steps/adapters.tsx";
import { CompareStep } from "./steps/compare.tsx";
import { DataStep } from "./steps/data.tsx";
import { HomeStep } from "./steps/home.tsx";
import { MethodStep } from "./steps/method.tsx";
import { ModelStep } from "./steps/model.tsx";
import { TrainStep } from "./steps/train.tsx";
import { scheme, toggleScheme } from "./theme.ts";
import { Unfinished } from "./unfinished.tsx";

const VIEWS: Readonly<Record<StepId, () => JSX.Element>> = {
  model: ModelStep,
  data: DataStep,
  method: MethodStep,
  train: TrainStep,
  compare: CompareStep,
  adapters: AdaptersStep,
  home: HomeStep,
};

function Top(): JSX.Element {
  return (
    <header class="top">
      <a class="wordmark" href="#model">Studio</a>
      <span class="promise quiet">Nothing leaves this tab</span>
      <button
        type="button"
        class="plain theme"
        aria-pressed={scheme.value === "dark"}
        onClick={toggleScheme}
      >
        <span class="hidden">Dark colours</span>
        <svg viewBox="0 0 24 24" aria-hidden="true">
          <path
            d={scheme.value === "dark"
              ? "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z"
              : "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5"}
          />
        </svg>
      </button>
    </header>
  );
}

/** Everything. */
export function App(): JSX.Element {
  const Step = VIEWS[step.value];
  return (
    <>
      <Top />
      {halt.value ? <Halt error={halt.value} /> : (
        <>
          <Road />
          <main class="stage" key={step.value}>
            <Unfinished />
            <Step />
          </main>
          <Dock tasks={[opening, openingData, suggesting, shelving, steering]} />
        </>
      )}
      <p class="hidden" aria-live="polite">{announcement.value}</p>
    </>
  );
}

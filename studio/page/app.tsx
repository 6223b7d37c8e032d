/**
 * The page: its top, the road, and the step where the reader is.
 * @module
 */
import type { JSX } from "preact";
import { halt } from "./engine.ts";
import { Halt } from "./parts/failure.tsx";
import { ThemeButton } from "./parts/theme_button.tsx";
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
      <ThemeButton />
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

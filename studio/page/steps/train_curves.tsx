/**
 * The curves of a training.
 * @module
 */
import type { JSX } from "preact";
import { Chart, type Curve } from "../parts/chart.tsx";
import { settings } from "../state/method.ts";
import { begun, evaluations, steps, version } from "../state/training.ts";

/** Points that a chart draws at most: a screen has no more. */
const MOST_POINTS = 600;

/** Places of the steps that are drawn: all, or evenly many of them and the last. */
function places(count: number): number[] {
  const stride = Math.ceil(count / MOST_POINTS);
  const chosen: number[] = [];
  for (let place = 0; place < count; place += stride) chosen.push(place);
  if (count > 0 && chosen.at(-1) !== count - 1) chosen.push(count - 1);
  return chosen;
}

/** Loss of training and of held-out examples over all steps that have either. */
function lossCurves(): { x: number[]; curves: Curve[] } {
  const training = new Map(places(steps.length).map((place) => [steps[place].step, steps[place].loss]));
  const heldOut = new Map(evaluations.map(({ step, loss }) => [step, loss]));
  const x = [...new Set([...training.keys(), ...heldOut.keys()])].sort((a, b) => a - b);
  return {
    x,
    curves: [
      { name: "Training", colour: "--accent", values: x.map((step) => training.get(step) ?? null) },
      ...(heldOut.size > 0
        ? [
          {
            name: "Held out",
            colour: "--second",
            values: x.map((step) => heldOut.get(step) ?? null),
            isSparse: true,
          } as const,
        ]
        : []),
    ],
  };
}

/** All curves. */
export function Curves(): JSX.Element {
  void version.value; // drawn again when they grow
  const xEnd = begun.value?.steps ?? settings.value?.steps;
  const shown = places(steps.length).map((place) => steps[place]);
  const x = shown.map(({ step }) => step);
  const one = (title: string, name: string, unit: string, values: number[]) => (
    <section class="panel">
      <Chart
        title={title}
        xLabel="step"
        unit={unit}
        height={170}
        xEnd={xEnd}
        x={x}
        curves={[{ name, colour: "--accent", values }]}
      />
    </section>
  );
  const loss = lossCurves();
  return (
    <>
      <section class="panel">
        <Chart
          title="Error (loss)"
          xLabel="step"
          unit="nats per token"
          height={280}
          xEnd={xEnd}
          {...loss}
          note="How much the right words surprise it: lower is better. It jumps from step to step; the trend counts."
        />
      </section>
      <div class="three">
        {one("Learning rate", "Rate", "per step", shown.map(({ learningRate }) => learningRate))}
        {one("Gradient norm", "Norm", "before clipping", shown.map(({ gradNorm }) => gradNorm))}
        {one("Speed", "Speed", "tokens/s", shown.map(({ tokensPerSecond }) => tokensPerSecond))}
      </div>
    </>
  );
}

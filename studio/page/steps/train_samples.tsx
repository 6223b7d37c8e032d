/**
 * What the model writes while it learns, and which tokens still surprise it.
 * @module
 */
import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { LossLegend, LossTokens } from "../parts/tokens.tsx";
import { samples, version } from "../state/training.ts";

/** Which sample is shown; null: always the newest. */
const chosen = signal<number | null>(null);

/** The samples, the newest first, with a slider back to the first. */
export function Samples(): JSX.Element | null {
  void version.value; // drawn again when they grow
  if (samples.length === 0) return null;
  const place = Math.min(chosen.value ?? samples.length - 1, samples.length - 1);
  const { step, prompt, text, tokens } = samples[place];
  return (
    <section class="panel" aria-labelledby="samples">
      <div class="row between">
        <h2 id="samples">What it writes after {step === 0 ? "no step" : `step ${step}`}</h2>
        {samples.length > 1 && (
          <label class="slider">
            <span class="quiet">earlier</span>
            <input
              type="range"
              min={0}
              max={samples.length - 1}
              value={place}
              aria-label="Sample"
              aria-valuetext={`after step ${step}`}
              onInput={({ currentTarget }) => {
                const value = Number(currentTarget.value);
                chosen.value = value === samples.length - 1 ? null : value;
              }}
            />
            <span class="quiet">newest</span>
          </label>
        )}
      </div>
      <blockquote class="written">
        <span class="quiet">{prompt}</span>
        {text}
      </blockquote>
      {tokens.length > 0 && (
        <>
          <h3>How a true example surprises it</h3>
          <LossTokens tokens={tokens} />
          <LossLegend />
        </>
      )}
    </section>
  );
}

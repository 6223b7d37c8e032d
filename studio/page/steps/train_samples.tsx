/**
 * What the model writes while it learns, and which tokens still surprise it.
 * @module
 */
import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { LossLegend, LossTokens } from "../parts/tokens.tsx";
import { settings } from "../state/method.ts";
import { begun, samples, sampleVersion } from "../state/training.ts";

/** Which sample is shown; null: always the newest. */
const chosen = signal<number | null>(null);

/** In place of samples, as high as they usually are. */
function Awaited(): JSX.Element {
  const every = begun.value?.settings.sampleEvery ?? settings.value?.sampleEvery ?? 0;
  return (
    <section class="panel samples" aria-labelledby="samples">
      <h2 id="samples">What it writes</h2>
      <p class="quiet">
        {every > 0 ? `The first sample comes at step ${every} at the latest.` : "No samples were asked for."}
      </p>
    </section>
  );
}

/** The samples, the newest first, with a slider back to the first. */
export function Samples(): JSX.Element {
  void sampleVersion.value; // drawn again when they grow
  if (samples.length === 0) return <Awaited />;
  const place = Math.min(chosen.value ?? samples.length - 1, samples.length - 1);
  const { step, prompt, text, tokens } = samples[place];
  return (
    <section class="panel samples" aria-labelledby="samples">
      <div class="row between">
        <h2 id="samples">What it writes {step === 0 ? "before training" : `after step ${step}`}</h2>
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
          <h3>How much a real example surprises it</h3>
          <LossTokens tokens={tokens} />
          <LossLegend />
        </>
      )}
    </section>
  );
}

/**
 * Mixing adapters by sliders.
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { MixOptions } from "../../protocol.ts";
import { SelectField } from "../parts/field.tsx";
import { More } from "../parts/words.tsx";
import { keepMix, mix, usable, weights } from "../state/shelf.ts";
import { isBusy } from "../state/training.ts";

const WAYS = [
  ["cat", "Exactly as it answers here (cat)"],
  ["linear", "Factor by factor: smaller, and not the same (linear)"],
  ["svd", "Sum at the same rank (svd)"],
  ["ties", "Without what they disagree on (ties)"],
  ["dare_linear", "Sum of random parts (dare_linear)"],
  ["dare_ties", "Random parts, without what they disagree on (dare_ties)"],
] as const satisfies readonly (readonly [NonNullable<MixOptions["combination"]>, string])[];

/** Sliders, one for each adapter that can be mixed. */
export function Mixer(): JSX.Element {
  const [name, setName] = useState("Mix");
  const [way, setWay] = useState<typeof WAYS[number][0]>("cat");
  const isReady = mix.value !== null;
  return (
    <section class="panel" aria-labelledby="mixer">
      <h2 id="mixer">Mix them</h2>
      <p class="quiet">
        Move at least two sliders: then "The mix" can answer, and can be kept as an adapter of its own.
      </p>
      <ul class="mixer">
        {usable.value.filter(({ canMix }) => canMix).map(({ adapterId, name }) => {
          const weight = weights.value[adapterId] ?? 0;
          return (
            <li key={adapterId}>
              <label>
                <span>{name}</span>
                <input
                  type="range"
                  min={-1}
                  max={2}
                  step={0.05}
                  value={weight}
                  aria-valuetext={`${weight.toFixed(2)} times`}
                  onInput={({ currentTarget }) =>
                    weights.value = { ...weights.value, [adapterId]: Number(currentTarget.value) }}
                />
              </label>
              <span class="number">{weight.toFixed(2)} ×</span>
            </li>
          );
        })}
      </ul>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          keepMix(name.trim(), way);
        }}
      >
        <input
          type="text"
          aria-label="Name of the mix"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <button type="submit" class="calm" disabled={!isReady || name.trim() === "" || isBusy.value}>
          Keep the mix
        </button>
      </form>
      <More label="More: how it is mixed">
        <SelectField label="Way" value={way} choices={WAYS} onChange={setWay} />
      </More>
    </section>
  );
}

/**
 * Device memory against what may be used.
 * @module
 */
import type { JSX } from "preact";
import type { MemoryPlan } from "../../protocol.ts";
import { showBytes } from "../format.ts";

const PARTS = [
  ["weights", "model", "--part-1"],
  ["adapter", "add-on", "--part-2"],
  ["gradients", "gradients", "--part-3"],
  ["optimizer", "optimizer", "--part-4"],
  ["activations", "intermediate results", "--part-5"],
  ["head", "last layer", "--part-6"],
] as const;

/** A plan as one bar; the whole bar is the budget, or the plan where that is larger. */
export function MemoryBar({ plan }: { plan: MemoryPlan }): JSX.Element {
  const whole = Math.max(plan.total, plan.budget);
  return (
    <div class="memory">
      <p>
        <b class="number">{showBytes(plan.total)}</b>{" "}
        <span class="quiet">of about {showBytes(plan.budget)} that training may use on this device</span>
      </p>
      <div class={plan.fits ? "memory-bar" : "memory-bar over"} aria-hidden="true">
        {PARTS.map(([key, , colour]) => (
          <span
            key={key}
            style={{ width: `${100 * plan[key] / whole}%`, background: `var(${colour})` }}
          />
        ))}
      </div>
      <ul class="memory-parts">
        {PARTS.filter(([key]) => plan[key] > 0).map(([key, name, colour]) => (
          <li key={key} style={{ "--key": `var(${colour})` }}>
            {name} <span class="number">{showBytes(plan[key])}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Memory in use now, against the budget. */
export function MemoryNow(props: { bytes: number; peak: number; budget: number | null }): JSX.Element {
  const { bytes, peak, budget } = props;
  const whole = Math.max(budget ?? peak, peak, 1);
  return (
    <div class="memory">
      <p>
        <b class="number">{showBytes(bytes)}</b>{" "}
        <span class="quiet">
          in use, {showBytes(peak)} at most{budget === null ? "" : `, of about ${showBytes(budget)}`}
        </span>
      </p>
      <div class="memory-bar" aria-hidden="true">
        <span style={{ width: `${100 * bytes / whole}%`, background: "var(--part-1)" }} />
        <span style={{ width: `${100 * Math.max(0, peak - bytes) / whole}%`, background: "var(--part-2)" }} />
      </div>
    </div>
  );
}

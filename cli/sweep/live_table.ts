/**
 * A sweep's table in the terminal: drawn again in its place as trials go on, or a line for each that ends elsewhere.
 * @module
 */

import type { ControllerEvents, TrialStatus } from "./controller.ts";
import { tableText } from "./results.ts";
import type { SweepPlan } from "./sweep_file.ts";

/** Milliseconds between two drawings. */
const DRAW_MS = 500;

/** Tells how a sweep stands. */
export class LiveTable implements ControllerEvents {
  readonly #plan: SweepPlan;
  readonly #isTerminal: boolean;
  readonly #log = console.log;
  /** Lines of the table that is on the screen. */
  #lines = 0;
  #drawn = 0;
  /** What was said of each trial's state. */
  readonly #told = new Map<number, string>();

  /** @param isTerminal whether the table is drawn */
  constructor(plan: SweepPlan, isTerminal: boolean) {
    this.#plan = plan;
    this.#isTerminal = isTerminal;
  }

  /**
   * Takes what trials in this process print, so that it does not fall into the table; the same line once.
   * @returns what ends that
   */
  capture(): () => void {
    if (!this.#isTerminal) return () => {};
    const said = new Set<string>();
    console.log = (line: unknown = "") => {
      if (said.has(String(line))) return;
      said.add(String(line));
      this.say(String(line));
    };
    return () => void (console.log = this.#log);
  }

  #clear(): void {
    if (this.#lines > 0) Deno.stdout.writeSync(new TextEncoder().encode(`\x1b[${this.#lines}A\x1b[J`));
    this.#lines = 0;
  }

  /** The table as far as the screen has room for it. */
  #draw(trials: readonly TrialStatus[]): void {
    const { rows, columns } = Deno.consoleSize();
    const lines = tableText(this.#plan, trials).split("\n").map((line) => line.slice(0, columns - 1));
    const shown = lines.slice(0, Math.max(2, rows - 2));
    this.#clear();
    this.#log(shown.join("\n"));
    this.#lines = shown.length;
  }

  changed(trials: readonly TrialStatus[]): void {
    if (this.#isTerminal) {
      if (Date.now() - this.#drawn < DRAW_MS) return;
      this.#drawn = Date.now();
      return this.#draw(trials);
    }
    for (const { trial, state, step, measure, result } of trials) {
      const said = `${state} ${result?.steps ?? ""}`;
      const isNews = state !== "waiting" && state !== "running" && this.#told.get(trial.id) !== said;
      if (!isNews) continue;
      this.#told.set(trial.id, said);
      const found = result?.error ?? `${this.#plan.metric.name} ${measure}`;
      this.#log(`trial ${trial.id} ${JSON.stringify(trial.choice)}: ${state} at step ${step}, ${found}`);
    }
  }

  say(line: string): void {
    this.#clear();
    this.#log(line);
  }

  /** The whole table, once. */
  end(trials: readonly TrialStatus[]): void {
    this.#clear();
    this.#log(tableText(this.#plan, trials));
  }
}

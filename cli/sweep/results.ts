/**
 * What a sweep leaves: a table, a file of all results, a page with all curves, and the best adapter.
 * @module
 */

import { join } from "@std/path";
import { type ObjectStore, readObject } from "@peft/webgpu/distributed";
import { diskStore, updateCard } from "@peft/webgpu/io";
import { writeTrainingCard } from "@peft/webgpu/train";
import type { Series } from "../report/chart.ts";
import { escape, figure, htmlPage, table } from "../report/html.ts";
import type { BegunSweep, TrialStatus } from "./controller.ts";
import { type Curves, readCurves } from "../../jobs/sweep/protocol.ts";
import { ranked } from "./search.ts";
import type { SweepPlan } from "./sweep_file.ts";
import { TrialStore } from "../../jobs/trial_store.ts";

/** Names of files in a sweep's folder. */
export const SWEEP_FILE = "sweep.json";
export const SWEEP_REPORT = "report.html";
const CARD_FILE = "README.md";

/** Bytes of a trial's curves that are read at most. */
const MAX_CURVES = 64 * 2 ** 20;
/** Curves that are named in a chart: the best trials'. */
const NAMED = 5;

const measured = ({ measure }: TrialStatus) =>
  measure === null || !Number.isFinite(measure) ? "" : measure.toPrecision(5);

/** A parameter's value as it was given. */
const shown = (value: unknown) => typeof value === "object" ? JSON.stringify(value) : String(value);

/** Columns of a sweep's table: parameters, and how each trial stands; the best first. */
export function rowsOf(
  plan: SweepPlan,
  trials: readonly TrialStatus[],
): { head: string[]; rows: string[][] } {
  const names = Object.keys(plan.trials[0].choice);
  // a trial that was trained for longer comes before those that ended early
  const bySteps = [...Map.groupBy(trials, ({ state, step }) => state === "ended early" ? step : Infinity)];
  const order = bySteps.sort(([a], [b]) => b === a ? 0 : b - a).flatMap(([, group]) =>
    ranked(new Map(group.map(({ trial, measure }) => [trial.id, measure])), plan.metric.goal)
  );
  return {
    head: ["trial", ...names, "state", "step", plan.metric.name, "worker"],
    rows: order.map((id) => {
      const status = trials[id];
      const { trial, state, step, maxSteps, worker } = status;
      return [
        String(id),
        ...names.map((name) => shown(trial.choice[name])),
        state,
        step === 0 ? "" : maxSteps === null || state !== "running" ? String(step) : `${step} of ${maxSteps}`,
        state === "running" || state === "waiting" ? "" : measured(status),
        worker ?? "",
      ];
    }),
  };
}

/** The table as text. */
export function tableText(plan: SweepPlan, trials: readonly TrialStatus[]): string {
  const { head, rows } = rowsOf(plan, trials);
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  ").trimEnd()).join("\n");
}

/** The curves of every trial that has some. */
async function curvesOf(store: ObjectStore, trials: readonly TrialStatus[]): Promise<Map<number, Curves>> {
  const found = new Map<number, Curves>();
  for (const { trial } of trials) {
    const bytes = await readObject(store, new TrialStore(store, trial.id).curvesObject, MAX_CURVES);
    if (bytes) found.set(trial.id, readCurves(new TextDecoder().decode(bytes)));
  }
  return found;
}

/** Colours of curves, by a trial's rank: the best one's is red, those of the others go from blue to violet. */
const colourOf = (rank: number, count: number) =>
  rank === 0 ? "var(--held-out)" : `hsl(${Math.round(195 + 100 * rank / Math.max(1, count - 1))} 50% 55%)`;

/** Fields whose charts are as wide as the page. */
const WIDE = ["loss", "evalLoss"];

/** Charts of every number that was logged more than once. */
function charts(curves: ReadonlyMap<number, Curves>, order: readonly number[]): string[] {
  const names = new Set([...curves.values()].flatMap((one) => Object.keys(one)));
  const drawn = [...names].filter((name) => [...curves.values()].some((one) => (one[name]?.length ?? 0) > 1));
  const draw = (name: string) => {
    const series = order.flatMap((trial, rank): Series[] => {
      const points = curves.get(trial)?.[name];
      if (!points) return [];
      return [{
        name: rank < NAMED ? `${trial}` : "",
        colour: colourOf(rank, order.length),
        points: points.map(([step, value]) => ({ step, value })),
        dots: points.length < 4,
      }];
    });
    const size = WIDE.includes(name) ? { width: 940, height: 340 } : {};
    return figure({ title: `${name} by trial`, unit: "", series: series.reverse(), ...size }); // the best on top
  };
  const isWide = (name: string) => WIDE.includes(name);
  return [
    ...WIDE.filter((name) => drawn.includes(name)).map(draw),
    `<div class="charts">`,
    ...drawn.filter((name) => !isWide(name)).map(draw),
    `</div>`,
  ];
}

/** The text of a folder's model card; null where it has none. */
async function cardOf(output: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(join(output, CARD_FILE));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Fetches what a trial trained into a folder, whose README.md keeps its text. */
async function fetchBest(store: TrialStore, output: string): Promise<void> {
  const own = await cardOf(output);
  await store.fetchTrained(diskStore(output));
  const fresh = await cardOf(output);
  if (own === null || fresh === null || fresh === own) return;
  await Deno.writeTextFile(join(output, CARD_FILE), updateCard(own, fresh));
}

/** Writes all that a sweep leaves into a folder. */
export async function writeResults(
  sweep: BegunSweep,
  trials: readonly TrialStatus[],
  best: TrialStatus,
  output: string,
): Promise<void> {
  const { plan, record, places } = sweep;
  await fetchBest(new TrialStore(places.store, best.trial.id), output);
  const curves = await curvesOf(places.store, trials);
  const { head, rows } = rowsOf(plan, trials);
  const order = rows.map(([id]) => Number(id));
  const results = {
    ...{
      name: plan.name,
      version: record.version,
      method: plan.method,
      metric: plan.metric,
      model: plan.model,
    },
    ...{ base: record.base, best: best.trial.id, begun: new Date(record.begun).toISOString() },
    trials: trials.map(({ trial, state, step, measure, result }) => ({
      ...{ trial: trial.id, choice: trial.choice, state, step, measure, metrics: result?.metrics ?? {} },
      ...{ error: result?.error ?? null, worker: result?.worker ?? null, starts: result?.starts ?? 0 },
      ...{ seconds: result?.seconds ?? 0, curves: curves.get(trial.id) ?? {} },
    })),
  };
  await Deno.writeTextFile(join(output, SWEEP_FILE), `${JSON.stringify(results, null, 2)}\n`);
  const cells = (row: readonly string[], tag: string) =>
    `<tr>${row.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join("")}</tr>`;
  const failed = trials.filter(({ result }) => result?.error);
  const given = Object.entries(plan.trials[0].given).filter(([name]) => !(name in plan.trials[0].choice));
  await Deno.writeTextFile(
    join(output, SWEEP_REPORT),
    htmlPage(`Sweep: ${plan.name}`, [
      `<h1>Sweep: ${escape(plan.name)}</h1>`,
      `<p class="note">${escape(plan.method)}, ${trials.length} trials; best is ${best.trial.id} with ${
        escape(plan.metric.name)
      } ${escape(measured(best))}</p>`,
      `<table>${cells(head, "th")}${rows.map((row) => cells(row, "td")).join("\n")}</table>`,
      `<h2>Curves</h2><p class="note">The best trial is red; numbers at the ends are those of the ${NAMED} best.</p>`,
      ...charts(curves, order),
      ...failed.length > 0
        ? [`<h2>Failed</h2>`, table(failed.map(({ trial, result }) => [`trial ${trial.id}`, result!.error]))]
        : [],
      `<h2>Settings of all trials</h2>`,
      table([["model", plan.model], ["data", plan.data], ["held out", plan.evalData ?? ""], ...given]),
    ]),
  );
  await writeTrainingCard(output, {
    data: plan.data,
    summary: `${plan.model} trained with @peft/webgpu.`,
    rows: [
      ["base model", plan.model],
      ["sweep", `trial ${best.trial.id} of ${trials.length}, ${plan.method}`],
      ...Object.entries(best.trial.given).map(([name, value]) => [name, String(value)] as const),
      ["steps", best.step],
      [plan.metric.name, measured(best)],
    ],
  });
}

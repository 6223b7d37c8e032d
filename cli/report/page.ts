/**
 * A run log as one HTML page that needs nothing else: curves, samples, the example, settings, environment.
 * @module
 */

import type { RunEvent } from "@peft/webgpu/train";
import type { Chart, Point } from "./chart.ts";
import { escape, figure, htmlPage, isNumber, show, table } from "./html.ts";

/** Points of a field over events of a kind. */
function points(events: readonly RunEvent[], kind: string, field: string, scale = 1): Point[] {
  return events.filter(({ event, ...fields }) => event === kind && isNumber((fields as RunEvent)[field]))
    .map((event) => ({ step: event.step, value: event[field] as number * scale }));
}

/** Fields with charts of their own, or none. */
const KNOWN = new Set([
  ...["step", "time", "epoch", "tokens", "seconds", "loss", "gradNorm", "learningRate", "tokensPerSecond"],
  ...["deviceBytes", "peakBytes", "evalLoss", "evalRuntime", "evalTokens", "perplexity", "event"],
]);

/** `evalRewards/chosen` and `rewards/chosen` are curves of one chart. */
const plainName = (name: string) =>
  name.startsWith("eval") && name.length > 4 ? name.slice(4, 5).toLowerCase() + name.slice(5) : name;

/** Every chart of a log that has points. */
function charts(events: readonly RunEvent[]): Chart[] {
  const one = (
    title: string,
    unit: string,
    training: Point[],
    heldOut: Point[] = [],
    fromZero = true,
  ): Chart => ({
    ...{ title, unit, fromZero },
    series: [
      { name: "training", colour: "var(--training)", points: training },
      { name: "held out", colour: "var(--held-out)", points: heldOut, dots: true },
    ],
  });
  const names = new Set(
    events.filter(({ event }) => event === "log" || event === "evaluate").flatMap((event) =>
      Object.keys(event).filter((name) => !KNOWN.has(name) && isNumber(event[name])).map(plainName)
    ),
  );
  const evalName = (name: string) => `eval${name[0].toUpperCase()}${name.slice(1)}`;
  return [
    {
      ...one("Loss", "nats per token", points(events, "log", "loss"), points(events, "evaluate", "evalLoss")),
      ...{ width: 940, height: 340 },
    },
    one("Learning rate", "", points(events, "log", "learningRate")),
    one("Gradient norm", "before clipping", points(events, "log", "gradNorm")),
    one("Speed", "tokens/s", points(events, "log", "tokensPerSecond")),
    {
      ...{ title: "Device memory", unit: "MB", fromZero: true },
      series: [
        { name: "in use", colour: "var(--training)", points: points(events, "log", "deviceBytes", 1e-6) },
        { name: "peak", colour: "var(--held-out)", points: points(events, "log", "peakBytes", 1e-6) },
      ],
    },
    ...[...names].map((name) =>
      one(name, "", points(events, "log", name), points(events, "evaluate", evalName(name)), false)
    ),
  ].filter(({ series }) => series.some(({ points }) => points.some(({ value }) => Number.isFinite(value))));
}

/** Tokens on a ground that is the redder the more they cost: white at 0, full at 6 nats. */
function colouredTokens(tokens: readonly { text: string; loss: number | null }[]): string {
  return tokens.map(({ text, loss }) =>
    loss === null
      ? escape(text)
      : `<span title="${loss.toFixed(3)} nats" style="background: rgb(220 60 40 / ${
        Math.min(0.75, Math.max(0, loss) / 8).toFixed(3)
      })">${escape(text)}</span>`
  ).join("");
}

interface Sample extends RunEvent {
  readonly prompt?: string;
  readonly text?: string;
  readonly tokens?: readonly { text: string; loss: number | null }[];
}

/** Samples by what they answer, oldest first. */
function samples(events: readonly RunEvent[]): string {
  const all = events.filter(({ event }) => event === "sample") as Sample[];
  if (all.length === 0) return "";
  const groups = Map.groupBy(all, ({ prompt, tokens }) => tokens ? "" : prompt ?? "");
  const parts = [...groups].map(([prompt, group]) => {
    const title = prompt === ""
      ? `<p class="note">A held-out example; each token's ground is the redder the more nats it costs.</p>`
      : `<p><b>${escape(prompt)}</b></p>`;
    return title +
      group.map(({ step, text = "", tokens }) =>
        `<div class="note">step ${step}</div><pre>${tokens ? colouredTokens(tokens) : escape(text)}</pre>`
      ).join("");
  });
  return `<h2>Samples</h2>${parts.join("")}`;
}

const FIGURES: readonly (readonly [field: string, name: string])[] = [
  ["loss", "last training loss"],
  ["trainLoss", "mean training loss"],
  ["evalLoss", "held-out loss"],
  ["perplexity", "perplexity"],
  ["meanTokenAccuracy", "token accuracy in training"],
  ["evalMeanTokenAccuracy", "held-out token accuracy"],
];

/** The page of a log. */
export function reportPage(events: readonly RunEvent[], title: string): string {
  const begin = events.findLast(({ event }) => event === "begin" || event === "resume");
  const last = events.at(-1);
  const end = events.findLast(({ event }) => event === "end" || event === "begin" || event === "resume");
  const isDone = end?.event === "end";
  const latest = (field: string) => events.findLast((event) => isNumber(event[field]))?.[field];
  const { event: _event, time: _time, step: _step, example, arguments: settings, environment, ...about } =
    (begin ?? {}) as RunEvent & Record<string, unknown>;
  const figures = [
    ...FIGURES.map(([field, name]) => [name, latest(field)] as const),
    ["steps", last?.step] as const,
    ["tokens", latest("tokens")] as const,
    [
      "peak memory, MB",
      isNumber(latest("peakBytes")) ? Math.round(latest("peakBytes") as number / 1e6) : undefined,
    ] as const,
  ].filter(([, value]) => value !== undefined);
  const state = isDone
    ? `finished ${new Date(end.time).toISOString().slice(0, 16).replace("T", " ")} UTC`
    : "not finished";
  const pieces = example as readonly { text: string; learned: boolean }[] | undefined;
  return htmlPage(title, [
    `<h1>${escape(title)}</h1><p class="note">${escape(state)}, step ${last?.step ?? 0} of ${
      escape(begin?.maxSteps ?? "?")
    }</p>`,
    `<div class="figures">${
      figures.map(([name, value]) => `<div><b>${escape(show(value))}</b><span>${escape(name)}</span></div>`)
        .join("")
    }</div>`,
    `<div class="charts">`,
    ...charts(events).map((chart, i) =>
      i === 0 ? `</div>${figure(chart)}<div class="charts">` : figure(chart)
    ),
    `</div>`,
    samples(events),
    pieces
      ? `<h2>One example</h2><p class="note">What is learned is marked.</p><pre>${
        pieces.map(({ text, learned }) => learned ? `<mark>${escape(text)}</mark>` : escape(text)).join("")
      }</pre>`
      : "",
    `<h2>Settings</h2>${table(Object.entries(about).filter(([, value]) => value !== null))}`,
    `<details><summary>Training arguments</summary>${
      table(Object.entries((settings ?? {}) as object))
    }</details>`,
    `<h2>Environment</h2>${table(Object.entries((environment ?? {}) as object))}`,
  ]);
}

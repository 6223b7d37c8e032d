/**
 * A loss curve as an SVG file, without a browser.
 * @module
 */

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

/** One point of a curve. */
export interface LossPoint {
  /** Optimizer step. */
  readonly step: number;
  /** Loss at that step. */
  readonly loss: number;
  /** Name of the curve. */
  readonly series: string;
}

/** The SVG text of one or more curves. */
export function lossCurve(points: readonly LossPoint[], title: string): string {
  const { document } = parseHTML("<html><body></body></html>");
  const last = (point: LossPoint) =>
    points.every((other) => other.series !== point.series || other.step <= point.step);
  const channels = { x: "step", y: "loss" } as const;
  const figure = Plot.plot({
    document,
    width: 720,
    height: 420,
    marginLeft: 50,
    marginRight: 80,
    marginTop: 50,
    marginBottom: 40,
    grid: true,
    color: { domain: ["training", "held out"], range: ["#3b6fb6", "#c2553a"] },
    x: { label: "optimizer step" },
    y: {
      label: "loss (nats per token)",
      domain: [0, Math.max(...points.map(({ loss }) => loss))],
      nice: true,
    },
    marks: [
      Plot.ruleY([0]),
      Plot.lineY(points, { ...channels, stroke: "series", strokeWidth: 2 }),
      Plot.dot(points.filter(({ series }) => series === "held out"), { ...channels, fill: "series" }),
      // The labels of two curves that end close to each other make room: the upper one moves up.
      ...points.filter(last).sort((a, b) => b.loss - a.loss).map((point, place, { length }) =>
        Plot.text([point], {
          ...channels,
          text: "series",
          fill: "series",
          dx: 8,
          dy: length === 1 ? 0 : place === 0 ? -8 : 8,
          textAnchor: "start",
          fontWeight: "bold",
        })
      ),
      Plot.text([title], { frameAnchor: "top", dy: -40, fontSize: 16, fontWeight: "bold" }),
    ],
  }) as unknown as { outerHTML: string; querySelector(selector: string): { outerHTML: string } | null };
  const svg = figure.outerHTML.startsWith("<svg") ? figure.outerHTML : figure.querySelector("svg")!.outerHTML;
  const xmlns = svg.includes("xmlns=") ? "" : ` xmlns="http://www.w3.org/2000/svg"`;
  return svg.replace("<svg", `<svg${xmlns} style="background: white"`) + "\n";
}

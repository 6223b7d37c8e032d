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
  const figure = Plot.plot({
    document,
    width: 720,
    height: 400,
    marginLeft: 50,
    title,
    grid: true,
    color: { legend: false, domain: ["training", "held out"], range: ["#3b6fb6", "#c2553a"] },
    x: { label: "step" },
    y: { label: "loss" },
    marks: [
      Plot.lineY(points, { x: "step", y: "loss", stroke: "series", strokeWidth: 2 }),
      Plot.dot(points.filter((point) => point.series === "held out"), {
        x: "step",
        y: "loss",
        fill: "series",
      }),
      Plot.text(points.filter((p, i) => points.findLastIndex((q) => q.series === p.series) === i), {
        x: "step",
        y: "loss",
        text: "series",
        dx: -4,
        dy: -10,
        textAnchor: "end",
      }),
    ],
  }) as unknown as { outerHTML: string; querySelector(selector: string): { outerHTML: string } | null };
  const svg = figure.outerHTML.startsWith("<svg") ? figure.outerHTML : figure.querySelector("svg")!.outerHTML;
  const xmlns = svg.includes("xmlns=") ? "" : ` xmlns="http://www.w3.org/2000/svg"`;
  return svg.replace("<svg", `<svg${xmlns} style="background: white"`) + "\n";
}

/**
 * Line charts as SVG, drawn without a browser, in colours that a page's style sheet gives.
 * @module
 */

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

/** A point of a curve. */
export interface Point {
  /** Optimizer step. */
  readonly step: number;
  /** Height. */
  readonly value: number;
}

/** A curve. */
export interface Series {
  /** What stands at its end. */
  readonly name: string;
  /** A CSS colour. */
  readonly colour: string;
  readonly points: readonly Point[];
  /** Points are marked where there are few. */
  readonly dots?: boolean;
}

/** What a chart shows. */
export interface Chart {
  readonly title: string;
  /** Name and unit of the vertical axis. */
  readonly unit: string;
  readonly series: readonly Series[];
  /** Whether the axis begins at 0. */
  readonly fromZero?: boolean;
  readonly width?: number;
  readonly height?: number;
}

/** Points with heights; a curve is broken by none of them. */
const finite = (points: readonly Point[]) => points.filter(({ value }) => Number.isFinite(value));

/** The SVG of a chart; its title is the figure's caption. */
export function drawChart({ title, unit, series, fromZero, width = 460, height = 260 }: Chart): string {
  const { document } = parseHTML("<html><body></body></html>");
  const all = series.map((one) => ({ ...one, points: finite(one.points) })).filter(({ points }) =>
    points.length > 0
  );
  const values = all.flatMap(({ points }) => points.map(({ value }) => value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high === low ? Math.abs(high) * 0.1 || 1 : 0;
  const ends = all.map((one) => ({ ...one, end: one.points.at(-1)! })).sort((a, b) =>
    b.end.value - a.end.value
  );
  const figure = Plot.plot({
    document,
    width,
    height,
    marginLeft: 58,
    marginRight: all.length > 1 ? 70 : 20,
    marginTop: 24,
    marginBottom: 36,
    grid: true,
    x: { label: "step" },
    y: {
      label: unit || null,
      domain: [fromZero ? Math.min(0, low) : low - room, high + room],
      nice: true,
      tickFormat: Math.abs(high) >= 1e5 || (high !== 0 && Math.abs(high) < 1e-2) ? ".1e" : undefined,
      ticks: 5,
    },
    marks: [
      ...all.map(({ points, colour }) =>
        Plot.lineY(points, { x: "step", y: "value", stroke: colour, strokeWidth: 1.8 })
      ),
      ...all.filter(({ dots, points }) => dots || points.length === 1).map(({ points, colour }) =>
        Plot.dot(points, { x: "step", y: "value", fill: colour, r: 2.5 })
      ),
      ...(all.length > 1 ? ends : []).map(({ end, name, colour }, place) =>
        Plot.text([end], {
          ...{ x: "step", y: "value", fill: colour, dx: 7, textAnchor: "start", fontWeight: "bold" },
          dy: place === 0 ? -7 : 7,
          text: () => name,
        })
      ),
    ],
  }) as unknown as { outerHTML: string; querySelector(selector: string): { outerHTML: string } | null };
  const svg = figure.outerHTML.startsWith("<svg") ? figure.outerHTML : figure.querySelector("svg")!.outerHTML;
  return svg.replace("<svg", `<svg role="img" aria-label="${title.replaceAll(/[<>&"]/g, " ")}"`);
}

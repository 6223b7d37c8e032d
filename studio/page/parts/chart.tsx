/**
 * A line chart with axes and units, drawn by uPlot.
 * @module
 */
import type { JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { type Signal, signal } from "@preact/signals";
import type uPlot from "uplot";
import { showNumber } from "../format.ts";
import { scheme } from "../theme.ts";

/** A curve: heights by place on the x axis; null where it has none. */
export interface Curve {
  readonly name: string;
  /** A custom property of the style sheet. */
  readonly colour: `--${string}`;
  readonly values: readonly (number | null)[];
  /** Marked points that are far apart, joined. */
  readonly isSparse?: boolean;
  /** Bars from 0. */
  readonly isBars?: boolean;
}

/** What a chart shows. */
export interface ChartProps {
  readonly title: string;
  /** Of the x axis, such as `step`. */
  readonly xLabel: string;
  /** Of the y axis. */
  readonly unit: string;
  readonly x: readonly number[];
  readonly curves: readonly Curve[];
  /** Where the x axis ends; default at the last place. */
  readonly xEnd?: number;
  /** CSS pixels. */
  readonly height: number;
  /** Said beneath the title. */
  readonly note?: string;
}

const property = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Pixels between the left edge and the axis: the same at all values, so that nothing moves. */
const AXIS_WIDTH = 78;

/** Distances between ticks of steps, tokens and counts, which are whole. */
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

type Plot = typeof uPlot;

/** uPlot, loaded when the first chart is shown: a first visit shows none. */
let loading: Promise<Plot> | null = null;
const loadPlot = () => loading ??= import("uplot").then((module) => module.default);

function options(
  Plot: Plot,
  props: ChartProps,
  width: number,
  place: Signal<number | null>,
): uPlot.Options {
  const isEmpty = props.x.length === 0;
  const countsAlone = props.curves.every(({ isBars }) => isBars);
  const axis = {
    stroke: property("--quiet"),
    font: "13px Figtree, system-ui, sans-serif",
    labelFont: "13px Figtree, system-ui, sans-serif",
    grid: { stroke: property("--line"), width: 1 },
    ticks: { show: false },
    labelSize: 20,
  } satisfies uPlot.Axis;
  return {
    width,
    height: props.height,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 7 }, y: false },
    scales: { x: { time: false, ...xRange(props) }, y: { range: (_, low, high) => yRange(low, high) } },
    axes: [
      {
        ...axis,
        label: props.xLabel,
        size: 28,
        grid: { show: false },
        incrs: WHOLE,
      },
      {
        ...axis,
        label: props.unit,
        size: AXIS_WIDTH - 20,
        space: 40,
        ...(countsAlone ? { incrs: WHOLE } : {}),
        values: (_, ticks) => ticks.map((tick) => isEmpty ? "" : showNumber(tick)),
      },
    ],
    series: [
      {},
      ...props.curves.map(({ name, colour, isSparse, isBars }): uPlot.Series => ({
        label: name,
        stroke: property(colour),
        width: isBars ? 0 : 2,
        spanGaps: true,
        points: { show: isSparse ?? false, size: 7, fill: property(colour) },
        ...(isBars
          ? { fill: property(colour), paths: Plot.paths.bars!({ size: [0.94, Infinity], radius: 0.06 }) }
          : {}),
      })),
    ],
    hooks: { setCursor: [(chart) => place.value = chart.cursor.idx ?? null] },
  };
}

/** Up to a known end, so that nothing moves as curves grow; bars reach half a place beyond their middles. */
function xRange({ x, xEnd, curves }: ChartProps): uPlot.Scale {
  if (xEnd !== undefined) return { range: [0, xEnd] };
  if (!curves.some(({ isBars }) => isBars) || x.length === 0) return {};
  const half = x.length > 1 ? (x[1] - x[0]) / 2 : 0.5;
  return { range: [x[0] - half, x.at(-1)! + half] };
}

/** From 0, or from the lowest value where that is below; some room above. */
function yRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  const top = high > 0 ? high * 1.06 : 1;
  return [Math.min(0, low), top];
}

/** The newest height of a curve. */
const last = ({ values }: Curve): number | null => values.findLast((value) => value !== null) ?? null;

/** What the chart shows, for those who do not see it. */
function describe({ title, unit, curves }: ChartProps): string {
  const said = curves.map((curve) => {
    const numbers = curve.values.filter((value) => value !== null);
    if (numbers.length === 0) return `${curve.name}: nothing yet`;
    return `${curve.name}: from ${showNumber(numbers[0])} to ${showNumber(numbers.at(-1)!)} ${unit}`;
  });
  return `${title}. ${said.join("; ")}`;
}

/** Names of the curves with their newest values, or those under the pointer. */
function Legend({ props, place }: { props: ChartProps; place: Signal<number | null> }): JSX.Element {
  const at = place.value;
  return (
    <p class="chart-legend">
      {props.curves.map((curve) => {
        const value = at === null ? last(curve) : curve.values[at] ?? null;
        return (
          <span key={curve.name} style={{ "--key": `var(${curve.colour})` }}>
            {curve.name} <b class="number">{value === null ? "–" : showNumber(value)}</b>
          </span>
        );
      })}
      <span class="quiet number">{at === null ? "" : `${props.xLabel} ${props.x[at]}`}</span>
    </p>
  );
}

const waiting: (() => unknown)[] = [];

/**
 * Draws charts one per frame: several at once would hold the page up. What waits already keeps its turn.
 * @returns takes it back
 */
function drawInTurn(draw: () => unknown): () => void {
  const next = () => {
    waiting.shift()?.();
    if (waiting.length > 0) requestAnimationFrame(next);
  };
  if (!waiting.includes(draw) && waiting.push(draw) === 1) requestAnimationFrame(next);
  return () => {
    const place = waiting.indexOf(draw);
    if (place > 0) waiting.splice(place, 1);
    else if (place === 0) waiting[0] = () => {}; // a frame is on its way to it
  };
}

/** A chart, as wide as its place. */
export function Chart(props: ChartProps): JSX.Element {
  const id = useId();
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const place = useRef(signal<number | null>(null)).current;
  const isEmpty = props.x.length === 0;
  const data = (isEmpty
    ? [[0], ...props.curves.map(() => [null])] // with no place at all there would be no axes
    : [props.x, ...props.curves.map(({ values }) => values)]) as unknown as uPlot.AlignedData;
  const shown = useRef({ props, data });
  const shape = `${scheme.value} ${props.title} ${
    props.curves.map(({ name }) => name)
  } ${props.xEnd} ${isEmpty}`;

  useEffect(() => {
    const element = host.current!;
    let takeBack = () => {};
    let isGone = false;
    loadPlot().then((Plot) => {
      if (isGone) return;
      takeBack = drawInTurn(() => {
        const { props, data } = shown.current;
        chart.current = new Plot(options(Plot, props, element.clientWidth, place), data, element);
        observer.observe(element);
      });
    });
    const observer = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== chart.current?.width) {
        chart.current?.setSize({ width, height: props.height });
      }
    });
    return () => {
      isGone = true;
      takeBack();
      observer.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [shape]);
  const redraw = useRef(() => chart.current?.setData(shown.current.data)).current;
  useEffect(() => {
    shown.current = { props, data };
    if (chart.current) drawInTurn(redraw);
  });

  return (
    <figure class="chart">
      <figcaption id={id}>{props.title}</figcaption>
      {props.note && <p class="quiet">{props.note}</p>}
      <Legend props={props} place={place} />
      <div ref={host} style={{ height: `${props.height}px` }} role="img" aria-label={describe(props)} />
    </figure>
  );
}

/**
 * What reports are made of: a page that needs nothing else, its figures and tables.
 * @module
 */

import { type Chart, drawChart } from "./chart.ts";

const STYLE = `
:root { color-scheme: light dark; --training: #2f6db5; --held-out: #c2553a; --faint: #8884; --learned: #2a9d5c44; --text: #1d1f23; --back: #fff; }
@media (prefers-color-scheme: dark) { :root { --training: #79b4f2; --held-out: #f0997f; --learned: #3fbf7a55; --text: #e6e6e6; --back: #16181c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.note { opacity: .75; margin-top: .2rem; }
.figures { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.figures div { border: 1px solid var(--faint); border-radius: 6px; padding: .4rem .8rem; }
.figures b { display: block; font-size: 1.15rem; } .figures span { opacity: .75; font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 1rem; }
figure { margin: 0; break-inside: avoid; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; background: transparent; color: inherit; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--faint); border-radius: 6px; padding: .6rem .8rem; margin: .3rem 0 1rem; break-inside: avoid; }
mark { background: var(--learned); color: inherit; border-radius: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--faint); }
@media print { body { max-width: none; margin: 0; } .charts { grid-template-columns: 1fr 1fr; } details { display: none; } mark, pre span { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`;

/** Text as HTML. */
export const escape = (text: unknown) =>
  String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll(
    '"',
    "&quot;",
  );

/** Whether a value is a number. */
export const isNumber = (value: unknown): value is number => typeof value === "number";

/** A value for a reader. */
export function show(value: unknown): string {
  if (!isNumber(value)) {
    return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  }
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6 ? value.toExponential(2) : value.toPrecision(5);
}

/** A chart with its title. */
export function figure(chart: Chart): string {
  return `<figure><figcaption>${escape(chart.title)}</figcaption>${drawChart(chart)}</figure>`;
}

/** Rows of names and values. */
export function table(rows: readonly (readonly [string, unknown])[]): string {
  const lines = rows.map(([name, value]) =>
    `<tr><th>${escape(name)}</th><td>${escape(show(value))}</td></tr>`
  );
  return `<table>${lines.join("\n")}</table>`;
}

/** A whole page. @param body lines of HTML */
export function htmlPage(title: string, body: readonly string[]): string {
  return [
    `<!doctype html><html lang="en"><head><meta charset="utf-8">`,
    `<meta name="viewport" content="width=device-width, initial-scale=1"><title>${escape(title)}</title>`,
    `<style>${STYLE}</style></head><body>`,
    ...body,
    `</body></html>`,
  ].join("\n");
}

/**
 * Attention where the threads of a workgroup are one subgroup, for software adapters: the workgroup owns a block of rows
 * (queries, or keys in `backwardKeyValue`). For scores each thread has two columns of a step of its own, and the rows are
 * loaded once for all threads; for results each thread has some of the head's channels, kept in registers, and takes the
 * weights from the threads that made them. So a load serves a whole block. Four channels
 * are read at once; there is no dropout, whose draws belong to keys in fours.
 * @module
 */
import { type AttentionKernelOptions, range } from "./attention_options.ts";
import { queryHeads } from "./attention_places.ts";
import type { AttentionBodies } from "./attention_program.ts";
import { endOfDocuments, firstKey, lastQuery, queryStart, shownKey, skips } from "./attention_seen.ts";
import {
  channel,
  channelGroups,
  columnOf,
  COLUMNS,
  fours,
  grow,
  grown,
  ofRow,
  overThreads,
  type Pair,
  rowPlaces,
  scores,
} from "./attention_subgroup_loops.ts";

/** Most groups of four channels that a thread has: more take long to compile. */
const MOST_GROUPS = 4;

/** Whether a head size can be divided among the threads. */
export function fitsSubgroup(headSize: number, threads: number): boolean {
  return headSize % (4 * threads) === 0 && headSize <= 4 * threads * MOST_GROUPS;
}

function queryRows(options: AttentionKernelOptions): string[] {
  return range(options.rows).flatMap((r) => [
    `  let i${r} = min(first + ${r}u, params.Tq - 1u);`,
    ...(options.documents ? [queryStart(r)] : []),
  ]);
}

/** A step's first keys, where each thread's lie, and `valid<r>_<e>`: which of them a query sees. */
function keyColumns(options: AttentionKernelOptions): { open: string[]; valid: string[] } {
  const { threads = 0, rows, windowed, documents, mask } = options;
  const step = COLUMNS * threads;
  const open = [
    `  let limit = min(params.past + first + ${rows}u, params.Tk);`,
    `  for (var j = ${skips(options) ? firstKey(options, step) : "0u"}; j < limit; j += ${step}u) {`,
    ...range(COLUMNS).flatMap((e) => [
      `    let j${e} = ${columnOf(options, "j", e)};`,
      `    let own${e} = min(j${e}, params.Tk - 1u);`,
    ]),
  ];
  const valid = range(COLUMNS).flatMap((e) => [
    ...(mask ? [`    let shown${e} = j${e} < params.Tk${shownKey(options, `own${e}`)};`] : []),
    ...range(rows).map((r) =>
      `    let valid${r}_${e} = j${e} <= params.past + i${r}` +
      (windowed ? ` && j${e} + params.window > params.past + i${r}` : "") +
      (documents ? ` && j${e} >= origin${r}` : "") + (mask ? ` && shown${e}` : "") + ";"
    ),
  ]);
  return { open, valid };
}

const keyAt = (head: string) => (e: number) => `${head} + own${e} * kvRow`;
const stepKeyAt = (head: string) => (n: string) => `${head} + min(j + ${n}, params.Tk - 1u) * kvRow`;
const queryAt = (head: string, row: string) => (r: string) =>
  `${head} + min(first + ${r}, params.Tq - 1u) * ${row}`;

function forwardBody(options: AttentionKernelOptions): string[] {
  const { rows, mask } = options;
  const pairs: Pair[] = [{
    sum: "s",
    rowBuffer: "q",
    row: queryAt("qHead", "qRow"),
    columnBuffer: "kv",
    column: keyAt("kHead"),
  }];
  const { open, valid } = keyColumns(options);
  const lines = [...queryRows(options), ...rowPlaces(options, pairs), ...grown(options, "o")];
  for (const g of fours(options)) {
    lines.push(`  var most_${g} = vec4f(-3.4028234e38);`, `  var sum_${g} = vec4f();`);
  }
  if (mask) lines.push("  var sees = 0u;");
  lines.push(...open, ...scores(options, pairs), ...valid);
  for (const r of range(rows)) {
    for (const e of range(COLUMNS)) lines.push(`    let t${r}_${e} = params.scale * s${r}_${e};`);
    const seen = range(COLUMNS).map((e) => `select(-3.4028234e38, t${r}_${e}, valid${r}_${e})`);
    lines.push(`    let peak${r} = max(${seen.join(", ")});`);
    if (mask) {
      const any = range(COLUMNS).map((e) => `valid${r}_${e}`).join(" || ");
      lines.push(`    sees |= select(0u, ${2 ** r}u, ${any});`);
    }
  }
  for (const g of fours(options)) {
    lines.push(`    let peak_${g} = vec4f(${range(4).map((t) => `peak${4 * g + t}`).join(", ")});`);
    const most = overThreads(options, `peak_${g}`, (a, b) => `max(${a}, ${b})`);
    lines.push(`    let next_${g} = max(most_${g}, ${most});`);
    lines.push(`    let shrink_${g} = exp(most_${g} - next_${g});`);
    lines.push(`    most_${g} = next_${g};`);
  }
  for (const r of range(rows)) {
    for (const e of range(COLUMNS)) {
      // A hidden key has weight 0 even where every key so far is hidden and `next` is -3.4e38.
      const weight = `exp(t${r}_${e} - ${ofRow("next", r)})`;
      lines.push(`    let p${r}_${e} = select(0.0, ${weight}, valid${r}_${e});`);
    }
  }
  for (const g of fours(options)) {
    const parts = range(COLUMNS).map((e) => `vec4f(${range(4).map((t) => `p${4 * g + t}_${e}`).join(", ")})`);
    lines.push(`    sum_${g} = sum_${g} * shrink_${g} + (${parts.join(" + ")});`);
  }
  for (const r of range(rows)) {
    for (const c of channelGroups(options)) lines.push(`    o${r}_${c} *= ${ofRow("shrink", r)};`);
  }
  lines.push(
    ...grow(options, [{ target: "o", weight: "p", buffer: "kv", column: stepKeyAt("vHead") }]),
    "  }",
  );
  for (const g of fours(options)) {
    lines.push(`  let total_${g} = ${overThreads(options, `sum_${g}`, (a, b) => `(${a} + ${b})`)};`);
  }
  if (mask) lines.push(`  let seesAny = ${overThreads(options, "sees", (a, b) => `${a} | ${b}`)};`);
  for (const r of range(rows)) {
    const sees = mask ? `(seesAny & ${2 ** r}u) != 0u` : "true";
    const total = ofRow("total", r);
    lines.push(`  if (first + ${r}u < params.Tq) {`);
    lines.push(`    let inverse = inverseOf(${total}, ${sees});`);
    for (const c of channelGroups(options)) {
      lines.push(`    o[oHead + i${r} * oRow + ${channel(options, c)}] = o${r}_${c} * inverse;`);
    }
    lines.push(
      `    if (lane == 0u) { stats[statHead + i${r}] = logSumOf(${ofRow("most", r)}, ${total}, ${sees}); }`,
      "  }",
    );
  }
  return lines;
}

function backwardQueryBody(options: AttentionKernelOptions): string[] {
  const { rows } = options;
  const pairs: Pair[] = [
    { sum: "s", rowBuffer: "q", row: queryAt("qHead", "qRow"), columnBuffer: "kv", column: keyAt("kHead") },
    { sum: "dp", rowBuffer: "dy", row: queryAt("oHead", "oRow"), columnBuffer: "kv", column: keyAt("vHead") },
  ];
  const { open, valid } = keyColumns(options);
  const lines = queryRows(options);
  for (const r of range(rows)) {
    const terms = channelGroups(options).map((c) => {
      const at = `[oHead + i${r} * oRow + ${channel(options, c)}]`;
      return `dot(dy${at}, o${at})`;
    });
    lines.push(`  let part${r} = ${terms.join(" + ")};`, `  let logSum${r} = stats[statHead + i${r}];`);
  }
  for (const g of fours(options)) {
    lines.push(`  let part_${g} = vec4f(${range(4).map((t) => `part${4 * g + t}`).join(", ")});`);
    lines.push(`  let delta_${g} = ${overThreads(options, `part_${g}`, (a, b) => `(${a} + ${b})`)};`);
  }
  lines.push(...rowPlaces(options, pairs), ...grown(options, "grad"));
  lines.push(...open, ...scores(options, pairs), ...valid);
  for (const r of range(rows)) {
    for (const e of range(COLUMNS)) {
      const weight = `exp(params.scale * s${r}_${e} - logSum${r})`;
      lines.push(`    let p${r}_${e} = select(0.0, ${weight}, valid${r}_${e});`);
      lines.push(`    let ds${r}_${e} = params.scale * p${r}_${e} * (dp${r}_${e} - ${ofRow("delta", r)});`);
    }
  }
  lines.push(
    ...grow(options, [{ target: "grad", weight: "ds", buffer: "kv", column: stepKeyAt("kHead") }]),
    "  }",
  );
  for (const r of range(rows)) {
    lines.push(`  if (first + ${r}u < params.Tq) {`);
    for (const c of channelGroups(options)) {
      lines.push(`    dq[qHead + i${r} * qRow + ${channel(options, c)}] = grad${r}_${c};`);
    }
    lines.push(
      `    if (lane == 0u) { stats[params.statRows + statHead + i${r}] = ${ofRow("delta", r)}; }`,
      "  }",
    );
  }
  return lines;
}

function backwardKeyValueBody(options: AttentionKernelOptions): string[] {
  const { threads = 0, rows, windowed, documents } = options;
  const step = COLUMNS * threads;
  const keyRow = (head: string) => (r: string) => `${head} + min(first + ${r}, params.Tk - 1u) * kvRow`;
  const pairs: Pair[] = [
    {
      sum: "s",
      rowBuffer: "kv",
      row: keyRow("kHead"),
      columnBuffer: "q",
      column: (e) => `qHead + own${e} * qRow`,
    },
    {
      sum: "dp",
      rowBuffer: "kv",
      row: keyRow("vHead"),
      columnBuffer: "dy",
      column: (e) => `oHead + own${e} * oRow`,
    },
  ];
  const lines: string[] = [];
  for (const r of range(rows)) {
    lines.push(`  let j${r} = min(first + ${r}u, params.Tk - 1u);`);
    lines.push(`  let shown${r} = first + ${r}u < params.Tk${shownKey(options, `j${r}`)};`);
  }
  lines.push(...rowPlaces(options, pairs), ...grown(options, "dk"), ...grown(options, "dv"));
  // The first query that sees this block's first key; a step may begin with queries that do not.
  lines.push("  let start = max(first, params.past) - params.past;", `  let last = ${lastQuery(options)};`);
  const { open, close } = queryHeads(options);
  lines.push(...open, `  for (var i = start; i < last; i += ${step}u) {`);
  if (documents) lines.push(endOfDocuments(options, "startOf(b, i)"));
  for (const e of range(COLUMNS)) {
    lines.push(`    let i${e} = ${columnOf(options, "i", e)};`);
    lines.push(`    let own${e} = min(i${e}, params.Tq - 1u);`);
    lines.push(`    let logSum${e} = stats[statHead + own${e}];`);
    lines.push(`    let delta${e} = stats[params.statRows + statHead + own${e}];`);
    if (documents) lines.push(`    let origin${e} = startOf(b, own${e});`);
  }
  lines.push(...scores(options, pairs));
  for (const r of range(rows)) {
    for (const e of range(COLUMNS)) {
      const near = windowed ? ` && j${r} + params.window > i${e} + params.past` : "";
      const own = documents ? ` && j${r} >= origin${e}` : "";
      lines.push(
        `    let valid${r}_${e} = j${r} <= i${e} + params.past && i${e} < last${near}${own} && shown${r};`,
      );
      const weight = `exp(params.scale * s${r}_${e} - logSum${e})`;
      lines.push(`    let p${r}_${e} = select(0.0, ${weight}, valid${r}_${e});`);
      lines.push(`    let ds${r}_${e} = params.scale * p${r}_${e} * (dp${r}_${e} - delta${e});`);
    }
  }
  const stepQueryAt = (head: string, row: string) => (n: string) =>
    `${head} + min(i + ${n}, params.Tq - 1u) * ${row}`;
  lines.push(
    ...grow(options, [
      { target: "dk", weight: "ds", buffer: "q", column: stepQueryAt("qHead", "qRow") },
      { target: "dv", weight: "p", buffer: "dy", column: stepQueryAt("oHead", "oRow") },
    ]),
    "  }",
    ...close,
  );
  for (const r of range(rows)) {
    lines.push(`  if (first + ${r}u < params.Tk) {`);
    for (const [target, head] of [["dk", "kHead"], ["dv", "vHead"]]) {
      for (const c of channelGroups(options)) {
        lines.push(`    dkv[${head} + j${r} * kvRow + ${channel(options, c)}] = ${target}${r}_${c};`);
      }
    }
    lines.push("  }");
  }
  return lines;
}

/** For a subgroup of `options.threads`; `rows` is a multiple of 4, at most 32. */
export const SUBGROUP_BODIES: AttentionBodies = {
  forward: forwardBody,
  backwardQuery: backwardQueryBody,
  backwardKeyValue: backwardKeyValueBody,
};

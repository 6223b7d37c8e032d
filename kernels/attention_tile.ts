/**
 * Attention for software adapters: a thread owns a block of queries (or keys) and works through four or eight keys (or
 * queries) at a time, as a register-tiled matrix product with its loop over the channels of the head. Results of the
 * block grow in memory, so one small program serves every head size (unrolled over the channels it would take seconds
 * to compile), and each load serves eight products. So the rows can be met in several launches, where a driver limits
 * the iterations of one: a forward pass leaves its maxima and sums in stats meanwhile. Neighbouring threads own the
 * same block of different heads: they work equally long under the causal mask.
 * @module
 */
import { type AttentionKernelOptions, range, STEP } from "./attention_options.ts";
import { queryHeads } from "./attention_places.ts";
import type { AttentionBodies } from "./attention_program.ts";
import {
  endOfDocuments,
  firstKey,
  lastQuery,
  queryStart,
  shownKey,
  skips,
  validQueryRows,
} from "./attention_seen.ts";
import { growLoop, keepLoop, keepVector, product, scoreLoop, zero } from "./attention_tile_loops.ts";

function queryRows(options: AttentionKernelOptions): string[] {
  return range(options.rows).flatMap((r) => [
    `  let i${r} = min(first + ${r}u, params.Tq - 1u);`,
    `  let own${r} = first + ${r}u < params.Tq;`,
    `  let q${r} = qHead + i${r} * qRow;`,
    `  let o${r} = oHead + i${r} * oRow;`,
    ...(options.documents ? [queryStart(r)] : []),
  ]);
}

function keyColumns(): string[] {
  return range(STEP).flatMap((e) => [
    `    let k${e} = kHead + min(j + ${e}u, params.Tk - 1u) * kvRow;`,
    `    let v${e} = vHead + min(j + ${e}u, params.Tk - 1u) * kvRow;`,
  ]);
}

/** Opens the loop over the keys of this launch that a block of queries sees. */
function keyLoop(options: AttentionKernelOptions): string[] {
  if (!skips(options)) return [`  for (var j = params.begin; j < limit; j += ${STEP}u) {`];
  return [
    `  let start = ${firstKey(options, STEP)};`,
    `  for (var j = max(start, params.begin); j < limit; j += ${STEP}u) {`,
  ];
}

function forwardBody(options: AttentionKernelOptions): string[] {
  const rows = range(options.rows);
  const lines = queryRows(options);
  // What the previous launch left: the maximum, and the sum, -1 for a sum of 0 over keys that are seen.
  for (const r of rows) {
    lines.push(`  var most${r} = -3.4028234e38;`, `  var sum${r} = 0.0;`);
    if (options.mask) lines.push(`  var sees${r} = false;`);
  }
  lines.push("  if (params.begin > 0u) {");
  for (const r of rows) {
    lines.push(`    most${r} = stats[statHead + i${r}];`);
    lines.push(`    sum${r} = stats[params.statRows + statHead + i${r}];`);
    if (options.mask) lines.push(`    sees${r} = (bitcast<u32>(sum${r}) << 1u) != 0u;`);
    lines.push(`    sum${r} = select(sum${r}, 0.0, sum${r} == -1.0);`);
  }
  lines.push("  }");
  lines.push(`  let limit = min(min(params.past + first + ${options.rows}u, params.Tk), params.end);`);
  lines.push(...keyLoop(options));
  lines.push(...keyColumns());
  lines.push(
    ...scoreLoop(options, [{ sum: "s", rowBuffer: "q", row: "q", columnBuffer: "kv", column: "k" }]),
  );
  lines.push(...validQueryRows(options));
  if (options.dropout) lines.push(...keepLoop(options.rows, "min(first + n, params.Tq - 1u)", "j / 4u"));
  for (const r of rows) {
    for (const g of range(STEP / 4)) {
      lines.push(`    let t${r}_${g} = params.scale * s${r}_${g};`);
      lines.push(`    let seen${r}_${g} = select(vec4f(-3.4028234e38), t${r}_${g}, valid${r}_${g});`);
    }
    lines.push(`    let peak${r} = max(seen${r}_0, seen${r}_1);`);
    lines.push(
      `    let next${r} = max(most${r}, max(max(peak${r}.x, peak${r}.y), max(peak${r}.z, peak${r}.w)));`,
    );
    lines.push(`    let shrink${r} = exp(most${r} - next${r});`);
    lines.push(`    most${r} = next${r};`);
    for (const g of range(STEP / 4)) {
      // A hidden key has weight 0 even where every key so far is hidden and `next` is -3.4e38.
      const weight = `exp(t${r}_${g} - next${r})`;
      lines.push(`    var p${r}_${g} = select(vec4f(0.0), ${weight}, valid${r}_${g});`);
    }
    if (options.mask) lines.push(`    sees${r} = sees${r} || any(valid${r}_0 | valid${r}_1);`);
    lines.push(`    let total${r} = p${r}_0 + p${r}_1;`);
    lines.push(
      `    sum${r} = sum${r} * shrink${r} + (total${r}.x + total${r}.y) + (total${r}.z + total${r}.w);`,
    );
    if (options.dropout) {
      for (const g of range(STEP / 4)) lines.push(`    p${r}_${g} *= ${keepVector(g, r)};`);
    }
  }
  lines.push(
    ...growLoop(
      options,
      [{ target: "o", row: "o", weight: "p", columnBuffer: "kv", column: "v", shrink: "shrink" }],
      skips(options) ? "j == start" : "j == 0u",
    ),
  );
  lines.push("  }");
  lines.push("  if (params.end < params.Tk) {");
  for (const r of rows) {
    const sees = options.mask ? `sees${r}` : "true";
    lines.push(`    if (own${r}) {`);
    lines.push(`      stats[statHead + i${r}] = most${r};`);
    lines.push(
      `      stats[params.statRows + statHead + i${r}] = select(sum${r}, -1.0, sum${r} == 0.0 && ${sees});`,
    );
    lines.push("    }");
  }
  lines.push("    return;\n  }");
  for (const r of rows) {
    const sees = options.mask ? `sees${r}` : "true";
    lines.push(`  let inverse${r} = inverseOf(sum${r}, ${sees});`);
    lines.push(`  if (own${r}) { stats[statHead + i${r}] = logSumOf(most${r}, sum${r}, ${sees}); }`);
  }
  lines.push("  for (var d = 0u; d < depth; d++) {");
  for (const r of rows) lines.push(`    if (own${r}) { o[o${r} + d] *= inverse${r}; }`);
  lines.push("  }");
  return lines;
}

function backwardQueryBody(options: AttentionKernelOptions): string[] {
  const rows = range(options.rows);
  const lines = queryRows(options);
  for (const r of rows) lines.push(`  var delta${r} = 0.0;`, `  let logSum${r} = stats[statHead + i${r}];`);
  lines.push("  for (var d = 0u; d < depth; d++) {");
  for (const r of rows) lines.push(`    delta${r} += ${product(options, `dy[o${r} + d]`, `o[o${r} + d]`)};`);
  lines.push("  }");
  lines.push(`  let limit = min(min(params.past + first + ${options.rows}u, params.Tk), params.end);`);
  lines.push(...keyLoop(options));
  lines.push(...keyColumns());
  lines.push(
    ...scoreLoop(options, [
      { sum: "s", rowBuffer: "q", row: "q", columnBuffer: "kv", column: "k" },
      { sum: "dp", rowBuffer: "dy", row: "o", columnBuffer: "kv", column: "v" },
    ]),
  );
  lines.push(...validQueryRows(options));
  if (options.dropout) lines.push(...keepLoop(options.rows, "min(first + n, params.Tq - 1u)", "j / 4u"));
  for (const r of rows) {
    for (const g of range(STEP / 4)) {
      const weight = `exp(params.scale * s${r}_${g} - logSum${r})`;
      lines.push(`    let p${r}_${g} = select(vec4f(0.0), ${weight}, valid${r}_${g});`);
      const kept = options.dropout ? ` * ${keepVector(g, r)}` : "";
      lines.push(`    let ds${r}_${g} = params.scale * p${r}_${g} * (dp${r}_${g}${kept} - delta${r});`);
    }
  }
  lines.push(
    ...growLoop(
      options,
      [{ target: "dq", row: "q", weight: "ds", columnBuffer: "kv", column: "k" }],
      skips(options) ? "j == start" : "j == 0u",
    ),
  );
  lines.push("  }");
  for (const r of rows) {
    lines.push(`  if (own${r}) { stats[params.statRows + statHead + i${r}] = delta${r}; }`);
  }
  return lines;
}

function backwardKeyValueBody(options: AttentionKernelOptions): string[] {
  const rows = range(options.rows);
  const lines: string[] = [];
  for (const r of rows) {
    lines.push(`  let j${r} = min(first + ${r}u, params.Tk - 1u);`);
    lines.push(`  let own${r} = first + ${r}u < params.Tk;`);
    lines.push(`  let shown${r} = own${r}${shownKey(options, `j${r}`)};`);
    lines.push(`  let k${r} = kHead + j${r} * kvRow;`);
    lines.push(`  let v${r} = vHead + j${r} * kvRow;`);
  }
  // The first query that sees this block's first key; a step may begin with queries that do not.
  lines.push("  let start = max(first, params.past) - params.past;");
  if (options.windowed) lines.push(`  let seenTo = ${lastQuery(options)};`);
  const seenTo = options.windowed ? "seenTo" : "params.Tq";
  lines.push(`  if (start >= ${seenTo}) {`);
  lines.push("    for (var d = 0u; d < depth; d++) {");
  for (const r of rows) {
    lines.push(
      `      if (own${r}) { dkv[k${r} + d] = ${zero(options)}; dkv[v${r} + d] = ${zero(options)}; }`,
    );
  }
  lines.push("    }\n  }");
  lines.push(`  let last = min(params.end, ${seenTo});`);
  const { open, close } = queryHeads(options);
  lines.push(...open);
  lines.push(`  for (var i = max(start, params.begin); i < last; i += ${STEP}u) {`);
  if (options.documents) lines.push(endOfDocuments(options, "startOf(b, i)"));
  for (const e of range(STEP)) {
    lines.push(`    let i${e} = min(i + ${e}u, params.Tq - 1u);`);
    lines.push(`    let q${e} = qHead + i${e} * qRow;`);
    lines.push(`    let g${e} = oHead + i${e} * oRow;`);
  }
  for (const g of range(STEP / 4)) {
    const four = range(4).map((e) => 4 * g + e);
    lines.push(`    let logSum_${g} = vec4f(${four.map((e) => `stats[statHead + i${e}]`).join(", ")});`);
    lines.push(
      `    let delta_${g} = vec4f(${
        four.map((e) => `stats[params.statRows + statHead + i${e}]`).join(", ")
      });`,
    );
    lines.push(`    let query_${g} = vec4u(${four.map((e) => `i + ${e}u`).join(", ")});`);
    if (options.documents) {
      lines.push(`    let origin_${g} = vec4u(${four.map((e) => `startOf(b, i${e})`).join(", ")});`);
    }
  }
  lines.push(
    ...scoreLoop(options, [
      { sum: "s", rowBuffer: "kv", row: "k", columnBuffer: "q", column: "q" },
      { sum: "dp", rowBuffer: "kv", row: "v", columnBuffer: "dy", column: "g" },
    ]),
  );
  if (options.dropout) lines.push(...keepLoop(STEP, "min(i + n, params.Tq - 1u)", "first / 4u"));
  for (const r of rows) {
    for (const g of range(STEP / 4)) {
      const near = options.windowed
        ? ` & (vec4u(j${r} + params.window) > query_${g} + vec4u(params.past))`
        : "";
      const own = options.documents ? ` & (vec4u(j${r}) >= origin_${g})` : "";
      const sees =
        `(vec4u(j${r}) <= query_${g} + vec4u(params.past)) & (query_${g} < vec4u(last))${near}${own}`;
      lines.push(`    let valid${r}_${g} = ${sees} & vec4<bool>(shown${r});`);
      const weight = `exp(params.scale * s${r}_${g} - logSum_${g})`;
      lines.push(`    let p${r}_${g} = select(vec4f(0.0), ${weight}, valid${r}_${g});`);
      if (options.dropout) {
        // Key first + r is bit (first + r) % 4 of each query's draw; blocks of 8 begin at multiples of 4.
        const bit = options.rows === 8 ? `${r & 3}u` : `(first + ${r}u) % 4u`;
        const half = options.rows === 8 ? r >> 2 : 0;
        const shifts = range(4).map((e) => `${4 * (4 * g + e)}u + ${bit}`);
        const drawn = `((vec4u(keep_${half}) >> vec4u(${shifts.join(", ")})) & vec4u(1u)) != vec4u(0u)`;
        lines.push(`    let kept${r}_${g} = select(vec4f(0.0), vec4f(keepScale), ${drawn});`);
      }
      const kept = options.dropout ? ` * kept${r}_${g}` : "";
      lines.push(`    let ds${r}_${g} = params.scale * p${r}_${g} * (dp${r}_${g}${kept} - delta_${g});`);
      lines.push(`    let pd${r}_${g} = p${r}_${g}${kept};`);
    }
  }
  lines.push(
    ...growLoop(options, [
      { target: "dkv", row: "k", weight: "ds", columnBuffer: "q", column: "q" },
      { target: "dkv", row: "v", weight: "pd", columnBuffer: "dy", column: "g" },
    ], options.grouped ? "i == start && member == 0u" : "i == start"),
  );
  lines.push("  }", ...close);
  return lines;
}

/** For software adapters; `rows` is 1 or 8, `headSize` is a parameter. */
export const TILE_BODIES: AttentionBodies = {
  forward: forwardBody,
  backwardQuery: backwardQueryBody,
  backwardKeyValue: backwardKeyValueBody,
};

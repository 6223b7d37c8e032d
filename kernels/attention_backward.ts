/**
 * Gradients of attention, probabilities recomputed from q, k and the saved log denominators:
 *   p = exp(s - log denominator), pd = p keep / (1 - p_drop), delta = sum_d o dy
 *   dv = pd^T dy,  ds = p (keep / (1 - p_drop) (dy v^T) - delta),  dq = scale ds k,  dk = scale ds^T q
 * One kernel owns queries (dq and delta), one owns keys (dk and dv), so that no two threads add to the same place.
 * @module
 */
import { validKeys } from "./attention_forward.ts";
import { type AttentionKernelOptions, range } from "./attention_options.ts";
import { queryHeads } from "./attention_places.ts";
import { dotText, groups, load, store } from "./attention_rows.ts";
import {
  endOfDocuments,
  firstKey,
  lastQuery,
  queryStart,
  shownKey,
  shownKeys,
  skips,
} from "./attention_seen.ts";

/** dq, and delta for the body below. */
export function backwardQueryBody(options: AttentionKernelOptions): string[] {
  const { rows, documents, dropout, mask } = options;
  const lines: string[] = [];
  const emit = (line: string) => {
    if (line !== "") lines.push(line);
  };
  for (const r of range(rows)) {
    emit(`  let i${r} = min(first + ${r}u, params.Tq - 1u);`);
    if (documents) emit(queryStart(r));
    emit(`  var delta${r} = 0.0;`);
    for (const d of groups(options)) {
      emit(`  let q${r}_${d} = params.scale * ${load(options, "q", `qHead + i${r} * qRow`, d)};`);
      emit(`  let g${r}_${d} = ${load(options, "dy", `oHead + i${r} * oRow`, d)};`);
      emit(`  delta${r} += dot(g${r}_${d}, ${load(options, "o", `oHead + i${r} * oRow`, d)});`);
      emit(`  var dq${r}_${d} = vec4f();`);
    }
    emit(`  let logSum${r} = stats[statHead + i${r}];`);
  }
  emit(`  let limit = min(params.past + first + ${rows}u, params.Tk);`);
  emit(`  for (var j = ${skips(options) ? firstKey(options, 4) : "0u"}; j < limit; j += 4u) {`);
  if (mask) emit(shownKeys(options));
  for (const e of range(4)) {
    emit(`    let at${e} = min(j + ${e}u, params.Tk - 1u) * kvRow;`);
    for (const d of groups(options)) {
      emit(`    let k${e}_${d} = ${load(options, "kv", `kHead + at${e}`, d)};`);
    }
    for (const d of groups(options)) {
      emit(`    let v${e}_${d} = ${load(options, "kv", `vHead + at${e}`, d)};`);
    }
  }
  for (const r of range(rows)) {
    emit(validKeys(options, r));
    emit(
      `    let s${r} = vec4f(${range(4).map((e) => dotText(options, `q${r}`, `k${e}`)).join(",\n      ")});`,
    );
    emit(`    let p${r} = select(vec4f(0.0), exp(s${r} - logSum${r}), valid${r});`);
    emit(
      `    var dp${r} = vec4f(${range(4).map((e) => dotText(options, `g${r}`, `v${e}`)).join(",\n      ")});`,
    );
    if (dropout) emit(`    dp${r} *= keepFactors(statHead + i${r}, j / 4u);`);
    emit(`    let ds${r} = params.scale * p${r} * (dp${r} - delta${r});`);
    for (const d of groups(options)) {
      const terms = range(4).map((e) => `ds${r}.${"xyzw"[e]} * k${e}_${d}`).join(" + ");
      emit(`    dq${r}_${d} += ${terms};`);
    }
  }
  emit("  }");
  for (const r of range(rows)) {
    emit(`  if (first + ${r}u < params.Tq) {`);
    for (const d of groups(options)) {
      emit("    " + store(options, "dq", `qHead + i${r} * qRow`, d, `dq${r}_${d}`));
    }
    emit(`    stats[params.statRows + statHead + i${r}] = delta${r};`);
    emit("  }");
  }
  return lines;
}

/** dk and dv; runs after `backwardQueryBody`. `rows` is 1, 2 or 4. */
export function backwardKeyValueBody(options: AttentionKernelOptions): string[] {
  const { rows, dropout, windowed, documents } = options;
  const { open, close } = queryHeads(options);
  const lines: string[] = [];
  const emit = (line: string) => {
    if (line !== "") lines.push(line);
  };
  for (const r of range(rows)) {
    emit(`  let j${r} = min(first + ${r}u, params.Tk - 1u);`);
    emit(`  let shown${r} = first + ${r}u < params.Tk${shownKey(options, `j${r}`)};`);
    for (const d of groups(options)) {
      emit(`  let k${r}_${d} = params.scale * ${load(options, "kv", `kHead + j${r} * kvRow`, d)};`);
      emit(`  let v${r}_${d} = ${load(options, "kv", `vHead + j${r} * kvRow`, d)};`);
      emit(`  var dk${r}_${d} = vec4f();`);
      emit(`  var dv${r}_${d} = vec4f();`);
    }
  }
  for (const line of open) emit(line);
  // The first query that sees this thread's first key.
  if (windowed) emit(`  let last = ${lastQuery(options)};`);
  emit(
    `  for (var i = max(first, params.past) - params.past; i < ${windowed ? "last" : "params.Tq"}; i++) {`,
  );
  if (documents) emit("    let origin = startOf(b, i);");
  emit(endOfDocuments(options, "origin"));
  for (const d of groups(options)) {
    emit(`    let q_${d} = ${load(options, "q", "qHead + i * qRow", d)};`);
    emit(`    let g_${d} = ${load(options, "dy", "oHead + i * oRow", d)};`);
  }
  emit("    let logSum = stats[statHead + i];");
  emit("    let delta = stats[params.statRows + statHead + i];");
  if (dropout) emit("    let keep = keepFactors(statHead + i, first / 4u);");
  for (const r of range(rows)) {
    emit(`    let s${r} = ${dotText(options, "q", `k${r}`)};`);
    const near = windowed ? ` && j${r} + params.window > params.past + i` : "";
    const own = documents ? ` && j${r} >= origin` : "";
    const valid = `shown${r} && j${r} <= params.past + i${near}${own}`;
    emit(`    let p${r} = select(0.0, exp(s${r} - logSum), ${valid});`);
    // Blocks of keys begin at multiples of `rows`, which divides 4.
    const factor = dropout ? ` * keep[${rows === 4 ? `${r}u` : `(first + ${r}u) % 4u`}]` : "";
    emit(`    let dp${r} = (${dotText(options, "g", `v${r}`)})${factor};`);
    emit(`    let ds${r} = params.scale * p${r} * (dp${r} - delta);`);
    emit(`    let pd${r} = p${r}${factor};`);
    for (const d of groups(options)) {
      emit(`    dk${r}_${d} += ds${r} * q_${d};`);
      emit(`    dv${r}_${d} += pd${r} * g_${d};`);
    }
  }
  emit("  }");
  for (const line of close) emit(line);
  for (const r of range(rows)) {
    emit(`  if (first + ${r}u < params.Tk) {`);
    for (const d of groups(options)) {
      emit("    " + store(options, "dkv", `kHead + j${r} * kvRow`, d, `dk${r}_${d}`));
      emit("    " + store(options, "dkv", `vHead + j${r} * kvRow`, d, `dv${r}_${d}`));
    }
    emit("  }");
  }
  return lines;
}

/**
 * o = softmax(scale q k^T) v without the scores in memory: one pass over the keys with a running maximum and sum
 * (Dao 2022, "FlashAttention", arXiv:2205.14135), barrier-free, `rows` queries per thread, four keys per step.
 * @module
 */
import { type AttentionKernelOptions, range } from "./attention_options.ts";
import { dotText, groups, load, store } from "./attention_rows.ts";
import { firstKey, fourKeys, queryStart, seenBy, shownKeys, skips } from "./attention_seen.ts";

/** `valid<r>`: which of the keys j to j + 3 query `i<r>` sees. */
export function validKeys(options: AttentionKernelOptions, r: number): string {
  return `    let valid${r} = ${seenBy(options, r, `vec4u(${fourKeys(0)})`, "shown")};`;
}

/** Of one query for each row that a thread owns; `rows` is 1, 2 or 4. */
export function forwardBody(options: AttentionKernelOptions): string[] {
  const { rows, documents, dropout, mask } = options;
  const lines: string[] = [];
  const emit = (line: string) => {
    if (line !== "") lines.push(line);
  };
  for (const r of range(rows)) {
    // A row past the end repeats the last one and is not stored.
    emit(`  let i${r} = min(first + ${r}u, params.Tq - 1u);`);
    if (documents) emit(queryStart(r));
    for (const d of groups(options)) {
      emit(`  let q${r}_${d} = params.scale * ${load(options, "q", `qHead + i${r} * qRow`, d)};`);
    }
    for (const d of groups(options)) emit(`  var o${r}_${d} = vec4f();`);
    emit(`  var most${r} = -3.4028234e38;`);
    emit(`  var sum${r} = 0.0;`);
    if (mask) emit(`  var sees${r} = false;`);
  }
  emit(`  let limit = min(params.past + first + ${rows}u, params.Tk);`);
  emit(`  for (var j = ${skips(options) ? firstKey(options, 4) : "0u"}; j < limit; j += 4u) {`);
  if (mask) emit(shownKeys(options));
  for (const e of range(4)) {
    emit(`    let k${e} = kHead + min(j + ${e}u, params.Tk - 1u) * kvRow;`);
    for (const d of groups(options)) emit(`    let k${e}_${d} = ${load(options, "kv", `k${e}`, d)};`);
  }
  for (const r of range(rows)) {
    emit(validKeys(options, r));
    emit(
      `    let s${r} = vec4f(${range(4).map((e) => dotText(options, `q${r}`, `k${e}`)).join(",\n      ")});`,
    );
    emit(`    let seen${r} = select(vec4f(-3.4028234e38), s${r}, valid${r});`);
    emit(`    let next${r} = max(most${r}, max(max(seen${r}.x, seen${r}.y), max(seen${r}.z, seen${r}.w)));`);
    // A hidden key has weight 0 even where every key so far is hidden and `next` is -3.4e38.
    emit(`    var p${r} = select(vec4f(0.0), exp(s${r} - next${r}), valid${r});`);
    emit(`    let shrink${r} = exp(most${r} - next${r});`);
    emit(`    sum${r} = sum${r} * shrink${r} + (p${r}.x + p${r}.y) + (p${r}.z + p${r}.w);`);
    emit(`    most${r} = next${r};`);
    if (mask) emit(`    sees${r} = sees${r} || any(valid${r});`);
    if (dropout) emit(`    p${r} *= keepFactors(statHead + i${r}, j / 4u);`);
  }
  for (const e of range(4)) emit(`    let v${e} = vHead + min(j + ${e}u, params.Tk - 1u) * kvRow;`);
  for (const d of groups(options)) {
    for (const e of range(4)) emit(`    let v${e}_${d} = ${load(options, "kv", `v${e}`, d)};`);
    for (const r of range(rows)) {
      const terms = range(4).map((e) => `p${r}.${"xyzw"[e]} * v${e}_${d}`).join(" + ");
      emit(`    o${r}_${d} = o${r}_${d} * shrink${r} + ${terms};`);
    }
  }
  emit("  }");
  for (const r of range(rows)) {
    emit(`  if (first + ${r}u < params.Tq) {`);
    const sees = mask ? `sees${r}` : "true";
    emit(`    let inverse = inverseOf(sum${r}, ${sees});`);
    for (const d of groups(options)) {
      emit("    " + store(options, "o", `oHead + i${r} * oRow`, d, `o${r}_${d} * inverse`));
    }
    emit(`    stats[statHead + i${r}] = logSumOf(most${r}, sum${r}, ${sees});`);
    emit("  }");
  }
  return lines;
}

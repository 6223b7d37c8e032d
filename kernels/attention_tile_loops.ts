/**
 * The loops of attention's tiles (attention_tile.ts): scores of a block of rows against a step of eight columns, results
 * that grow by a step, and dropout's draws for a step.
 * @module
 */
import { type AttentionKernelOptions, range, STEP } from "./attention_options.ts";

const names = "xyzw";
/** Component of the vec4f that holds entry `e` of a step. */
const entry = (prefix: string, e: number) => `${prefix}_${e >> 2}.${names[e & 3]}`;

/** `dot` of what a load gives. */
export const product = (options: AttentionKernelOptions, left: string, right: string) =>
  options.vector ? `dot(${left}, ${right})` : `${left} * ${right}`;

/** Nothing, as a buffer holds it. */
export const zero = (options: AttentionKernelOptions) => options.vector ? "vec4f(0.0)" : "0.0";

/**
 * Sums over the channels, `<sum>_<r>_<g>` as vec4f over the entries of a step, for each pair of `pairs`: rows at
 * `<row>_<r>` of one buffer against entries at `<column>_<e>` of another.
 */
export function scoreLoop(
  options: AttentionKernelOptions,
  pairs: readonly {
    readonly sum: string;
    readonly rowBuffer: string;
    readonly row: string;
    readonly columnBuffer: string;
    readonly column: string;
  }[],
): string[] {
  const rows = range(options.rows);
  const lines: string[] = [];
  for (const { sum } of pairs) {
    for (const r of rows) for (const g of range(STEP / 4)) lines.push(`    var ${sum}${r}_${g} = vec4f();`);
  }
  lines.push("    for (var d = 0u; d < depth; d++) {");
  for (const { sum, rowBuffer, row, columnBuffer, column } of pairs) {
    for (const e of range(STEP)) lines.push(`      let ${sum}c${e} = ${columnBuffer}[${column}${e} + d];`);
    for (const r of rows) {
      lines.push(`      let ${sum}r${r} = ${rowBuffer}[${row}${r} + d];`);
      for (const g of range(STEP / 4)) {
        const dots = range(4).map((e) => product(options, `${sum}r${r}`, `${sum}c${4 * g + e}`));
        lines.push(`      ${sum}${r}_${g} += vec4f(${dots.join(", ")});`);
      }
    }
  }
  lines.push("    }");
  return lines;
}

/** Rows in memory grow: `<target>[<row>_<r> + d] = old <factor> + sum over e of <weight>_<r> e * <column> e`. */
export function growLoop(
  options: AttentionKernelOptions,
  grows: readonly {
    readonly target: string;
    readonly row: string;
    readonly weight: string;
    readonly columnBuffer: string;
    readonly column: string;
    readonly shrink?: string;
  }[],
  first: string,
): string[] {
  const lines: string[] = ["    for (var d = 0u; d < depth; d++) {"];
  grows.forEach(({ target, row, weight, columnBuffer, column, shrink }, n) => {
    for (const e of range(STEP)) lines.push(`      let y${n}_${e} = ${columnBuffer}[${column}${e} + d];`);
    for (const r of range(options.rows)) {
      // What memory held before the first step is undefined, so it is not multiplied by 0 but left out.
      const old = `select(${target}[${row}${r} + d], ${zero(options)}, ${first})`;
      const terms = range(STEP).map((e) => `${entry(`${weight}${r}`, e)} * y${n}_${e}`);
      const factor = shrink ? ` * ${shrink}${r}` : "";
      lines.push(`      let z${n}_${r} = ${old}${factor} + ${terms.join(" + ")};`);
      lines.push(`      if (own${r}) { ${target}[${row}${r} + d] = z${n}_${r}; }`);
    }
  });
  lines.push("    }");
  return lines;
}

/** Bits 4 n to 4 n + 3 of `keep_<g>`: dropout's draws for query `query(n)` and key group `group(g)`. */
export function keepLoop(count: number, query: string, group: string): string[] {
  return [
    ...range(STEP / 4).map((g) => `    var keep_${g} = 0u;`),
    `    for (var n = 0u; n < ${count}u; n++) {`,
    ...range(STEP / 4).map((g) =>
      `      keep_${g} |= keepBits(statHead + ${query}, ${group} + ${g}u) << (4u * n);`
    ),
    "    }",
  ];
}

/** Factors of the four keys of group g for the query whose draws begin at bit 4 n. */
export const keepVector = (g: number, n: number) =>
  `select(vec4f(0.0), vec4f(keepScale), ((vec4u(keep_${g}) >> vec4u(${
    range(4).map((e) => `${4 * n + e}u`).join(", ")
  })) & vec4u(1u)) != vec4u(0u))`;

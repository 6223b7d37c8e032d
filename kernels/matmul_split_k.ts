/**
 * Split K of register tiles (matmul_register.ts): `lanesK` threads share a tile's steps of K, each has its own sum, and one
 * adds them up. For products that are too small to fill hardware, and for one row of a weight of few bits.
 * @module
 */
import type { MatmulOptions } from "./matmul_options.ts";
import { range } from "./matmul_text.ts";

/** What the threads of a workgroup do where they share the steps of K. */
export interface SplitK {
  /** Declarations of workgroup memory. */
  readonly memory: readonly string[];
  /** Statements that name a thread's tile, and its place among the tile's threads. */
  readonly lanes: string;
  /** Statements after the loop, which one thread of a tile goes on from. */
  readonly sum: string;
}

/** The threads of a tile add up their partial sums; the first one continues. */
function sumOverLanes({ tileM, tileN, lanesK, broadcast }: MatmulOptions): string {
  const cells = range(tileM).flatMap((i) => range(tileN / 4).map((j) => `${i}_${j}`));
  if (broadcast) { // one tile: in the order of the lanes, through registers
    const sum = (cell: string) =>
      range(lanesK).map((k) => `subgroupBroadcast(acc${cell}, ${k}u)`).join(" + ");
    return [...cells.map((cell) => `  acc${cell} = ${sum(cell)};`), "  if (laneK > 0u) { return; }"].join(
      "\n",
    );
  }
  const write = cells.map((cell, n) => `  partial[lane * ${cells.length}u + ${n}u] = acc${cell};`);
  const add = cells.map((cell, n) => `    acc${cell} += partial[other * ${cells.length}u + ${n}u];`);
  return `${write.join("\n")}
  workgroupBarrier(); // every partial sum is written
  if (laneK > 0u) { return; }
  for (var k = 1u; k < ${lanesK}u; k++) {
    let other = lane + k * laneStep;
${add.join("\n")}
  }`;
}

/** The parts of a program whose tiles have several threads. */
export function splitK(options: MatmulOptions): SplitK {
  const { tileM, tileN, lanesM, lanesN, lanesK, layout, broadcast } = options;
  const cells = lanesM * lanesN * lanesK * tileM * tileN / 4;
  return {
    memory: broadcast ? [] : [`var<workgroup> partial: array<vec4f, ${cells}>;`],
    // Neighbouring threads read neighbouring addresses: steps of K where rows of b run along K, else columns.
    lanes: layout === "nt"
      ? `  let laneStep = 1u;\n  let laneK = lane % ${lanesK}u;\n  let tile = lane / ${lanesK}u;`
      : `  let laneStep = ${
        lanesM * lanesN
      }u;\n  let laneK = lane / laneStep;\n  let tile = lane % laneStep;`,
    sum: sumOverLanes(options),
  };
}

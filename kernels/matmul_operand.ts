/**
 * How a thread of a register tile reads one operand of a product: where its rows begin, and what it loads in each step of
 * the shared dimension. Both operands are read by the same text; only their layout differs.
 * @module
 */
import { component, range } from "./matmul_text.ts";
import { shareItems } from "./subgroup_items.ts";

/** An operand as it lies in its buffer. */
export interface Operand {
  /** WGSL of what lies at an index. */
  readonly read: (index: string) => string;
  /** Whether an index counts groups of four. */
  readonly vector: boolean;
  /** WGSL of where its batch begins, and of the length of its rows. */
  readonly base: string;
  readonly stride: string;
}

/** An operand's part in the tile of one thread: some rows of a, or columns of b. */
export interface TileSide extends Operand {
  /** Whether one of them runs along the shared dimension; else neighbours lie side by side. */
  readonly along: boolean;
  readonly count: number;
  /** The parameter that ends them. */
  readonly bound: "M" | "N";
  /** WGSL of the number of one of them, for its place in the tile: known, or itself WGSL. */
  readonly at: (place: number) => string;
  readonly atText: (place: string) => string;
  /** Prefixes of the names of addresses and of values, and the name of the stride. */
  readonly name: string;
  readonly value: string;
  readonly ld: string;
}

/** What takes the place of reads where a subgroup loads once what all its threads need. */
export interface SharedSide {
  readonly places: readonly string[];
  readonly reads: readonly string[];
  readonly item: (i: number) => string;
}

/** Whether a thread reads four neighbours at once. */
const readsGroups = ({ along, vector }: TileSide) => !along && vector;

/** A vec4f of what `of` gives for 0 to 3. */
const vec4 = (of: (e: number) => string) => `vec4f(${range(4).map(of).join(", ")})`;

// What lies past the end repeats the last row: such sums are not stored, and a clamped read costs less than a branch.
const rowAt = ({ base, bound, along, ld }: TileSide, at: string) =>
  `${base} + min(${at}, params.${bound} - 1u)${along ? ` * ${ld}` : ""}`;
const groupAt = ({ base, bound }: TileSide, at: string) =>
  `${base} + min((${at}) / 4u, params.${bound} / 4u - 1u)`;

/** Groups of four neighbours in a tile. */
export const groupsOf = ({ count }: TileSide): number[] => range(Math.ceil(count / 4));

/** Statements before the loop: where the tile's rows, or groups of four, begin. */
export function placesOf(side: TileSide): string[] {
  const place = (i: number, address: string) => `  let ${side.name}${i} = ${address};`;
  return readsGroups(side)
    ? groupsOf(side).map((g) => place(g, groupAt(side, side.at(4 * g))))
    : range(side.count).map((i) => place(i, rowAt(side, side.at(i))));
}

/** Steps 4k to 4k + 3 of a row that runs along the shared dimension. */
function fourSteps({ vector, read }: TileSide, row: string, k: string): string {
  return vector ? read(`${row} + ${k}`) : vec4((s) => read(`${row} + ${k} * 4u + ${s}u`));
}

/** Step 4k + s of group `g` of four neighbours. */
function fourNeighbours(
  { vector, read, name, count, ld }: TileSide,
  s: number,
  g: number,
  k: string,
): string {
  const at = (i: number) => read(`${name}${i} + (${k} * 4u + ${s}u) * ${ld}`);
  return vector ? at(g) : vec4((e) => 4 * g + e < count ? at(4 * g + e) : "0.0");
}

/** Statements at the beginning of a turn: each row that runs along the shared dimension, four steps of it. */
export function readAlong(side: TileSide, k: string, shared: SharedSide | null): string[] {
  if (!side.along) return [];
  return range(side.count).map((i) =>
    `    let ${side.value}${i} = ${shared?.item(i) ?? fourSteps(side, `${side.name}${i}`, k)};`
  );
}

/** Statements that read step s of a turn, in groups of four neighbours. */
export function readAcross(side: TileSide, s: number, k: string, shared: SharedSide | null): string[] {
  const groups = groupsOf(side);
  return groups.map((g) => {
    const four = shared?.item(s * groups.length + g) ?? fourNeighbours(side, s, g, k);
    return `    let ${side.value}${s}_${g} = ${four};`;
  });
}

/** Step k alone of row or group `i`. */
export function oneStep({ along, vector, read, name, ld }: TileSide, i: number): string {
  if (!along) return read(`${name}${i} + k * ${ld}`);
  return vector ? `${read(`${name}${i} + k / 4u`)}[k % 4u]` : read(`${name}${i} + k`);
}

/**
 * Reads of an operand that all threads need, each loading its share: rows along the shared dimension, or (step, four
 * neighbours) across it. Null where its groups are not whole.
 */
export function sharedReads(side: TileSide, threads: number, k: string): SharedSide | null {
  const { along, vector, read, name, count, ld, atText } = side;
  if (!along && (!vector || count % 4 !== 0)) return null;
  const groups = `${count / 4}u`;
  const { reads, ...shared } = shareItems(
    threads,
    name,
    count,
    (i) =>
      along
        ? rowAt(side, atText(i))
        : `${groupAt(side, atText(`4u * (${i} % ${groups})`))} + (${i} / ${groups}) * ${ld}`,
  );
  return {
    ...shared,
    reads: reads((at) => along ? fourSteps(side, at, k) : read(`${at} + ${k} * 4u * ${ld}`)),
  };
}

/**
 * The last one to three steps, one at a time, each thread for itself: statements, and the values of row `i` on the left
 * and of group `j` on the right.
 */
export function lastStepReads(left: TileSide, right: TileSide): {
  readonly reads: string[];
  readonly left: (i: number) => string;
  readonly right: (j: number) => string;
} {
  const items = readsGroups(left) ? groupsOf(left) : range(left.count);
  const rightOf = (j: number) =>
    readsGroups(right) ? oneStep(right, j) : vec4((e) => oneStep(right, 4 * j + e));
  return {
    reads: [
      ...items.map((i) => `    let ${left.value}${i} = ${oneStep(left, i)};`),
      ...groupsOf(right).map((j) => `    let ${right.value}${j} = ${rightOf(j)};`),
    ],
    left: (i) => readsGroups(left) ? `${left.value}${i >> 2}.${component(i & 3)}` : `${left.value}${i}`,
    right: (j) => `${right.value}${j}`,
  };
}

/**
 * Pieces of WGSL that formats of few bits are read with.
 * @module
 */

/** A number as WGSL has it. */
export const literal = (value: number): string => Number.isInteger(value) ? value.toFixed(1) : String(value);

/**
 * The numbers of a table of 16 for four codes, as a tree of selections: constant arrays that are indexed at run time live
 * in memory on many drivers.
 */
export function selectLevels(name: string, values: readonly number[]): string {
  let terms = values.map((value) => `vec4f(${literal(value)})`);
  for (let bit = 0; terms.length > 1; bit++) {
    terms = Array.from(
      { length: terms.length / 2 },
      (_, i) => `select(${terms[2 * i]}, ${terms[2 * i + 1]}, bit${bit})`,
    );
  }
  const bits = [0, 1, 2, 3].map((bit) => `  let bit${bit} = (codes & vec4u(${1 << bit}u)) != vec4u(0u);`);
  return `fn ${name}(codes: vec4u) -> vec4f {\n${bits.join("\n")}\n  return ${terms[0]};\n}\n`;
}

/**
 * The same function where the workgroup is one subgroup of at least `TABLE_THREADS`: the table is spread over their
 * registers, from which `subgroupShuffle` takes a number in one instruction. Each thread calls `<start>(lane)` first.
 */
export function shuffleLevels(name: string, start: string, values: readonly number[]): string {
  const [low, high] = [`${name}Low`, `${name}High`];
  const of = (half: string) =>
    `vec4f(${["x", "y", "z", "w"].map((e) => `subgroupShuffle(${half}, at.${e})`).join(", ")})`;
  return `${selectLevels(`${name}Table`, values)}var<private> ${low}: f32;
var<private> ${high}: f32;
fn ${start}(lane: u32) {
  let own = ${name}Table(vec4u(lane & 7u) + vec4u(0u, 8u, 0u, 0u));
  ${low} = own.x;
  ${high} = own.y;
}
fn ${name}(codes: vec4u) -> vec4f {
  let at = codes & vec4u(7u);
  return select(${of(low)}, ${of(high)}, codes > vec4u(7u));
}
`;
}

/** The four int8 of a word. */
export function signedBytes(name: string): string {
  return `fn ${name}(w: u32) -> vec4f {
  return vec4f(bitcast<vec4i>(vec4u(w) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}`;
}

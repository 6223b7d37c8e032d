/**
 * What every thread of a workgroup needs, where the workgroup is one subgroup: each thread loads its share, and hands it to
 * the others through registers (WGSL's `subgroupBroadcast`). On software adapters a load costs more than ten times as
 * much as a broadcast.
 * @module
 */

/** WGSL for the items that all threads need. */
export interface Shares {
  /** Statements before the loop: where this thread's items lie. */
  readonly places: readonly string[];
  /** Statements in the loop: reads of this thread's items, by what lies at an address. */
  readonly reads: (read: (address: string) => string) => string[];
  /** Item i, on every thread; only where all threads of the workgroup are. */
  readonly item: (i: number) => string;
}

/**
 * @param threads those of the subgroup, numbered `lane`
 * @param name prefix of the names that the text declares
 * @param place the address of item `i`, WGSL of a u32
 */
export function shareItems(
  threads: number,
  name: string,
  count: number,
  place: (item: string) => string,
): Shares {
  const turns = Array.from({ length: Math.ceil(count / threads) }, (_, turn) => turn);
  const own = (turn: number) => {
    const item = turn === 0 ? "lane" : `(lane + ${turn * threads}u)`;
    return (turn + 1) * threads <= count ? item : `min(${item}, ${count - 1}u)`;
  };
  return {
    places: turns.map((turn) => `  let ${name}At${turn} = ${place(own(turn))};`),
    reads: (read) => turns.map((turn) => `    let ${name}Own${turn} = ${read(`${name}At${turn}`)};`),
    item: (i) => `subgroupBroadcast(${name}Own${Math.floor(i / threads)}, ${i % threads}u)`,
  };
}

/**
 * Fused causal attention, forward and backward, for any head size: flash style, barrier-free, never storing [T, T].
 * `registers` (attention_forward.ts, attention_backward.ts): one query or key per thread, the channels of its head in
 * registers; for hardware. `tile` (attention_tile.ts): blocks of eight, results growing in memory; for software
 * adapters. `subgroup` (attention_subgroup.ts): blocks of sixteen, their loads shared by a subgroup; for software adapters
 * and many queries.
 * @module
 */
import type { AdapterFacts } from "./adapter_kind.ts";
import { backwardKeyValueBody, backwardQueryBody } from "./attention_backward.ts";
import { forwardBody } from "./attention_forward.ts";
import { type AttentionBodies, attentionProgram, type AttentionStage } from "./attention_program.ts";
import { fitsSubgroup, SUBGROUP_BODIES } from "./attention_subgroup.ts";
import { TILE_BODIES } from "./attention_tile.ts";
import { madeOnce } from "./kernel_spec.ts";
import { PHILOX_LOOP } from "./snippets.ts";
import { type AttentionKernel, type AttentionKernelOptions, attentionName } from "./attention_options.ts";

export type { AttentionKernel, AttentionKernelOptions, AttentionParam } from "./attention_options.ts";

/** The three kernels of one head size. */
export interface AttentionKernels {
  /** q, kv -> o and the log denominators. */
  readonly forward: AttentionKernel;
  /** dq and delta; before `backwardKeyValue`. */
  readonly backwardQuery: AttentionKernel;
  /** dk and dv. */
  readonly backwardKeyValue: AttentionKernel;
}

/** Which kernels `attentionKernels` makes: the choice for an adapter, and what a call needs. */
export type AttentionVariant =
  & AttentionChoice
  & Pick<AttentionKernelOptions, "vector" | "mask" | "dropout" | "grouped" | "windowed" | "documents">;

/** How a kernel divides the work. */
export interface AttentionChoice {
  /** Which of the designs. */
  readonly variant: AttentionKernelOptions["variant"];
  /** Rows a thread owns (`subgroup`: a workgroup): queries in `forward` and `backwardQuery`, keys in `backwardKeyValue`. */
  readonly rows: Readonly<Record<keyof AttentionKernels, number>>;
  /** Threads of a workgroup. */
  readonly WORKGROUP_SIZE: number;
}

const made = madeOnce<AttentionKernel>();

const BODIES: Readonly<Record<AttentionChoice["variant"], () => AttentionBodies>> = {
  registers: () => ({
    forward: forwardBody,
    backwardQuery: backwardQueryBody,
    backwardKeyValue: backwardKeyValueBody,
  }),
  tile: () => TILE_BODIES,
  subgroup: () => SUBGROUP_BODIES,
};

/** Loads the programs of the designs that serve an adapter, of which a bundle has none at first. */
export async function loadAttention({ kind, subgroupSize }: AdapterFacts): Promise<void> {
  if (kind === "hardware") await import("./attention_forward.ts");
  else {
    await import("./attention_tile.ts");
    if (subgroupSize >= LEAST_SUBGROUP) await import("./attention_subgroup.ts");
  }
}

function once(stage: AttentionStage, options: AttentionKernelOptions): AttentionKernel {
  const name = attentionName(stage, options);
  return made(name, () => attentionProgram(stage, options, BODIES[options.variant]()));
}

/** The kernels for a head size, each made once, when it is asked for. */
export function attentionKernels(size: number, choice: AttentionVariant): AttentionKernels {
  const { rows, WORKGROUP_SIZE, ...needs } = choice;
  const options = {
    ...needs,
    threads: needs.variant === "subgroup" ? WORKGROUP_SIZE : undefined,
    headSize: needs.variant === "tile" ? 0 : size,
  };
  return {
    get forward() {
      return once("forward", { ...options, rows: rows.forward });
    },
    get backwardQuery() {
      return once("backwardQuery", { ...options, rows: rows.backwardQuery });
    },
    get backwardKeyValue() {
      return once("backwardKeyValue", { ...options, rows: rows.backwardKeyValue });
    },
  };
}

/**
 * How many keys (queries in `backwardKeyValue`) one launch may take where a driver ends loops after `iterations`: a
 * multiple of 8, Infinity where it does not. A `tile` takes more in several launches.
 * @param group query heads that share keys and values: `backwardKeyValue` takes the queries of each
 */
export function attentionReach(
  stage: keyof AttentionKernels,
  { variant, rows, vector, dropout }: Pick<AttentionVariant, "variant" | "rows" | "vector" | "dropout">,
  headSize: number,
  iterations: number,
  group = 1,
): number {
  if (iterations === Infinity) return Infinity;
  const loops = stage === "backwardKeyValue" ? group : 1;
  // Every loop counts one iteration more, the one that ends it.
  const draw = 1 + PHILOX_LOOP;
  if (variant === "registers") {
    const meets = stage === "backwardKeyValue" ? 1 : 4; // a turn of the loop
    const turn = 1 + (dropout ? rows[stage] * draw : 0);
    return Math.floor((iterations - 1) / loops / turn * meets / 8) * 8;
  }
  const depth = vector ? headSize / 4 : headSize;
  // The scores of a step are its only loop; it has two columns for each thread, so eight or more.
  if (variant === "subgroup") return Math.floor((iterations - loops) / loops / (depth + 2)) * 8;
  const draws = dropout ? 1 + (stage === "backwardKeyValue" ? 8 : rows[stage]) * (1 + 2 * draw) : 0;
  const turn = 1 + 2 * (depth + 1) + draws; // scores, draws and results of eight keys
  return Math.max(1, Math.floor((iterations - 2 * (depth + 1)) / loops / turn)) * 8;
}

const TILE: AttentionChoice = {
  variant: "tile",
  rows: { forward: 8, backwardQuery: 8, backwardKeyValue: 8 },
  WORKGROUP_SIZE: 8,
};
const TILE_DECODE: AttentionChoice = { ...TILE, rows: { ...TILE.rows, forward: 1, backwardQuery: 1 } };
const SUBGROUP: AttentionChoice = {
  variant: "subgroup",
  rows: { forward: 16, backwardQuery: 16, backwardKeyValue: 16 },
  WORKGROUP_SIZE: 8,
};
const REGISTERS: AttentionChoice = {
  variant: "registers",
  rows: { forward: 1, backwardQuery: 1, backwardKeyValue: 1 },
  WORKGROUP_SIZE: 64,
};

/** Queries from which the subgroup variant serves: its programs take longer to compile. */
const MANY_QUERIES = 64;
/** Threads from which it serves: with SwiftShader's four the first training step did not end within a minute. */
const LEAST_SUBGROUP = 8;

/** Whether a choice can serve a call; `tile` serves all. */
export function servesAttention(
  { variant, WORKGROUP_SIZE }: AttentionChoice,
  headSize: number,
  dropout: boolean,
): boolean {
  return variant !== "subgroup" || !dropout && fitsSubgroup(headSize, WORKGROUP_SIZE);
}

/** The division of work for a kind of adapter and a number of queries. */
export function selectAttention({ kind, subgroupSize }: AdapterFacts, Tq: number): AttentionChoice {
  if (kind === "hardware") return REGISTERS;
  if (subgroupSize >= LEAST_SUBGROUP && Tq >= MANY_QUERIES) {
    return { ...SUBGROUP, WORKGROUP_SIZE: subgroupSize };
  }
  return Tq === 1 ? TILE_DECODE : TILE;
}

/** What calls may need, for the list below. */
const NEEDS = [
  { mask: false, dropout: false, grouped: false, windowed: false, documents: false },
  { mask: true, dropout: true, grouped: false, windowed: false, documents: false },
  { mask: false, dropout: false, grouped: true, windowed: true, documents: false },
  { mask: true, dropout: true, grouped: true, windowed: true, documents: false },
  { mask: false, dropout: false, grouped: false, windowed: false, documents: true },
  { mask: true, dropout: true, grouped: true, windowed: true, documents: true },
];

/** Every variant of the family, for the checks that walk all kernels. */
export function attentionKernelList(): AttentionKernel[] {
  const list = new Set<AttentionKernel>();
  for (const choice of [TILE, TILE_DECODE, REGISTERS]) {
    for (const size of [64, 5]) {
      for (const needs of NEEDS) {
        const kernels = attentionKernels(size, { ...choice, ...needs, vector: size % 4 === 0 });
        for (const kernel of Object.values(kernels)) list.add(kernel);
      }
    }
  }
  for (const needs of NEEDS.filter(({ mask, grouped }) => mask === grouped)) {
    const kernels = attentionKernels(32, { ...SUBGROUP, ...needs, dropout: false, vector: true });
    for (const kernel of Object.values(kernels)) list.add(kernel);
  }
  return [...list];
}

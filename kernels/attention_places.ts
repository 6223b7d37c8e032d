/**
 * Where a thread of an attention kernel works: its sequence, head and rows, and where those begin in memory.
 * @module
 */
import type { AttentionKernelOptions, AttentionParam } from "./attention_options.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** An element count as an index into the buffers. */
function units(options: AttentionKernelOptions, elements: string): string {
  return options.vector ? `(${elements}) / 4u` : `(${elements})`;
}

/** What a launch counts heads by: queries' heads, or those of keys and values. */
const headsOf = ({ grouped }: AttentionKernelOptions, length: "Tq" | "Tk") =>
  grouped && length === "Tk" ? "params.Hkv" : "params.H";

/** Where query head `h` begins in statistics, queries and results. */
const queryPlaces = (options: AttentionKernelOptions, D: string) => ({
  stat: "  let statHead = ((params.batch0 + b) * params.H + h) * params.Tq;",
  q: `  let qHead = ${units(options, `b * params.qBatch + h * ${D}`)};`,
  o: `  let oHead = ${units(options, `b * params.Tq * params.H * ${D} + h * ${D}`)};`,
});

/** Where the heads of a thread begin. A thread that owns keys of several query heads meets those in `queryHeads`. */
function headPlaces(options: AttentionKernelOptions, length: "Tq" | "Tk", D: string): string {
  const { stat, q, o } = queryPlaces(options, D);
  const shared = options.grouped && length === "Tq" ? "(h / (params.H / params.Hkv))" : "h";
  const k = `  let kHead = ${units(options, `b * params.kvBatch + params.kOffset + ${shared} * ${D}`)};`;
  const v = `  let vHead = ${units(options, `b * params.kvBatch + params.vOffset + ${shared} * ${D}`)};`;
  return (options.grouped && length === "Tk" ? [k, v] : [stat, q, k, v, o]).join("\n");
}

/** Opens and closes a loop over the query heads that share the keys of a thread. */
export function queryHeads(options: AttentionKernelOptions): { open: string[]; close: string[] } {
  if (!options.grouped) return { open: [], close: [] };
  const { stat, q, o } = queryPlaces(
    options,
    options.variant === "tile" ? "params.D" : `${options.headSize}u`,
  );
  const open = [
    "  let group = params.H / params.Hkv;",
    "  let keyHead = h;",
    "  for (var member = 0u; member < group; member++) {",
    "  let h = keyHead * group + member;",
    stat,
    q,
    o,
  ];
  return { open, close: ["  }"] };
}

/**
 * The head of every program: this thread's sequence `b`, head `h` and first row `first` of `rows`-sized blocks, and
 * where its head's channels begin. Threads of a `subgroup`, numbered `lane`, have one place.
 */
export function attentionPlace(options: AttentionKernelOptions, length: "Tq" | "Tk"): string {
  if (options.variant === "tile") return tilePlace(options, length);
  const D = `${options.headSize}u`;
  const heads = headsOf(options, length);
  const [thread, index] = options.variant === "subgroup"
    ? ["lane", "wid.x + wid.y * nwg.x"]
    : ["own", "(wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + own"];
  return `@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_index) ${thread}: u32) {
  let index = ${index};
  let blocks = (params.${length} + ${options.rows - 1}u) / ${options.rows}u;
  if (index >= params.B * ${heads} * blocks) { return; }
  let b = index / (${heads} * blocks);
  let h = index / blocks % ${heads};
  let first = index % blocks * ${options.rows}u;
${headPlaces(options, length, D)}
  let qRow = ${units(options, "params.qRow")};
  let kvRow = ${units(options, "params.kvRow")};
  let oRow = ${units(options, `params.H * ${D}`)};`;
}

/** Rows a launch covers, for its grid. */
export function attentionGrid(
  options: AttentionKernelOptions,
  length: "Tq" | "Tk",
): (
  params: Readonly<Record<AttentionParam, number>>,
  tuning: { readonly WORKGROUP_SIZE: number },
) => readonly [number] {
  const heads = options.grouped && length === "Tk" ? "Hkv" : "H";
  return (params, { WORKGROUP_SIZE }) => [
    Math.ceil(
      params.B * params[heads] * Math.ceil(params[length] / options.rows) /
        (options.variant === "subgroup" ? 1 : WORKGROUP_SIZE),
    ),
  ];
}

/** The same for the tile variant: threads run over heads first, D is a parameter. */
function tilePlace(options: AttentionKernelOptions, length: "Tq" | "Tk"): string {
  const heads = headsOf(options, length);
  return `${MAIN}
  let index = ${THREAD};
  let heads = params.B * ${heads};
  let first = index / heads * ${options.rows}u;
  if (first >= params.${length}) { return; }
  let b = index % heads / ${heads};
  let h = index % ${heads}; // as heads is a multiple of ${heads.slice("params.".length)}
  let depth = ${units(options, "params.D")};
${headPlaces(options, length, "params.D")}
  let qRow = ${units(options, "params.qRow")};
  let kvRow = ${units(options, "params.kvRow")};
  let oRow = ${units(options, "params.H * params.D")};${
    options.dropout ? "\n  let keepScale = 1.0 / (1.0 - params.p);" : ""
  }`;
}

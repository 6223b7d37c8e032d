/**
 * A kernel of the attention family from what its variant computes: its bindings, where its threads work, and its body.
 * @module
 */
import {
  attentionBuffers,
  attentionDeclarations,
  type AttentionKernel,
  type AttentionKernelOptions,
  attentionName,
  attentionParams,
} from "./attention_options.ts";
import { attentionGrid, attentionPlace } from "./attention_places.ts";

/** What a launch of each stage divides among threads, and its buffers after q and kv, mask and generator. */
const STAGES = {
  forward: { length: "Tq", buffers: { o: "read_write", stats: "read_write" } },
  backwardQuery: { length: "Tq", buffers: { dy: "read", o: "read", stats: "read_write", dq: "read_write" } },
  backwardKeyValue: { length: "Tk", buffers: { dy: "read", stats: "read", dkv: "read_write" } },
} as const;

/** One of the three kernels of a head size. */
export type AttentionStage = keyof typeof STAGES;

/** Statements of each stage after its place. */
export type AttentionBodies = Readonly<Record<AttentionStage, (options: AttentionKernelOptions) => string[]>>;

/** The kernel of a stage. */
export function attentionProgram(
  stage: AttentionStage,
  options: AttentionKernelOptions,
  bodies: AttentionBodies,
): AttentionKernel {
  const { length, buffers: last } = STAGES[stage];
  const buffers = attentionBuffers(options, { q: "read", kv: "read" }, last);
  return {
    name: attentionName(stage, options),
    buffers,
    params: attentionParams(options),
    tuning: { WORKGROUP_SIZE: options.threads ?? 64 },
    features: options.variant === "subgroup" ? ["subgroups"] : [],
    grid: attentionGrid(options, length),
    wgsl: `${attentionDeclarations(options, buffers)}

${attentionPlace(options, length)}
${bodies[stage](options).join("\n")}
}
`,
  };
}

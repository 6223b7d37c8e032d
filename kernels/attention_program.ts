/**
 * A kernel of the attention family from what its variant computes: its bindings, where its threads work, and its body.
 * @module
 */
import {
  attentionBuffers,
  attentionFunctions,
  type AttentionKernel,
  type AttentionKernelOptions,
  attentionName,
  attentionParams,
} from "./attention_options.ts";
import { type BufferDeclaration, defineKernel } from "./define_kernel.ts";
import { attentionGrid, attentionPlace } from "./attention_places.ts";

/** What a launch of each stage divides among threads, and its buffers after q and kv, mask and generator. */
const STAGES = {
  forward: {
    length: "Tq",
    buffers: (cell: string) => ({
      o: `read_write ${cell} // [B, Tq, C]`,
      stats: "read_write f32 // [2, all B, H, Tq]: log of the softmax denominator; sum of o dy",
    }),
  },
  backwardQuery: {
    length: "Tq",
    buffers: (cell: string) => ({
      dy: `read ${cell} // [B, Tq, C]`,
      o: `read ${cell} // [B, Tq, C]`,
      stats: "read_write f32 // [2, all B, H, Tq]: the sum of o dy is written",
      dq: `read_write ${cell} // laid out like q`,
    }),
  },
  backwardKeyValue: {
    length: "Tk",
    buffers: (cell: string) => ({
      dy: `read ${cell} // [B, Tq, C]`,
      stats: "read f32 // [2, all B, H, Tq]",
      dkv: `read_write ${cell} // laid out like kv`,
    }),
  },
} as const satisfies Record<
  string,
  { readonly length: string; buffers(cell: string): Readonly<Record<string, BufferDeclaration>> }
>;

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
  const { length, buffers } = STAGES[stage];
  const isSubgroup = options.variant === "subgroup";
  return defineKernel({
    name: attentionName(stage, options),
    buffers: attentionBuffers(options, buffers(options.vector ? "vec4f" : "f32")),
    params: attentionParams(options),
    tuning: { WORKGROUP_SIZE: options.threads ?? 64 },
    features: isSubgroup ? ["subgroups"] : [],
    directives: isSubgroup ? ["enable subgroups;"] : [],
    grid: attentionGrid(options, length),
    program: `${attentionFunctions(options)}

${attentionPlace(options, length)}
${bodies[stage](options).join("\n")}
}
`,
  });
}

/**
 * Fused causal attention, forward and backward, for any head size: flash style, barrier-free, never storing [T, T].
 * @module
 */
import { attentionBackwardKeyValue, attentionBackwardQuery } from "./attention_backward.ts";
import { attentionForward } from "./attention_forward.ts";
import { type AttentionKernel, attentionName, type AttentionOptions } from "./attention_options.ts";

export type { AttentionKernel, AttentionOptions, AttentionParam } from "./attention_options.ts";

/** The three kernels of one head size. */
export interface AttentionKernels {
  readonly forward: AttentionKernel;
  readonly backwardQuery: AttentionKernel;
  readonly backwardKeyValue: AttentionKernel;
}

/** Which kernels `attentionKernels` makes. */
export type AttentionVariant = Omit<AttentionOptions, "headSize" | "rows"> & {
  /** Rows a thread owns: queries in `forward` and `backwardQuery`, keys (1, 2 or 4) in `backwardKeyValue`. */
  readonly rows: Readonly<Record<keyof AttentionKernels, number>>;
};

const made = new Map<string, AttentionKernel>();

function once(
  stage: keyof AttentionKernels,
  make: (options: AttentionOptions) => AttentionKernel,
  options: AttentionOptions,
): AttentionKernel {
  const name = attentionName(stage, options);
  let kernel = made.get(name);
  if (!kernel) made.set(name, kernel = make(options));
  return kernel;
}

/** The kernels for a head size, each made once. */
export function attentionKernels(headSize: number, variant: AttentionVariant): AttentionKernels {
  const { rows, vector, mask, dropout } = variant;
  const options = { headSize, vector, mask, dropout };
  return {
    forward: once("forward", attentionForward, { ...options, rows: rows.forward }),
    backwardQuery: once("backwardQuery", attentionBackwardQuery, { ...options, rows: rows.backwardQuery }),
    backwardKeyValue: once("backwardKeyValue", attentionBackwardKeyValue, {
      ...options,
      rows: rows.backwardKeyValue,
    }),
  };
}

/**
 * Rows a thread owns and threads a workgroup. Software adapters gain by sharing loads between rows; hardware would
 * spill registers.
 */
export function selectAttention(device: { readonly isFallback: boolean }): {
  readonly rows: AttentionVariant["rows"];
  readonly WORKGROUP_SIZE: number;
} {
  return device.isFallback
    ? { rows: { forward: 2, backwardQuery: 2, backwardKeyValue: 4 }, WORKGROUP_SIZE: 8 }
    : { rows: { forward: 1, backwardQuery: 1, backwardKeyValue: 1 }, WORKGROUP_SIZE: 64 };
}

/** Every variant of the family at two head sizes, for the checks that walk all kernels. */
export function attentionKernelList(): AttentionKernel[] {
  const list: AttentionKernel[] = [];
  for (const headSize of [64, 5]) {
    for (const rows of [1, 4]) {
      for (const [mask, dropout] of [[false, false], [true, true]]) {
        const all = { forward: rows, backwardQuery: rows, backwardKeyValue: rows };
        const kernels = attentionKernels(headSize, { rows: all, vector: headSize % 4 === 0, mask, dropout });
        list.push(...Object.values(kernels));
      }
    }
  }
  return list;
}

/**
 * Matrix products: y = alpha a b, with bias, gelu_new, residual, accumulation and the LoRA extension in the epilogue.
 *
 * - `register`: barrier-free register tile, best on software adapters, and everywhere for skinny products
 *   (after tfjs-backend-webgpu's register blocking without its shared memory).
 * - `shared`: tiles in workgroup memory (Volkov & Demmel 2008, "Benchmarking GPUs to tune dense linear algebra").
 *
 * Both come in NN, NT and TN, for f32 and packed f16 right operands, with four-wide or scalar access to each operand.
 * @module
 */
import type { MatmulKernel, MatmulOptions } from "./matmul_options.ts";
import { matmulName } from "./matmul_options.ts";
import { matmulRegisterKernel } from "./matmul_register.ts";

export type {
  MatmulExtension,
  MatmulKernel,
  MatmulLayout,
  MatmulOptions,
  MatmulParam,
  MatmulVectorAccess,
  MatmulWeightFormat,
} from "./matmul_options.ts";
export { type MatmulShape, type MatmulTile, selectMatmul } from "./matmul_select.ts";

const made = new Map<string, MatmulKernel>();

/** The kernel for these options, made once. */
export function matmulKernel(options: MatmulOptions): MatmulKernel {
  const name = matmulName(options);
  let kernel = made.get(name);
  if (!kernel) made.set(name, kernel = matmulRegisterKernel(options));
  return kernel;
}

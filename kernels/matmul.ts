/**
 * Matrix products: y = alpha a b, with bias, activation, residual, accumulation and the LoRA extension in the epilogue.
 *
 * - `register`: barrier-free register tile, best on software adapters, and everywhere for skinny products
 *   (after tfjs-backend-webgpu's register blocking without its shared memory).
 *   Where the threads of a workgroup are one subgroup, what all of them need is loaded once (`subgroup_items.ts`).
 * - `shared`: tiles in workgroup memory (Volkov & Demmel 2008, "Benchmarking GPUs to tune dense linear algebra").
 *
 * Both come in NN, NT and TN, for right operands in every format of weights (`weights/`), with four-wide or scalar
 * access to each operand.
 * @module
 */
import { defineKernel, elementTypes } from "./define_kernel.ts";
import { groupsFor, madeOnce } from "./kernel_spec.ts";
import {
  type JointKernel,
  jointMatmul,
  jointName,
  type JointPart,
  type MatmulOrder,
} from "./matmul_joint.ts";
import {
  MATMUL_PARAMS,
  matmulFeatures,
  type MatmulKernel,
  matmulName,
  type MatmulOptions,
} from "./matmul_options.ts";
import { registerProgram } from "./matmul_register.ts";
import { sharedProgram } from "./matmul_shared.ts";
import { activationFunctions, matmulBuffers, matmulDirectives, readerOfB } from "./matmul_text.ts";
import { formatNamed, WEIGHT_FORMAT_NAMES } from "./weights/mod.ts";

export type {
  MatmulExtension,
  MatmulKernel,
  MatmulLayout,
  MatmulOptions,
  MatmulParam,
  MatmulVectorAccess,
  MatmulWeightFormat,
} from "./matmul_options.ts";
import { DECODED_COLUMNS, DECODING_THREADS } from "./matmul_options.ts";
export { DECODED_COLUMNS, DECODING_THREADS } from "./matmul_options.ts";
export {
  bindingNames,
  canShare,
  type JointKernel,
  type JointPart,
  type MatmulOrder,
  partParam,
} from "./matmul_joint.ts";
export { type MatmulShape, type MatmulTile, selectMatmul } from "./matmul_select.ts";

const made = madeOnce<MatmulKernel>();
const joint = madeOnce<JointKernel>();

function makeKernel(name: string, options: MatmulOptions): MatmulKernel {
  const program = options.variant === "shared" ? sharedProgram(options) : registerProgram(options);
  const { threads, memory, body } = program;
  const declared = matmulBuffers(options);
  const kernel = defineKernel({
    name,
    directives: matmulDirectives(options),
    program: `${[readerOfB(options, "b"), activationFunctions(options), ...memory].join("\n")}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${body}
}
`,
    buffers: declared,
    params: MATMUL_PARAMS,
    features: matmulFeatures(options),
    tuning: {},
    grid: ({ M, N, batch }) => [
      groupsFor(N, options.tileN * options.lanesN),
      groupsFor(M, options.tileM * options.lanesM),
      batch,
    ],
  });
  return { ...kernel, options, elements: elementTypes(declared), declared, program };
}

/** The kernel for these options, made once. */
export function matmulKernel(options: MatmulOptions): MatmulKernel {
  const name = matmulName(options);
  return made(name, () => makeKernel(name, options));
}

/** The kernel of several products whose workgroups are of one kind, made once. */
export function jointMatmulKernel(parts: readonly JointPart[], order: MatmulOrder): JointKernel {
  const name = jointName(parts, order);
  return joint(name, () => jointMatmul(name, parts, order));
}

const PLAIN: MatmulOptions = {
  variant: "register",
  layout: "nn",
  weight: "f32",
  vector: { a: true, b: true, y: true, extension: true },
  tileM: 8,
  tileN: 8,
  lanesM: 1,
  lanesN: 8,
  lanesK: 1,
  tileK: 4,
  anyK: false,
  extension: "none",
  bias: false,
  activation: "none",
  preActivation: false,
  residual: false,
  accumulate: false,
};

const SHARED: Partial<MatmulOptions> = {
  variant: "shared",
  tileM: 8,
  tileN: 8,
  lanesM: 16,
  lanesN: 16,
  lanesK: 1,
  tileK: 16,
};

const SCALAR = { a: false, b: false, y: false, extension: false };

/** Every variant, epilogue and operand format of the family once, for the checks that walk all kernels. */
export function matmulKernels(): MatmulKernel[] {
  const layouts = ["nn", "nt", "tn"] as const;
  const changes: Partial<MatmulOptions>[] = [
    {},
    { vector: SCALAR, anyK: true },
    { anyK: true, accumulate: true },
    { bias: true, residual: true },
    { bias: true, activation: "gelu_new", preActivation: true },
    { activation: "silu", gated: true },
    { bias: true, activation: "gelu", gated: true, preActivation: true, vector: SCALAR },
    { bias: true, activation: "gelu_new", residual: true, vector: SCALAR },
    { extension: "nt", bias: true },
    { extension: "nt", vector: SCALAR, bias: true, activation: "gelu_new", preActivation: true },
    { extension: "nn" },
    { extension: "nn", vector: SCALAR },
    { tileM: 4, tileN: 16, lanesM: 8, lanesN: 1 },
    { tileM: 16, tileN: 16 },
    { tileM: 1, tileN: 4 },
    { broadcast: true },
    { broadcast: true, vector: SCALAR, anyK: true, extension: "nn", bias: true },
    { broadcast: true, tileM: 32, lanesN: 4, extension: "nt", residual: true },
    { broadcast: true, tileN: 16, lanesM: 8, lanesN: 1, anyK: true },
    { tileM: 2, tileN: 4, lanesN: 16, lanesK: 8, anyK: true, bias: true },
    SHARED,
    { ...SHARED, vector: SCALAR, anyK: true },
    { ...SHARED, ahead: true },
    { ...SHARED, ahead: true, vector: SCALAR, anyK: true, bias: true },
    { ...SHARED, extension: "nt", bias: true, activation: "gelu_new", preActivation: true },
    { ...SHARED, extension: "nn", vector: SCALAR, bias: true, activation: "gelu_new", residual: true },
    { ...SHARED, tileM: 4, tileN: 4, tileK: 32, accumulate: true },
  ];
  // No product for the gradient of a weight that is frozen.
  const frozen = WEIGHT_FORMAT_NAMES.filter((weight) => weight !== PLAIN.weight).flatMap((weight) =>
    (formatNamed(weight).native ? [false, true] : [false]).flatMap((nativeHalf) => [
      { weight, nativeHalf, grouped: formatNamed(weight).reading.shared !== undefined },
      { weight, nativeHalf, grouped: formatNamed(weight).reading.shared !== undefined, broadcast: true },
      { weight, nativeHalf, vector: SCALAR, anyK: true },
      { ...SHARED, weight, nativeHalf, anyK: true },
    ])
  );
  const all = layouts.flatMap((layout) =>
    (layout === "tn" ? changes : [...changes, ...frozen]).map((change) =>
      matmulKernel({ ...PLAIN, layout, ...change, grouped: layout === "nt" && change.grouped })
    )
  );
  const subgroup = { broadcast: true, lanesM: 1, lanesN: 1 };
  const groups = WEIGHT_FORMAT_NAMES.flatMap((weight) => {
    const { shared } = formatNamed(weight).reading;
    if (!shared) return [];
    const row = { tileM: 1, tileN: shared.pieces.elements, anyK: true } as const;
    const changes: Partial<MatmulOptions>[] = [
      row,
      { ...row, ...subgroup, lanesK: 8 },
      { ...subgroup, tileM: 4, tileN: DECODED_COLUMNS, lanesM: DECODING_THREADS },
      { ...subgroup, layout: "nt", tileM: 1, tileN: 4, lanesN: 8 },
    ];
    return changes.map((change) => matmulKernel({ ...PLAIN, weight, grouped: true, ...change }));
  });
  return [...new Set([...all, ...groups])];
}

/** Joint launches of every kind, for the same checks. */
export function jointMatmulKernels(): JointKernel[] {
  const few = { layout: "nt", tileM: 1, tileN: 4, lanesN: 16 } as const;
  const kernel = (change: Partial<MatmulOptions>) => matmulKernel({ ...PLAIN, ...change });
  const part = (change: Partial<MatmulOptions>, shares: JointPart["shares"]): JointPart => ({
    kernel: kernel(change),
    shares,
  });
  const three = (change: Partial<MatmulOptions>) =>
    jointMatmulKernel([0, 1, 2].map((p) => part({ ...few, ...change }, p > 0 ? { a: "a_0" } : {})), "beside");
  const gated = (change: Partial<MatmulOptions>) =>
    jointMatmulKernel([
      part({ ...few, ...change }, {}),
      part({ ...few, ...change, activation: "silu", gated: true }, { a: "a_0", gate: "y_0" }),
    ], "after");
  const sum = (change: Partial<MatmulOptions>) =>
    jointMatmulKernel([
      part({ residual: true, ...change }, {}),
      part({ accumulate: true, ...change }, { y: "y_0" }),
    ], "after");
  const packed = WEIGHT_FORMAT_NAMES.filter((weight) => formatNamed(weight).reading.shared).slice(0, 1);
  return [
    three({}),
    three({ lanesK: 16 }),
    ...packed.map((weight) => three({ weight, grouped: true })),
    jointMatmulKernel(
      [part({ ...few, bias: true }, {}), part({ ...few, tileN: 8, vector: SCALAR }, {})],
      "beside",
    ),
    gated({}),
    gated({ lanesK: 16, bias: true, vector: SCALAR, anyK: true }),
    gated({ ...SHARED, layout: "nt" }),
    sum({}),
    sum({ ...SHARED }),
    sum({ broadcast: true, tileM: 32 }),
  ];
}

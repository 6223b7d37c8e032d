/**
 * Several products in one launch, each by the program that it has alone, so that it gives the same bits:
 *
 * - `beside`: each has workgroups of its own, which choose by their number (q, k and v of one input);
 * - `after`: every workgroup computes its tile of one product after that of another, which may read what its own threads
 *   have written (a gate and what it multiplies; the terms of a sum).
 *
 * Names of part p's buffers, functions and parameters end in _p; a buffer that several parts use is one binding.
 * @module
 */
import { type BufferDeclaration, defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec, type ParamType } from "./kernel_spec.ts";
import { MATMUL_PARAMS, type MatmulKernel, type MatmulParam } from "./matmul_options.ts";
import { activationFunctions, matmulDirectives, range, readerOfB } from "./matmul_text.ts";
import { bufferNames, formatNamed } from "./weights/mod.ts";

/** How products share a launch. */
export type MatmulOrder = "beside" | "after";

/** One of the products. */
export interface JointPart {
  /** What computes it alone. */
  readonly kernel: MatmulKernel;
  /** The binding of each of its buffers that an earlier part has already. */
  readonly shares: Readonly<Record<string, string>>;
}

/** Rows of a workgroup. */
const rowsOf = ({ options: { tileM, lanesM } }: MatmulKernel) => tileM * lanesM;
/** Columns of a workgroup. */
const columnsOf = ({ options: { tileN, lanesN } }: MatmulKernel) => tileN * lanesN;

/**
 * Whether the workgroups of two products are of one kind: as many threads, the same workgroup memory, as many rows; and
 * `after` each other the same tile, so that each thread finds its own elements.
 */
export function canShare(one: MatmulKernel, other: MatmulKernel, order: MatmulOrder): boolean {
  const [a, b] = [one.options, other.options];
  return one.program.threads === other.program.threads && rowsOf(one) === rowsOf(other) &&
    one.program.memory.join() === other.program.memory.join() &&
    (order === "beside" ||
      a.variant === b.variant && a.layout === b.layout && a.tileM === b.tileM && a.tileN === b.tileN &&
        a.lanesN === b.lanesN && a.lanesK === b.lanesK);
}

/** A kernel of several products. */
export type JointKernel = KernelSpec<string, string, never>;

/** Name of a part's parameter. */
export function partParam(name: MatmulParam, part: number): string {
  return `${name}_${part}`;
}

/** The kernel's name, under which it is kept; asked for at every launch. */
export function jointName(parts: readonly JointPart[], order: MatmulOrder): string {
  const each = parts.map(({ kernel, shares }) => {
    let text = kernel.name;
    for (const name in shares) text += ` ${name}=${shares[name]}`;
    return text;
  });
  return `jointMatmul.${order}: ${each.join(" + ")}`;
}

/** The binding of each buffer of a part, by its name where the product is alone. */
export function bindingNames({ kernel, shares }: JointPart, part: number): Record<string, string> {
  const format = formatNamed(kernel.options.weight);
  const own = bufferNames(format, "b");
  const numbered = bufferNames(format, `b_${part}`);
  return Object.fromEntries(
    Object.keys(kernel.buffers).map((name) => [
      name,
      shares[name] ?? numbered[own.indexOf(name)] ?? `${name}_${part}`,
    ]),
  );
}

/** A program's statements with the names of a part: buffers are what is indexed, the readers of b what is called. */
function renamed(body: string, names: Readonly<Record<string, string>>, part: number): string {
  return body
    .replaceAll(/(?<![.\w])(\w+)\[/g, (text, name) => Object.hasOwn(names, name) ? `${names[name]}[` : text)
    .replaceAll(/\bloadB\(/g, `loadB_${part}(`)
    .replaceAll(/\b(start|shared|four|group|piece|quad)_b\(/g, `$1_b_${part}(`)
    .replaceAll(/\bparams\.(\w+)/g, `params.$1_${part}`);
}

/** The kernel of these parts. */
export function jointMatmul(
  name: string,
  parts: readonly JointPart[],
  order: MatmulOrder,
): JointKernel {
  const kernels = parts.map(({ kernel }) => kernel);
  const [{ program: { threads, memory } }] = kernels;
  const names = parts.map(bindingNames);
  const buffers: Record<string, BufferDeclaration> = {};
  kernels.forEach((kernel, p) => {
    for (const [own, access] of Object.entries(kernel.buffers)) {
      const binding = names[p][own];
      const declared = buffers[binding] ?? kernel.declared[own] as BufferDeclaration;
      buffers[binding] = access === "read"
        ? declared
        : declared.replace(/^read /, "read_write ") as BufferDeclaration;
    }
  });
  const params: Record<string, ParamType> = {};
  for (const p of range(parts.length)) {
    for (const [param, type] of Object.entries(MATMUL_PARAMS)) {
      params[partParam(param as MatmulParam, p)] = type;
    }
  }
  const call = (p: number, group: string) => `product${p}(${group}, lane);`;
  const beside = () =>
    range(parts.length).flatMap((p) => {
      const width = columnsOf(kernels[p]);
      const rows = rowsOf(kernels[p]);
      const first = p === 0 ? "0u" : `end${p - 1}`;
      return [
        `  let end${p} = ${first} + (params.N_${p} + ${width - 1}u) / ${width}u; // its workgroups end`,
        `  if (group.x >= ${first} && group.x < end${p} && group.y * ${rows}u < params.M_${p}) {`,
        `    ${call(p, p === 0 ? "group" : `vec3u(group.x - ${first}, group.yz)`)}`,
        "  }",
      ];
    });
  const after = () =>
    range(parts.length).flatMap((p) => [
      ...(p > 0 && memory.length > 0
        ? ["  workgroupBarrier(); // nobody reads the last product's memory"]
        : []),
      `  ${call(p, "group")}`,
    ]);
  const unique = (lists: readonly (readonly string[])[]) => [...new Set(lists.flat())];
  return defineKernel({
    name,
    directives: unique(kernels.map(({ options }) => matmulDirectives(options))),
    program: `${
      [
        ...kernels.map(({ options }, p) => readerOfB(options, `b_${p}`)),
        ...unique(kernels.map(({ options }) => [activationFunctions(options)])),
        ...memory,
        ...kernels.map(({ program: { body } }, p) =>
          `fn product${p}(group: vec3u, lane: u32) {\n${renamed(body, names[p], p)}\n}`
        ),
      ].join("\n")
    }
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${(order === "beside" ? beside() : after()).join("\n")}
}
`,
    buffers,
    params,
    features: unique(kernels.map(({ features = [] }) => features)),
    tuning: {},
    grid: (params) => {
      const columns = kernels.map((kernel, p) => groupsFor(params[partParam("N", p)], columnsOf(kernel)));
      const rows = kernels.map((kernel, p) => groupsFor(params[partParam("M", p)], rowsOf(kernel)));
      const x = order === "beside" ? columns.reduce((sum, count) => sum + count) : Math.max(...columns);
      return [x, Math.max(...rows), 1];
    },
  });
}

/**
 * Kernels whose declarations stand in one place: the table of a kernel's buffers, parameters and constants, of which the
 * WGSL that declares them is made.
 * @module
 */

import type { BufferAccess, KernelSpec, ParamType } from "./kernel_spec.ts";

/** How a storage buffer is used, the WGSL type of its elements, and its shape: `read f32 // [rows, cols]`. */
export type BufferDeclaration = `${BufferAccess} ${string}`;

/** What a kernel is made of. */
export interface KernelDefinition<
  Buffers extends string = string,
  Params extends string = string,
  Tuning extends string = string,
> extends Omit<KernelSpec<Buffers, Params, Tuning>, "buffers" | "wgsl"> {
  /** Storage buffers in binding order, each an array; false: this kernel of a family has no such buffer. */
  readonly buffers: Readonly<Record<Buffers, BufferDeclaration | false>>;
  /** WGSL that stands before all declarations. */
  readonly directives?: readonly string[];
  /** WGSL of `main` and what it needs besides buffers, `params` and the constants of `tuning`. */
  readonly program: string;
}

type Declared<Buffers extends string = string> = Readonly<Record<Buffers, BufferDeclaration | false>>;

/** The parts of the declarations of the buffers that there are. */
function readBuffers(buffers: Declared) {
  return Object.entries(buffers).flatMap(([name, declaration]) => {
    if (declaration === false) return [];
    const [access, type, ...comment] = declaration.split(" ");
    return [{ name, access: access as BufferAccess, type, comment: comment.join(" ") }];
  });
}

/** WGSL type of the elements of each buffer. */
export function elementTypes(buffers: Declared): Readonly<Record<string, string>> {
  return Object.fromEntries(readBuffers(buffers).map(({ name, type }) => [name, type]));
}

/** The kernel of a definition. */
export function defineKernel<Buffers extends string, Params extends string, Tuning extends string>(
  definition: KernelDefinition<Buffers, Params, Tuning>,
): KernelSpec<Buffers, Params, Tuning> {
  const { buffers: declared, directives = [], program, ...rest } = definition;
  const buffers = readBuffers(declared);
  const fields = Object.entries<ParamType>(rest.params).map(([name, type]) => `${name}: ${type}`);
  const bindings = buffers.map(({ name, access, type, comment }) =>
    `var<storage, ${access}> ${name}: array<${type}>; ${comment}`.trimEnd()
  );
  if (fields.length > 0) {
    bindings.push(`var<uniform> params: Params;\nstruct Params { ${fields.join(", ")} }`);
  }
  const lines = [
    ...directives,
    ...Object.entries<number>(rest.tuning).map(([name, value]) => `override ${name}: u32 = ${value}u;`),
    ...bindings.map((binding, i) => `@group(0) @binding(${i}) ${binding}`),
  ];
  return {
    ...rest,
    buffers: Object.fromEntries(buffers.map(({ name, access }) => [name, access])) as Record<
      Buffers,
      BufferAccess
    >,
    wgsl: `${lines.join("\n")}\n${program}`,
  };
}

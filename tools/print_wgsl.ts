/**
 * Prints the numbered WGSL of a kernel, so that a compiler's line:column can be looked up; without a name, the names.
 * Run: `deno task wgsl layer_norm`.
 * @module
 */
import { allKernels } from "../kernels/mod.ts";

/** A program with right-aligned line numbers. */
export function numberLines(wgsl: string): string {
  const lines = wgsl.split("\n");
  const width = String(lines.length).length;
  return lines.map((line, i) => `${String(i + 1).padStart(width)}  ${line}`.trimEnd()).join("\n");
}

if (import.meta.main) {
  const kernels = allKernels();
  const names = kernels.map((kernel) => kernel.name);
  const wanted = Deno.args[0];
  if (wanted === undefined) {
    console.log(names.join("\n"));
  } else {
    const found = kernels.filter((kernel) => kernel.name === wanted || kernel.name.startsWith(`${wanted}_`));
    if (found.length === 0) {
      console.error(`Cannot print "${wanted}": no kernel has this name, expected one of ${names.join(", ")}`);
      Deno.exit(1);
    }
    for (const kernel of found) {
      const bindings = Object.entries(kernel.buffers).map(([name, access]) => `${name} (${access})`);
      const params = Object.entries(kernel.params).map(([name, type]) => `${name}: ${type}`);
      console.log(`// ${kernel.name}: ${bindings.join(", ")}; ${params.join(", ") || "no params"}`);
      console.log(numberLines(kernel.wgsl));
    }
  }
}

/**
 * Prints the numbered WGSL of a kernel, so that a compiler's line:column can be looked up: `deno task wgsl NAME`.
 * Where no kernel has the name, those that begin with it; without a name, the list of names.
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
    const exact = kernels.filter((kernel) => kernel.name === wanted);
    const found = exact.length > 0 ? exact : kernels.filter((kernel) => kernel.name.startsWith(wanted));
    if (found.length === 0) {
      console.error(
        `Cannot print "${wanted}": no kernel's name begins so, expected one of ${names.join(", ")}`,
      );
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

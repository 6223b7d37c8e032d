/**
 * A grid over 65,535 workgroups is folded into two dimensions, and then some workgroups have nothing to do. In-place work
 * done by them as well would race with the workgroup whose work it is, which shows in few runs. So every kernel whose
 * grid is folded runs here without any work: it must not write a word.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { defaultDevice, Tensor } from "../../autograd/mod.ts";
import { allKernels } from "../../kernels/mod.ts";

const WORDS = 1024;
/** What every word of every buffer holds before: no float, no id, no count. */
const MARK = 0x7fabcdef;

Deno.test("every kernel whose grid is folded leaves its buffers alone in workgroups that have no work", async () => {
  const device = await defaultDevice();
  const seen: string[] = [];
  for (const kernel of allKernels()) {
    // The attention kernels begin alike; those with channels in registers take long to compile.
    const quick = /\.tile\.|^attention\.forward\..*\.subgroup/;
    if (kernel.name.startsWith("attention.") && !quick.test(kernel.name)) continue;
    if (kernel.features?.some((name) => !device.features.has(name))) continue;
    const names = Object.keys(kernel.params);
    const ordinary = Object.fromEntries(names.map((name) => [name, 8]));
    const grid = kernel.grid(ordinary, kernel.tuning);
    if (grid.length !== 1) continue;
    const attention = kernel.name.startsWith("attention.");
    const counts = names.filter((name) =>
      // Attention's surplus workgroups are blocks of queries or keys past the end, never of absent heads.
      (!attention || name.startsWith("T")) &&
      kernel.grid({ ...ordinary, [name]: 0 }, kernel.tuning)[0] === 0
    );
    for (const name of counts) {
      const surplus = { ...kernel, name: `${kernel.name} without ${name}`, grid: () => [3] as const };
      const buffers = Object.fromEntries(
        Object.keys(kernel.buffers).map((buffer) =>
          [buffer, Tensor.from(new Uint32Array(WORDS).fill(MARK), { device })] as const
        ),
      );
      const views = Object.fromEntries(Object.entries(buffers).map(([key, { view }]) => [key, view]));
      device.dispatch(surplus, views, { ...ordinary, [name]: 0 });
      const written = await Promise.all(
        Object.entries(buffers).map(async ([key, tensor]) =>
          (await tensor.data()).every((word) => word === MARK) ? null : key
        ),
      );
      assertEquals(written.filter((key) => key !== null), [], `${surplus.name} writes`);
      for (const tensor of Object.values(buffers)) tensor.dispose();
      seen.push(surplus.name);
    }
  }
  assert(seen.length > 100, `only ${seen.length} kernels were tried`);
  for (
    const part of [
      "softmaxForwardWorkgroup",
      "qrFormWorkgroup",
      "svdRotateWorkgroup",
      "greedyTokens",
      "sampleTokens",
      "attention.forward.d32",
    ]
  ) {
    assert(seen.some((name) => name.startsWith(part)), `"${part}" was not tried`);
  }
});

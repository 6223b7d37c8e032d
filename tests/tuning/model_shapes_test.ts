/**
 * The shapes of a model are those that it launches, and no others.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Device } from "@peft/webgpu";
import { tidy } from "../../autograd/mod.ts";
import { attentionClass, KernelPicks, matmulClass, setPicks } from "../../autograd/picks.ts";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { AutoModelForCausalLM, type CausalLM } from "../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { modelShapes, recordShapes, tuneKernels, type TuningShape } from "../../tuning/mod.ts";
import { ToyConfig, ToyForCausalLM } from "../model/toy_model.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { sampleMatmul } from "../../tuning/shapes.ts";

/** A shape without its name, defaults written out. */
function text(shape: TuningShape): string {
  if (shape.kind === "matmul") return `${shape.layout} ${shape.weight} ${shape.M} ${shape.N} ${shape.K}`;
  const { Tq, Tk, heads, headSize, keyValueHeads = heads, window = null } = shape;
  return `attention ${Tq} ${Tk} ${heads}/${keyValueHeads} x ${headSize} window ${window}`;
}

/** Names of the products of a joint launch; none for other kernels. */
const jointParts = (name: string) => /^jointMatmul\.\w+: (.*)/.exec(name)?.[1].split(" + ") ?? [];

/** The products (without batches) and attentions among the dispatches of `body`, in the words of `text`. */
async function dispatched(
  device: Device,
  body: () => unknown,
): Promise<{ shapes: string[]; kernels: string[] }> {
  const shapes = new Set<string>();
  const kernels: string[] = [];
  const { dispatch } = device;
  device.dispatch = (kernel: KernelSpec, buffers, params: Record<string, number>, ...rest) => {
    const [family, , layout, weight] = kernel.name.split(".");
    if (family === "matmul" && params.batch === 1) {
      shapes.add(`${layout} ${weight} ${params.M} ${params.N} ${params.K}`);
      kernels.push(kernel.name);
    }
    for (const [p, part] of jointParts(kernel.name).entries()) {
      const [, , layout, weight] = part.split(".");
      shapes.add(`${layout} ${weight} ${params[`M_${p}`]} ${params[`N_${p}`]} ${params[`K_${p}`]}`);
      kernels.push(part);
    }
    if (family === "attention" && kernel.name.includes(".forward")) {
      const { Tq, Tk, H, Hkv, D } = params;
      const window = kernel.name.includes("window") ? params.window : null;
      shapes.add(`attention ${Tq} ${Tk} ${H}/${Hkv} x ${D} window ${window}`);
      kernels.push(kernel.name);
    }
    return dispatch.call(device, kernel, buffers, params as never, ...rest);
  };
  try {
    await body();
  } finally {
    device.dispatch = dispatch;
  }
  return { shapes: [...shapes], kernels };
}

async function llama(name: string): Promise<{ device: Device; base: CausalLM }> {
  const device = await ownDevice();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/${name}`, { device });
  return { device, base };
}

for (const name of ["llama", "mistral", "gemma3"]) {
  Deno.test(`modelShapes() of ${name} with LoRA records what a step and a generation launch, and nothing else`, async () => {
    const { device, base } = await llama(name);
    const adapted = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["q_proj", "down_proj"] }));
    const ids = Array.from({ length: 12 }, (_, i) => (7 * i + 1) % base.facts.vocabSize);
    const { shapes: launched } = await dispatched(device, async () => {
      tidy(() => adapted.forward({ inputIds: [ids], labels: [ids] }).loss!.backward());
      await base.generate([ids], { maxNewTokens: 2, eosTokenId: null });
    });
    for (const parameter of base.parameters()) parameter.grad?.dispose(), parameter.grad = null;
    const live = device.memory.liveBytes;
    const found = await modelShapes(base, { tokens: [12] });
    assertEquals(found.map(text).sort(), launched.sort());
    assertEquals(device.memory.liveBytes, live, "gradients are gone");
    const attentions = found.filter(({ kind }) => kind === "attention").map(text);
    const group = name === "gemma3" ? "4/2 x 16" : "4/2 x 8";
    assert(
      attentions.includes(
        `attention 1 13 ${group} window ${name === "llama" ? null : name === "gemma3" ? 6 : 7}`,
      ),
      `${attentions}`,
    );
    for (const part of ["self_attn.q_proj", "mlp.down_proj dx", "lm_head", "adapter", "attention, cached"]) {
      assert(found.some((shape) => shape.name === part), `${part}: ${found.map((shape) => shape.name)}`);
    }
    assert(!found.some((shape) => / dW$/.test(shape.name)), "no frozen weight has a gradient");
    base.dispose();
  });
}

Deno.test("modelShapes() of a model that trains whole has the gradients of its weights, in its own layouts", async () => {
  const device = await ownDevice();
  const model = new ToyForCausalLM(new ToyConfig(), { device });
  const [first] = model.parameters();
  tidy(() => model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] }).loss!.backward());
  const before = await first.grad!.data();
  const shapes = await modelShapes(model, { tokens: [8], generation: false });
  const mix = shapes.flatMap((s) =>
    s.kind === "matmul" && /\.mix\b/.test(s.name) ? [`${s.name} ${text(s)}`] : []
  );
  assertEquals(mix.map((line) => line.replace(/^\S*\./, "")).sort(), [
    "mix dW tn f32 72 24 8",
    "mix dx nn f32 8 24 72",
    "mix nt f32 8 72 24",
  ]);
  assertEquals(await first.grad!.data(), before, "the gradient that was there is there again");
  assertEquals(new Set(shapes.map(text)).size, shapes.length);
  model.dispose();
});

Deno.test("picks for recorded shapes serve in the next step, products and grouped attention in their own classes", async () => {
  const { device, base } = await llama("mistral");
  const ids = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
  const step = () => tidy(() => base.forward({ inputIds: [ids], labels: [ids] }).loss!.backward());
  const shapes = await recordShapes(device, step);
  const plain = await dispatched(device, step);
  const picks = new KernelPicks();
  const rows = { forward: 2, backwardQuery: 1, backwardKeyValue: 1 };
  for (const shape of shapes) {
    if (shape.kind === "matmul") {
      const tile = {
        variant: "register",
        tileM: 2,
        tileN: 4,
        lanesM: 1,
        lanesN: 8,
        lanesK: 1,
        tileK: 4,
      } as const;
      picks.pickMatmul(matmulClass({ ...shape, batch: 1 }), tile);
    } else {
      const { heads, keyValueHeads = heads, window = null } = shape;
      const found = attentionClass({ ...shape, keyValueHeads, window });
      assertEquals(found, "attention D8 Tq3 G2 window");
      picks.pickAttention(found, { variant: "registers", rows, WORKGROUP_SIZE: 32 });
    }
  }
  setPicks(device, picks);
  const tuned = await dispatched(device, step);
  assertEquals(tuned.shapes.sort(), plain.shapes.sort());
  assert(plain.kernels.every((name) => !/2x4\.wg1x8|\.rows2/.test(name)), `${plain.kernels}`);
  assert(tuned.kernels.every((name) => /2x4\.wg1x8|\.rows2/.test(name)), `${tuned.kernels}`);
  // A window, or another number of shared heads, is another class.
  const attention = { Tq: 12, Tk: 12, heads: 4, keyValueHeads: 2, headSize: 8, window: 7 };
  assert(picks.attention(attention) && !picks.attention({ ...attention, window: null }));
  assert(
    !picks.attention({ ...attention, keyValueHeads: 1 }) &&
      !picks.attention({ ...attention, keyValueHeads: 4 }),
  );
  for (const parameter of base.parameters()) parameter.grad?.dispose();
  base.dispose();
});

Deno.test("tuneKernels({ model }) measures every class of the model's shapes once, grouped attention among them", async () => {
  const { device, base } = await llama("mistral");
  getPeftModel(base, new LoraConfig({ r: 4 }));
  const shapes = (await modelShapes(base, { tokens: [12] })).filter(({ kind, name }) =>
    kind === "attention" || name === "mlp.gate_proj"
  );
  const results = await tuneKernels(device, { shapes, rounds: 1 });
  const classes = results.map(({ shapeClass }) => shapeClass);
  assertEquals(new Set(classes).size, classes.length);
  for (
    const wanted of ["attention D8 Tq3 G2 window", "attention D8 Tq0 G2 window", "matmul nt f32 M3 N5 K5"]
  ) {
    assert(classes.includes(wanted), `${wanted}: ${classes}`);
  }
  for (const { shapeClass, variants, pick } of results) {
    assertEquals(variants.filter(({ dropped }) => dropped !== null), [], shapeClass);
    assert(variants.some(({ name }) => name === pick), shapeClass);
  }
  await assertRejects(
    () => tuneKernels(device),
    TypeError,
    "shapes or a model are required, received neither",
  );
  const other = await ownDevice();
  await assertRejects(
    () => tuneKernels(other, { model: base }),
    TypeError,
    "a model on the device that is tuned",
  );
  base.dispose();
});

Deno.test("modelShapes() and recordShapes() refuse strange token counts and a recording in a recording", async () => {
  const { device, base } = await llama("llama");
  for (const tokens of [[0], [1.5], []]) {
    await assertRejects(
      () => modelShapes(base, { tokens }),
      RangeError,
      "Cannot record shapes: tokens must be positive integers",
    );
  }
  await assertRejects(
    () => recordShapes(device, () => recordShapes(device, () => {})),
    TypeError,
    "Cannot record shapes: another recording must end first",
  );
  const shapes = await modelShapes(base, { tokens: [1000, 1], training: false });
  assert(
    shapes.every((shape) => shape.kind === "attention" || shape.M <= 1),
    "more tokens than positions are left out",
  );
  base.dispose();
});

Deno.test("sampleMatmul() cuts rows, then columns, and keeps divisibility by 4", () => {
  const layers = [[2304, 768], [768, 768], [3072, 768], [768, 3072], [8, 768], [1536, 576], [576, 1536]];
  const sizes = [1, 64, 256, 1024].flatMap((T) => [
    ...layers.flatMap(([N, K]) => [
      { layout: "nn", M: T, N, K } as const,
      { layout: "nt", M: T, N, K } as const,
      { layout: "tn", M: N, N: K, K: T } as const,
    ]),
    ...(T <= 64 ? [50257, 49152] : []).flatMap((V) => [
      { layout: "nt", M: T, N: V, K: 768 } as const,
      { layout: "nn", M: T, N: 768, K: V } as const,
    ]),
  ]);
  const sampled = sizes.map((shape) => [shape, sampleMatmul(shape, 3e8, 32 * 2 ** 20)] as const);
  assert(sampled.length > 50);
  for (const [whole, part] of sampled) {
    assert(2 * part.M * part.N * part.K <= 1.2e9, JSON.stringify(part));
    assert(part.N * part.K <= 8 * 2 ** 20, JSON.stringify(part));
    assertEquals([part.N % 4, part.K % 4], [whole.N % 4, whole.K % 4]);
    assert(part.M <= whole.M && part.N <= whole.N && part.K <= whole.K);
    if (whole.M <= 128) assertEquals(part.M, whole.M);
  }
  const small = { layout: "nn", M: 1, N: 2304, K: 768 } as const;
  assertEquals(sampleMatmul(small, 3e8, 32 * 2 ** 20), small);
  const blocks = sampleMatmul({ layout: "nt", M: 512, N: 49152, K: 2048 } as const, 3e8, 32 * 2 ** 20, 256);
  assert(blocks.N < 49152 && blocks.N % 256 === 0 && blocks.K % 256 === 0, JSON.stringify(blocks));
});

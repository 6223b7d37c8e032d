import { assert, assertEquals } from "@std/assert";
import { GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { gpt2SmallShapes, modelShapes, type TuningShape } from "../../tuning/mod.ts";
import { ToyConfig, ToyForCausalLM } from "../model/toy_model.ts";
import { ownDevice } from "../reference/fixtures.ts";

/** A shape without its name. */
const text = ({ name: _, ...shape }: TuningShape) => JSON.stringify(shape);

Deno.test("modelShapes() lists each product of a model once, whatever adapters it has", async () => {
  const device = await ownDevice();
  const config = new GPT2Config({ nLayer: 2, nEmbd: 32, nHead: 4, vocabSize: 61, nPositions: 16 });
  const model = new GPT2LMHeadModel(config, { device });
  const shapes = modelShapes(model, { tokens: [1, 8], rank: 4 });
  const names = new Set(shapes.map(({ name }) => name));
  for (
    const name of ["attn.c_attn", "attn.c_proj dx", "mlp.c_fc dW", "mlp.c_proj", "head", "head dx", "lora du"]
  ) {
    assert(names.has(name), name);
  }
  assertEquals(new Set(shapes.map(text)).size, shapes.length);
  const small = gpt2SmallShapes({ tokens: [1, 8], rank: 4 }).map(text);
  const scaled = new Set(shapes.map((shape) =>
    text(shape).replaceAll(/:(\d+)/g, (_, size) => {
      const whole: Record<string, number> = { 32: 768, 96: 2304, 128: 3072, 61: 50257 };
      return `:${whole[size] ?? size}`;
    })
  ));
  const products = small.filter((shape) => !shape.includes("attention"));
  assertEquals(
    products.filter((shape) => !scaled.has(shape)),
    [],
    "every product of GPT-2 small, at this size",
  );
  getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  const adapted = modelShapes(model, { tokens: [1, 8], rank: 4 }).map(text);
  assertEquals(adapted, shapes.map(text));
  model.dispose();
});

Deno.test("modelShapes() takes the layout of weights that are stored [out, in]", async () => {
  const device = await ownDevice();
  const model = new ToyForCausalLM(new ToyConfig(), { device });
  const mix = modelShapes(model, { tokens: [8] }).filter(({ name }) =>
    name.endsWith(".mix") || name.endsWith(".mix dx")
  );
  assertEquals(
    mix.flatMap((s) => s.kind === "matmul" && s.weight === "f32" ? [[s.layout, s.M, s.N, s.K]] : []),
    [
      ["nt", 8, 72, 24],
      ["nn", 8, 24, 72],
    ],
  );
  model.dispose();
});

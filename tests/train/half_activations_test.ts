/**
 * Activations kept as float16: memory, gradients and losses beside those of float32.
 * @module
 */
import { assert, assertEquals, relativeL2 } from "@std/assert";
import { gelu, multiply, sum, tanh, Tensor, tidy, withHalfActivations } from "../../autograd/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../model/llama/mod.ts";
import { type CausalLM, GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { planMemory } from "../../plan/mod.ts";
import { Trainer, type TrainingArguments } from "../../train/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";

const MODELS = {
  "GPT-2": async (nLayer: number, nPositions: number): Promise<CausalLM> => {
    const device = await ownDevice();
    const dropout = { residPdrop: 0, embdPdrop: 0, attnPdrop: 0 };
    const config = new GPT2Config({
      vocabSize: 101,
      nPositions,
      nEmbd: 64,
      nLayer,
      nHead: 2,
      ...dropout,
    });
    return new GPT2LMHeadModel(config, { device, seed: 1 });
  },
  "Llama": async (numHiddenLayers: number, maxPositionEmbeddings: number): Promise<CausalLM> => {
    const device = await ownDevice();
    const config = new LlamaConfig("llama", {
      vocabSize: 101,
      hiddenSize: 64,
      intermediateSize: 192,
      numHiddenLayers,
      maxPositionEmbeddings,
      numAttentionHeads: 4,
      numKeyValueHeads: 2,
    });
    return new LlamaForCausalLM(config, { device, seed: 1 });
  },
};

/** Texts that count up in steps. */
function textOf(n: number, length: number): number[] {
  const random = n * 48271 % 2147483647;
  const [start, stride] = [random % 101, 1 + Math.floor(random / 101) % 5];
  return Array.from({ length }, (_, t) => (start + t * stride) % 101);
}

Deno.test("withHalfActivations() keeps results as they are, gradients to half precision, and frees everything", async () => {
  const device = await ownDevice();
  const values = Float32Array.from({ length: 4096 }, (_, i) => 3 * Math.sin(i));
  const x = Tensor.from(values, { device, requiresGrad: true });
  const forward = () =>
    tidy(() => {
      const y = gelu(tanh(x));
      return sum(multiply(y, y));
    });
  const run = async (half: boolean) => {
    const before = device.memory.liveBytes;
    const loss = half ? withHalfActivations(forward) : forward();
    const kept = device.memory.liveBytes - before;
    const value = await loss.item();
    loss.backward();
    loss.dispose();
    const grad = await x.grad!.data();
    x.grad!.dispose();
    x.grad = null;
    assertEquals(device.memory.liveBytes, before);
    return { value, kept, grad };
  };
  const [plain, half] = [await run(false), await run(true)];
  assertEquals(half.value, plain.value);
  const error = relativeL2(half.grad, plain.grad);
  assert(error > 0 && error < 1e-3, `${error}`);
  assert(half.kept < plain.kept * 0.7, `${half.kept} bytes kept, ${plain.kept} in float32`);
  x.dispose();
});

for (const [name, make] of Object.entries(MODELS)) {
  Deno.test(`fp16 keeps ${name}'s losses over 200 steps within 1%`, async () => {
    const run = async (fp16: boolean) => {
      const model = await make(2, 16);
      const trainDataset = Array.from({ length: 800 }, (_, n) => ({ inputIds: textOf(n, 16) }));
      const args: Partial<TrainingArguments> = {
        ...{ fp16, maxSteps: 200, learningRate: 2e-3, perDeviceTrainBatchSize: 4, loggingSteps: 20 },
        lrSchedulerType: "constant",
        reportTo: "none",
      };
      const trainer = new Trainer({ model, trainDataset, args });
      await trainer.train();
      model.dispose();
      return trainer.state.logHistory.map(({ loss }) => loss as number);
    };
    const [full, half] = [await run(false), await run(true)];
    const ratios = half.map((loss, i) => loss / full[i]);
    console.log(`${name}: losses ${ratios.map((r) => r.toFixed(4)).join(" ")}`);
    assertEquals(ratios.length, 10);
    assert(full.at(-1)! < 0.6 * full[0], `it learns: ${full}`);
    assert(ratios.some((ratio) => ratio !== 1), "it rounds");
    assert(ratios.every((ratio) => Math.abs(ratio - 1) < 0.01), `${ratios}`);
  });

  Deno.test(`fp16 keeps ${name}'s activations in little more than half the memory`, async () => {
    const model = getPeftModel(await make(12, 512), new LoraConfig({ r: 8, targetModules: "all-linear" }));
    const [full, half] = [false, true].map((fp16) =>
      planMemory(model, { batch: 2, length: 512, args: { fp16 } })
    );
    const share = half.activations / full.activations;
    console.log(`${name}: ${(100 * share).toFixed(0)}% of the memory of activations`);
    assert(share < 0.65, `${half.activations} bytes, ${full.activations} with float32`);
    model.dispose();
  });
}

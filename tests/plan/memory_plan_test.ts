/**
 * `planMemory` against what the same training then measures, and what it says where memory does not suffice.
 * @module
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Device, HostRandom } from "../../autograd/mod.ts";
import { AutoModelForCausalLM, type CausalLM, GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../model/llama/mod.ts";
import {
  AdaLoraConfig,
  BottleneckConfig,
  getPeftModel,
  IA3Config,
  injectAdapterInModel,
  LoraConfig,
  type PeftConfig,
  PrefixTuningConfig,
  PromptEncoderConfig,
} from "../../peft/mod.ts";
import {
  findLargestBatch,
  MemoryBudgetError,
  planAdapter,
  planMemory,
  type PlanOptions,
} from "../../plan/mod.ts";
import { Trainer } from "../../train/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { pretendHardware } from "../reference/profiles.ts";

const VOCABULARY = 3000;

const gpt2 = (device: Device, dropout = 0): CausalLM => {
  const pdrop = { residPdrop: dropout, embdPdrop: dropout, attnPdrop: dropout };
  const sizes = { vocabSize: VOCABULARY, nPositions: 128, nEmbd: 64, nLayer: 4, nHead: 2 };
  return new GPT2LMHeadModel(new GPT2Config({ ...sizes, ...pdrop }), { device });
};

const llama = (device: Device, type: "llama" | "gemma3_text" = "llama"): CausalLM => {
  const sizes = {
    vocabSize: VOCABULARY,
    hiddenSize: 64,
    intermediateSize: 192,
    numHiddenLayers: 4,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
  };
  return new LlamaForCausalLM(new LlamaConfig(type, sizes), { device });
};

/** The same model with frozen weights in another format: written, and loaded again. */
const stored =
  (make: (device: Device) => CausalLM, options: { dtype?: "float16"; quantization?: "nf4" }) =>
  async (device: Device) => {
    const folder = await Deno.makeTempDir();
    const model = make(device);
    await model.savePretrained(folder);
    model.dispose();
    try {
      return await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { device, ...options });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };

interface Configuration {
  readonly make: (device: Device) => CausalLM | Promise<CausalLM>;
  /** The adapter; null trains every weight. */
  readonly adapter: (() => PeftConfig) | null;
  readonly options: PlanOptions;
}

const lora = () => new LoraConfig({ r: 8, targetModules: "all-linear" });
const sizes = { batch: 4, length: 96 };

/** Twelve and more: architectures, storage, methods, optimizers, shapes of the data. */
const CONFIGURATIONS: Readonly<Record<string, Configuration>> = {
  "GPT-2, LoRA": { make: gpt2, adapter: lora, options: sizes },
  "GPT-2, LoRA, gradient checkpointing": {
    make: gpt2,
    adapter: lora,
    options: { ...sizes, gradientCheckpointing: true },
  },
  "GPT-2, all weights": { make: gpt2, adapter: null, options: sizes },
  "GPT-2, all weights, 8-bit AdamW, gradient checkpointing": {
    make: gpt2,
    adapter: null,
    options: { ...sizes, gradientCheckpointing: true, args: { optim: "adamw_8bit" } },
  },
  "GPT-2 with dropout, LoRA with dropout and DoRA": {
    make: (device) => gpt2(device, 0.1),
    adapter: () => new LoraConfig({ r: 4, loraDropout: 0.1, useDora: true, targetModules: ["c_attn"] }),
    options: sizes,
  },
  "GPT-2, prefix tuning, two batches a step": {
    make: gpt2,
    adapter: () => new PrefixTuningConfig({ numVirtualTokens: 10 }),
    options: { batch: 2, length: 64, args: { gradientAccumulationSteps: 2 } },
  },
  "GPT-2 in float16, P-tuning, SGD": {
    make: stored(gpt2, { dtype: "float16" }),
    adapter: () => new PromptEncoderConfig({ numVirtualTokens: 8, encoderHiddenSize: 32 }),
    options: { batch: 3, length: 50, args: { optim: "sgd" } },
  },
  "GPT-2 in NF4, LoRA, gradient checkpointing": {
    make: stored(gpt2, { quantization: "nf4" }),
    adapter: lora,
    options: { ...sizes, gradientCheckpointing: true },
  },
  "Llama, LoRA, padded rows": { make: llama, adapter: lora, options: { ...sizes, padded: true } },
  "Llama, (IA)^3, labels for a few tokens": {
    make: llama,
    adapter: () => new IA3Config({}),
    options: { ...sizes, labelled: 8 },
  },
  "Llama in NF4, LoRA, 8-bit AdamW": {
    make: stored(llama, { quantization: "nf4" }),
    adapter: lora,
    options: { ...sizes, args: { optim: "adamw_8bit" } },
  },
  "Llama, all weights, Adafactor": {
    make: llama,
    adapter: null,
    options: { ...sizes, args: { optim: "adafactor" } },
  },
  "Llama, LoRA, Lion": { make: llama, adapter: lora, options: { ...sizes, args: { optim: "lion" } } },
  "Llama, LoRA, activations as float16": {
    make: llama,
    adapter: lora,
    options: { ...sizes, args: { fp16: true } },
  },
  "Gemma 3, LoRA": { make: (device) => llama(device, "gemma3_text"), adapter: lora, options: sizes },
  "Llama, bottleneck adapters": { make: llama, adapter: () => new BottleneckConfig({}), options: sizes },
  "Llama, AdaLoRA": {
    make: llama,
    adapter: () => new AdaLoraConfig({ initR: 6, targetR: 4, tinit: 1, tfinal: 1, totalStep: 6 }),
    options: sizes,
  },
};

/** Trains with the Trainer; the highest that the device held. */
async function measure(
  model: CausalLM | ReturnType<typeof getPeftModel>,
  options: PlanOptions,
): Promise<number> {
  const { batch = 1, length = 2, labelled = length, padded = false, args } = options;
  const [{ device }] = model.parameters();
  const random = new HostRandom(1);
  const trainDataset = Array.from({ length: 64 }, () => {
    const inputIds = Array.from({ length }, () => random.integer(VOCABULARY));
    const labels = inputIds.map((id, t) => t < length - labelled || (padded && t === length - 1) ? -100 : id);
    return {
      inputIds,
      labels,
      ...padded && { attentionMask: inputIds.map((_, t) => t === length - 1 ? 0 : 1) },
    };
  });
  device.trim();
  device.resetPeakMemory();
  const trainer = new Trainer({
    model: model as CausalLM,
    trainDataset,
    args: {
      ...args,
      gradientCheckpointing: options.gradientCheckpointing ?? false,
      ...{ perDeviceTrainBatchSize: batch, maxSteps: 6, reportTo: "none" },
    },
  });
  await trainer.train();
  return device.memory.peakBytes;
}

for (const [name, { make, adapter, options }] of Object.entries(CONFIGURATIONS)) {
  Deno.test(`planMemory() of ${name} is within 5% of what training measures`, async () => {
    const device = await ownDevice({ fresh: true });
    const base = await make(device);
    const held = device.memory.liveBytes;
    const model = adapter ? getPeftModel(base, adapter()) : base;
    const [step, live] = [base.random.step, device.memory.liveBytes];
    const plan = planMemory(model, options);
    assertEquals(device.memory.liveBytes, live, "nothing was allocated");
    assertEquals(base.random.step, step);
    assertEquals(base.isGradientCheckpointing, false);
    for (const parameter of model.parameters()) assertEquals(parameter.grad, null);
    const { weights, adapter: added, optimizer, activations, head, total } = plan;
    assertEquals(weights + added + optimizer + activations + head, total);
    assertEquals(weights, held);
    assert([weights, activations, head].every((bytes) => bytes > 0) && added >= 0 && optimizer >= 0);
    assert(plan.withCheckpointing.total <= plan.withoutCheckpointing.total);
    const measured = await measure(model as CausalLM, options);
    assert(Math.abs(total / measured - 1) < 0.05, `planned ${total}, measured ${measured}`);
    model.dispose();
  });
}

Deno.test("planMemory() knows what a device with the kernels of hardware takes", async () => {
  const { gpuDevice } = await ownDevice({ fresh: true });
  const device = await Device.create({ device: gpuDevice, idleFloorBytes: 2 ** 20 });
  pretendHardware(device);
  const model = getPeftModel(llama(device), lora());
  const { total } = planMemory(model, sizes);
  const measured = await measure(model, sizes);
  assert(Math.abs(total / measured - 1) < 0.05, `planned ${total}, measured ${measured}`);
  model.dispose();
});

Deno.test("planMemory() refuses what does not fit, and says what would; that then fits", async () => {
  const device = await ownDevice({ fresh: true });
  const model = getPeftModel(gpt2(device), lora());
  const { withCheckpointing, withoutCheckpointing } = planMemory(model, { batch: 16, length: 96 });
  const between = (withCheckpointing.total + withoutCheckpointing.total) / 2;
  const refused = (budget: number) =>
    assertThrows(() => planMemory(model, { batch: 16, length: 96, budget }), MemoryBudgetError);
  assertMatch(
    refused(between).message,
    /^Cannot train within [\d.]+ MB: [\d.]+ MB are required \(weights [\d.]+ MB\); what would fit: gradient checkpointing \([\d.]+ MB\), or gradient checkpointing and batches of 15$/,
  );
  assertEquals(refused(between).plan.total, withoutCheckpointing.total);
  const small = withCheckpointing.total * 0.6;
  const [, rows] = /gradient checkpointing and batches of (\d+)$/.exec(refused(small).message)!;
  const options = { length: 96, gradientCheckpointing: true, budget: small };
  planMemory(model, { ...options, batch: Number(rows) });
  assertThrows(() => planMemory(model, { ...options, batch: Number(rows) + 1 }), MemoryBudgetError);
  assertMatch(refused(1e6).message, /what would fit: nothing but weights in fewer bits/);
  assertMatch(
    assertThrows(() => planMemory(model, { batch: 1, length: 128, budget: 3.5e6 }), MemoryBudgetError)
      .message,
    /what would fit: gradient checkpointing, batches of 1 and rows of \d+ tokens$/,
  );
  device.memoryLimitBytes = small;
  assertThrows(() => planMemory(model, { batch: 16, length: 96 }), MemoryBudgetError);
  device.memoryLimitBytes = Infinity;
  model.dispose();
});

Deno.test("findLargestBatch() finds the batch beyond which memory does not suffice", async () => {
  const device = await ownDevice({ fresh: true });
  const model = getPeftModel(llama(device), lora());
  for (const gradientCheckpointing of [false, true]) {
    const options = { length: 64, gradientCheckpointing };
    const { total } = planMemory(model, { ...options, batch: 11 });
    const batch = findLargestBatch(model, { ...options, budget: total });
    assert(batch >= 11, `${batch}`);
    assert(planMemory(model, { ...options, batch }).total <= total);
    assert(planMemory(model, { ...options, batch: batch + 1 }).total > total);
  }
  assertEquals(findLargestBatch(model, { length: 64, budget: 1e6 }), 0);
  assertThrows(() => findLargestBatch(model), RangeError, "a budget, or a device with memoryLimitBytes");
  model.dispose();
});

Deno.test("planMemory() refuses bad sizes, unknown options, models without anything to train and injected adapters", async () => {
  const device = await ownDevice({ fresh: true });
  const base = gpt2(device);
  for (
    const [options, message] of [
      [{ batch: 0 }, "batch must be an integer from 1 to 1048576, received 0"],
      [{ length: 129 }, "length must be an integer from 2 to 128, received 129"],
      [{ length: 10, labelled: 11 }, "labelled must be an integer from 1 to 10, received 11"],
    ] as const
  ) {
    assertThrows(() => planMemory(base, options), RangeError, `Cannot plan memory: ${message}`);
  }
  assertThrows(() => planMemory(base, { rows: 3 } as PlanOptions), TypeError, "rows");
  for (const parameter of base.parameters()) parameter.requiresGrad = false;
  assertThrows(() => planMemory(base), TypeError, "at least one parameter with requiresGrad");
  const injected = injectAdapterInModel(lora(), base);
  assertThrows(() => planMemory(injected), TypeError, "a model with adapters of getPeftModel, is required");
  injected.dispose();
});

Deno.test("planMemory() with an adapter that is not made yet plans what it plans of the made one, and leaves the model alone", async () => {
  const device = await ownDevice({ fresh: true });
  const model = gpt2(device);
  const names = [...model.namedParameters()].map(([name]) => name);
  for (
    const config of [
      new LoraConfig({ r: 4, targetModules: ["c_attn"], useDora: true }),
      new IA3Config({ targetModules: ["c_attn", "mlp.c_proj"], feedforwardModules: ["mlp.c_proj"] }),
      new PrefixTuningConfig({ numVirtualTokens: 4 }),
    ] as PeftConfig[]
  ) {
    const planned = planMemory(model, { batch: 2, length: 32, adapter: config });
    const size = planAdapter(model, config);
    assertEquals([size.trainableParameters, size.bytes], [planned.trainableParameters, planned.adapter]);
    const made = getPeftModel(model, config);
    assertEquals(planMemory(made, { batch: 2, length: 32 }), planned, config.peftType);
    assertEquals(planned.trainableParameters, made.getNbTrainableParameters()[0], config.peftType);
    made.unload();
    assertEquals([...model.namedParameters()].map(([name]) => name), names);
  }
  model.dispose();
});

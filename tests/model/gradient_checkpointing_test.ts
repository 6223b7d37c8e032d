/**
 * Gradient checkpointing of models: the gradients of the plain backward pass to the bit, for less memory. Every PEFT
 * method is held to it in `tests/peft/contract_test.ts`.
 * @module
 */
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { tidy } from "../../autograd/mod.ts";
import { type CausalLM, GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { AdamW, Trainer } from "../../train/mod.ts";
import { loadFixture, ownDevice } from "../reference/fixtures.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../model/llama/mod.ts";

const INPUTS = {
  inputIds: [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, 8, 13, 21, 34]],
  attentionMask: [[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]],
  labels: [[5, 17, 200, 3, 99, 42, -100, -100], [1, 2, 3, 5, 8, 13, 21, 34]],
};

function dropGradients(model: CausalLM): void {
  for (const parameter of model.parameters()) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}

/** Gradients of every parameter, and the loss, after two forwards that run before their backwards. */
async function gradientsOf(model: CausalLM) {
  const packed = { ...INPUTS, sequenceIds: [[0, 0, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1]] };
  const losses = [INPUTS, packed].map((inputs) => tidy(() => model.forward(inputs).loss!));
  for (const loss of losses) loss.backward();
  const values = await Promise.all(losses.map((loss) => loss.item()));
  for (const loss of losses) loss.dispose();
  const entries = await Promise.all(
    [...model.namedParameters()].map(async ([name, { grad }]) => [name, await grad!.data()] as const),
  );
  dropGradients(model);
  return { values, gradients: new Map(entries) };
}

Deno.test("gradientCheckpointingEnable() leaves every gradient of GPT-2 as it is, with dropout, padding, packed rows and forwards that overlap", async () => {
  const device = await ownDevice({ fresh: true });
  const config = new GPT2Config({ vocabSize: 257, nPositions: 16, nEmbd: 16, nLayer: 3, nHead: 2 }); // dropout of 0.1
  const model = new GPT2LMHeadModel(config, { device }).train();
  const start = model.random.step;
  const plain = await gradientsOf(model);
  model.eval();
  assertNotEquals(plain, await gradientsOf(model), "dropout acts");
  model.train();
  model.gradientCheckpointingEnable();
  assert(model.isGradientCheckpointing);
  model.random.step = start;
  assertEquals(await gradientsOf(model), plain);
  model.gradientCheckpointingDisable();
  assert(!model.isGradientCheckpointing);
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

/** Peak bytes above the weights, and launches, of a LoRA step. */
async function stepOf(model: CausalLM, length: number, checkpointed: boolean) {
  const { device } = model;
  const peft = getPeftModel(model, new LoraConfig({ r: 4, targetModules: "all-linear" })).train();
  if (checkpointed) peft.gradientCheckpointingEnable();
  const inputIds = [Array.from({ length }, (_, i) => i % 50)];
  model.random.step = 0;
  device.trim();
  device.resetPeakMemory();
  const [live, before] = [device.memory.liveBytes, device.stats.dispatches];
  const loss = tidy(() => {
    const { loss } = peft.forward({ inputIds, labels: inputIds });
    loss!.backward();
    return loss!;
  });
  const value = await loss.item();
  const bytes = device.memory.peakBytes - live;
  const launches = device.stats.dispatches - before;
  loss.dispose();
  peft.unload();
  model.gradientCheckpointingDisable();
  return { value, bytes, launches };
}

for (const architecture of ["GPT-2", "Llama"]) {
  Deno.test(`a checkpointed LoRA step of ${architecture} with 12 blocks and 300 tokens keeps less than a quarter of the activations`, async () => {
    const device = await ownDevice({ fresh: true });
    const model = architecture === "GPT-2"
      ? new GPT2LMHeadModel(
        new GPT2Config({ vocabSize: 64, nPositions: 300, nEmbd: 64, nLayer: 12, nHead: 2 }),
        { device },
      )
      : new LlamaForCausalLM(
        new LlamaConfig("llama", {
          vocabSize: 64,
          hiddenSize: 64,
          intermediateSize: 160,
          numHiddenLayers: 12,
          numAttentionHeads: 4,
          numKeyValueHeads: 2,
        }),
        { device },
      );
    const plain = await stepOf(model, 300, false);
    const checkpointed = await stepOf(model, 300, true);
    assertEquals(checkpointed.value, plain.value);
    assert(checkpointed.bytes < plain.bytes / 4, `${checkpointed.bytes} bytes, ${plain.bytes} without`);
    assert(checkpointed.launches > plain.launches, "blocks are computed again");
    model.eval();
    const launches = [true, false].map((on) => {
      if (on) model.gradientCheckpointingEnable();
      else model.gradientCheckpointingDisable();
      const before = device.stats.dispatches;
      tidy(() => model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }).loss!.backward());
      dropGradients(model);
      return device.stats.dispatches - before;
    });
    assertEquals(launches[0], launches[1], "in eval mode nothing is computed again");
    model.dispose();
  });
}

Deno.test("Trainer's gradientCheckpointing trains to the same weights, and is refused for a model without it", async () => {
  const weights = async (gradientCheckpointing: boolean) => {
    const device = await ownDevice({ fresh: true });
    const model = await loadFixture("gpt2_tiny", { device });
    const peft = getPeftModel(model, new LoraConfig({ r: 2 }));
    const trainDataset = INPUTS.inputIds.map((inputIds) => ({ inputIds }));
    const args = { maxSteps: 4, learningRate: 1e-2, reportTo: "none", gradientCheckpointing } as const;
    await new Trainer({ model: peft, trainDataset, args }).train();
    assertEquals(model.isGradientCheckpointing, gradientCheckpointing);
    const values = await Promise.all([...peft.parameters()].map((parameter) => parameter.data()));
    peft.dispose();
    return values;
  };
  assertEquals(await weights(true), await weights(false));

  const device = await ownDevice({ fresh: true });
  const model = await loadFixture("gpt2_tiny", { device });
  const peft = getPeftModel(model, new LoraConfig({ r: 2 }));
  const without = Object.create(peft, { gradientCheckpointingEnable: { value: undefined } }) as typeof peft;
  assertThrows(
    () => new Trainer({ model: without, args: { gradientCheckpointing: true } }),
    TypeError,
    "a model with gradientCheckpointingEnable() is required",
  );
  Object.defineProperty(model, "gradientCheckpointingEnable", { value: undefined });
  assertThrows(
    () => peft.gradientCheckpointingEnable(),
    TypeError,
    "a model with gradientCheckpointingEnable() is required, received GPT2LMHeadModel",
  );
  assert(peft instanceof PeftModel);
  peft.dispose();
});

Deno.test("a checkpointed model refuses a backward after its adapters or mode have changed, and goes on", async () => {
  const device = await ownDevice({ fresh: true });
  const model = await loadFixture("gpt2_tiny", { device });
  const peft = getPeftModel(model, new LoraConfig({ r: 2 })).train();
  peft.gradientCheckpointingEnable();
  const optimizer = new AdamW([...peft.parameters()].filter(({ requiresGrad }) => requiresGrad));
  const lossOf = () => tidy(() => peft.forward(INPUTS).loss!);
  const late = lossOf();
  peft.eval();
  assertThrows(
    () => late.backward(),
    Error,
    "Cannot compute block 2 again for its gradient: train or eval mode",
  );
  late.dispose();
  peft.train();
  optimizer.zeroGrad();
  const loss = lossOf();
  loss.backward();
  optimizer.step();
  assert(Number.isFinite(await loss.item()));
  loss.dispose();
  optimizer.dispose();
  peft.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

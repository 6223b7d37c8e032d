/** NEFTune: noise on the token embeddings while training. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { Tensor } from "../../autograd/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { Trainer } from "../../train/mod.ts";
import { philoxReference } from "../reference/attention.ts";
import { countingData, LENGTH, tinyModel } from "./tiny_run.ts";

const IDS = [[1, 2, 3, 4, 5, 6], [7, 9, 11, 13, 15, 17]];

Deno.test("neftuneNoiseAlpha adds ±alpha / sqrt(T C) to the embedded tokens in train mode alone", async () => {
  const model = await tinyModel();
  const { wte } = model.transformer;
  const [width, size] = [32, 12 * 32];
  const table = await wte.weight.data();
  model.neftuneNoiseAlpha = 10;
  model.train();
  const lossOf = async (inputs: object) => {
    model.random.seed = 77;
    using output = model.forward({ labels: IDS, ...inputs });
    return await output.loss!.item();
  };
  const bound = 10 / Math.sqrt(6 * width);
  const embedded = IDS.flat().flatMap((id) => [...table.subarray(id * width, (id + 1) * width)]);
  const noisy = Float32Array.from({ length: size }, (_, i) => {
    const bits = philoxReference([Math.floor(i / 4), 0, 1, 0], [77, 0])[i % 4];
    return embedded[i] + bound * (2 * (bits >>> 8) * 2 ** -24 - 1);
  });
  using inputsEmbeds = Tensor.from(noisy, { shape: [2, 6, width], device: model.device });
  const loss = await lossOf({ inputIds: IDS });
  assertAlmostEquals(loss, await lossOf({ inputsEmbeds }), 1e-5);
  model.eval();
  const calm = await lossOf({ inputIds: IDS });
  assert(Math.abs(calm - loss) > 1e-3, `${calm} and ${loss}`);
  model.neftuneNoiseAlpha = null;
  assertEquals(await lossOf({ inputIds: IDS }), calm);
  assertThrows(
    () => model.neftuneNoiseAlpha = -1,
    RangeError,
    "Cannot set neftuneNoiseAlpha: a number of at least 0 or null is required, received -1",
  );
  model.dispose();
});

Deno.test("Trainer gives a model its noise for the time of training, through adapters", async () => {
  const model = getPeftModel(await tinyModel(), new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  const seen: unknown[] = [];
  const losses: number[] = [];
  for (const neftuneNoiseAlpha of [null, 5]) {
    const trainer = new Trainer({
      model,
      trainDataset: countingData(4, LENGTH),
      args: { neftuneNoiseAlpha, maxSteps: 1, loggingSteps: 1, learningRate: 0, reportTo: "none" },
      callbacks: [{ onStepEnd: () => void seen.push(model.neftuneNoiseAlpha) }],
    });
    await trainer.train();
    losses.push(trainer.state.logHistory[0].loss);
  }
  assertEquals(seen, [null, 5]);
  assertEquals(model.neftuneNoiseAlpha, null);
  model.neftuneNoiseAlpha = 3;
  await new Trainer({
    model,
    trainDataset: countingData(4, LENGTH),
    args: { neftuneNoiseAlpha: 5, maxSteps: 1, reportTo: "none" },
  }).train();
  assertEquals(model.neftuneNoiseAlpha, 3, "what it was before");
  assert(losses[0] !== losses[1], `${losses}`);
  const bare = {
    training: true,
    forward: () => ({}),
    namedParameters: () => [],
    namedModules: () => [],
    train() {},
  };
  assertThrows(
    () => new Trainer({ model: bare, args: { neftuneNoiseAlpha: 5 } }),
    TypeError,
    "Cannot make a trainer: a model with neftuneNoiseAlpha is required with neftuneNoiseAlpha, received none",
  );
  model.dispose();
});

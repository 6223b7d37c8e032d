import { assert, assertEquals } from "@std/assert";
import { OutOfDeviceMemoryError } from "../../gpu/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { loadFixture, ownDevice } from "../reference/fixtures.ts";

const BATCH = {
  inputIds: [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, 8, 13, 21, 34]],
  labels: [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, -100, -100, 21, 34]],
};

Deno.test("a step that runs out of memory anywhere leaves nothing behind, and the next is bit-identical", async () => {
  const device = await ownDevice({ fresh: true });
  const model = getPeftModel(
    await loadFixture("gpt2_tiny", { device }),
    new LoraConfig({ r: 4, targetModules: "all-linear", initLoraWeights: false }),
  );
  model.eval();
  const dropGradients = () => {
    for (const parameter of model.parameters()) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  };
  /** Loss and one gradient of a step, everything freed after. */
  const step = async () => {
    using output = model.forward(BATCH);
    output.loss!.backward();
    const loss = await output.loss!.item();
    const grads = [...model.parameters()].filter((p) => p.grad).map((p) => p.grad!);
    const values = (await Promise.all(grads.map((grad) => grad.data()))).map((v) => v.join());
    return { loss, values };
  };
  const whole = await step();
  dropGradients();
  const live = device.memory.liveBytes;
  device.trim();
  device.resetPeakMemory();
  await step();
  dropGradients();
  const peak = device.memory.peakBytes;
  assert(peak > live + 20_000, `${live} to ${peak}`);
  let failed = 0;
  const tries = 24;
  for (let i = 0; i < tries; i++) {
    device.trim();
    device.memoryLimitBytes = Math.floor(live + (peak - live) * i / tries);
    try {
      await step();
    } catch (error) {
      assert(error instanceof OutOfDeviceMemoryError, `limit ${i}: ${error}`);
      failed++;
    }
    dropGradients();
    assertEquals(device.memory.liveBytes, live, `limit ${i} of ${tries}`);
  }
  assert(failed > tries / 2, `${failed} of ${tries} failed`);
  device.memoryLimitBytes = Infinity;
  assertEquals(await step(), whole);
  dropGradients();
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("generate() that runs out of memory leaves nothing behind", async () => {
  const device = await ownDevice({ fresh: true });
  const model = await loadFixture("gpt2_tiny", { device });
  const live = device.memory.liveBytes;
  const options = { maxNewTokens: 4, eosTokenId: null };
  const tokens = await model.generate([[1, 2, 3]], options);
  device.trim();
  device.resetPeakMemory();
  await model.generate([[1, 2, 3]], options);
  const peak = device.memory.peakBytes;
  let failed = 0;
  for (let i = 0; i < 12; i++) {
    device.trim();
    device.memoryLimitBytes = Math.floor(live + (peak - live) * i / 12);
    await model.generate([[1, 2, 3]], options).catch((error) => {
      assert(error instanceof OutOfDeviceMemoryError, `limit ${i}: ${error}`);
      failed++;
    });
    assertEquals(device.memory.liveBytes, live, `limit ${i} of 12`);
  }
  assert(failed > 6, `${failed} of 12 failed`);
  device.memoryLimitBytes = Infinity;
  assertEquals(await model.generate([[1, 2, 3]], options), tokens);
  model.dispose();
});

/** What a captured step depends on: it is replayed only where that does what its code would do. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { AdamW, captureStep, LoraConfig, noGrad, Tensor, tidy } from "@peft/webgpu";
import { Dropout } from "@peft/webgpu/tensor";
import { add, full, multiply, RandomState, scale, sum } from "../../autograd/mod.ts";
import { batch, bothRuns, type Made, make, type Step, wholeStep } from "./captured_runs.ts";
import { anotherDevice } from "../reference/another_device.ts";

Deno.test("a record keeps its buffers when the pool trims idle ones while it is made", async () => {
  const device = await anotherDevice({ idleFloorBytes: 0 });
  const { replays } = await bothRuns({ config: { nEmbd: 64 }, steps: 5 }, device);
  assertEquals(replays, 3);
  await device.sync();
});

Deno.test("a record of more than 256 MiB of buffers given back is replayed", async () => {
  const device = await anotherDevice();
  const sizes = [7, 8, 9, 10, 11].map((millions) => millions * 2 ** 20);
  const source = Tensor.from([1], { device });
  const step = captureStep(device, () =>
    tidy(() =>
      sizes.map((size) => {
        using ones = add(full(device, [size], 0), source);
        using twos = scale(ones, 2);
        return sum(twos);
      }).reduce((a, b) => add(a, b))
    ));
  const expected = 2 * sizes.reduce((a, b) => a + b);
  for (let i = 0; i < 4; i++) assertEquals(await step({}).item(), expected);
  assert(device.memory.liveBytes > 300 * 2 ** 20, "the record holds its buffers");
  step.dispose();
  source.dispose();
  device.trim();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("captureStep() replays whole steps, and bodies without tidy whose tensors are collected", async () => {
  assertEquals((await bothRuns({})).replays, 5);
  setFlagsFromString("--expose-gc");
  const gc: () => void = runInNewContext("gc");
  const strangers: Tensor[] = [];
  const { replays } = await bothRuns({
    body: ({ peftModel, optimizer }) => ({ inputIds }) => {
      const { loss } = peftModel.forward({ inputIds, labels: inputIds });
      loss!.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss!;
    },
    between: async ({ device }, i) => {
      if (i < 2) return;
      gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
      for (const size of [64, 384, 1152, 3000]) {
        strangers.push(Tensor.from(new Float32Array(size).fill(7), { device }));
      }
    },
  });
  assertEquals(replays, 5);
  for (const tensor of strangers) assert((await tensor.data()).every((value) => value === 7));
});

Deno.test("captureStep() goes on as its code would after optimizer.dispose(), which makes new moments", async () => {
  const strangers: Tensor[] = [];
  const { replays } = await bothRuns({
    between: ({ optimizer, device }, i) => {
      if (i !== 0 && i !== 3) return; // before it is recorded, and after
      optimizer.dispose();
      for (const size of [16, 64, 128, 256, 512, 1024]) {
        for (let n = 0; n < 4; n++) strangers.push(Tensor.from(new Float32Array(size).fill(7), { device }));
      }
    },
    steps: 8,
  });
  assert(replays > 0);
  for (const tensor of strangers) assert((await tensor.data()).every((value) => value === 7));
});

Deno.test("captureStep() never updates another tensor in the place of one that was disposed", async () => {
  const device = await anotherDevice();
  const w = Tensor.from([1, 2, 3, 4], { device, requiresGrad: true });
  const optimizer = new AdamW([w], { lr: 0.1 });
  const step = captureStep(device, ({ ids }: { ids: Tensor }) => {
    assertEquals(ids.dtype, "int32");
    const loss = tidy(() => {
      const loss = sum(multiply(w, w));
      loss.backward();
      return loss;
    });
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  });
  for (let i = 0; i < 4; i++) await step({ ids: [[i]] }).item();
  const { liveBytes } = device.memory;
  w.dispose();
  assert(device.memory.liveBytes < liveBytes / 2, `${device.memory.liveBytes} of ${liveBytes} bytes`);
  const strangers = Array.from({ length: 8 }, () => Tensor.from([100, 100, 100, 100], { device }));
  assertThrows(() => step({ ids: [[5]] }), Error, "it was disposed");
  assertThrows(() => step({ ids: [[5]] }), Error, "it was disposed");
  for (const tensor of strangers) assertEquals([...await tensor.data()], [100, 100, 100, 100]);
});

Deno.test("captureStep() goes on as its code would after an adapter is deleted", async () => {
  const { replays } = await bothRuns({
    between: ({ peftModel }, i) => {
      if (i === 0) peftModel.addAdapter("other", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
      if (i === 4) peftModel.deleteAdapter("other");
    },
    body: ({ peftModel, trained, optimizer }) => (inputs) => {
      peftModel.setAdapter("default");
      assert(trained.length > 0);
      return wholeStep({ peftModel, optimizer } as Made)(inputs);
    },
    steps: 9,
  });
  assert(replays > 0);
});

Deno.test("captureStep() leaves gradients as its code would: zeroed outside, kept, or zeroed first", async () => {
  const grad = ({ peftModel }: Made, inputIds: Tensor) =>
    tidy(() => {
      const { loss } = peftModel.forward({ inputIds, labels: inputIds });
      loss!.backward();
      return loss!;
    });
  const update = ({ optimizer }: Made) => {
    optimizer.step();
    optimizer.zeroGrad();
  };
  const outside = await bothRuns({ body: (made) => ({ inputIds }) => grad(made, inputIds), between: update });
  assertEquals(outside.replays, 5, "zeroed and used outside");
  const first = await bothRuns({
    body: (made) => ({ inputIds }) => {
      made.optimizer.zeroGrad();
      const loss = grad(made, inputIds);
      made.optimizer.step();
      return loss;
    },
    between: ({ optimizer }, i) => i === 4 && optimizer.zeroGrad(),
  });
  assertEquals(first.replays, 5, "zeroed first");
  const kept = await bothRuns({
    body: (made) => ({ inputIds }) => {
      const loss = grad(made, inputIds);
      made.optimizer.step();
      return loss;
    },
  });
  assertEquals(kept.replays, 5, "never zeroed");
  const every = await bothRuns({
    body: (made) => ({ inputIds }) => grad(made, inputIds),
    between: (made, i) => i % 3 === 2 && update(made),
    steps: 9,
  });
  assert(every.replays >= 0, "zeroed after every third");
  const stepFirst = await bothRuns({
    body: (made) => ({ inputIds }) => {
      made.optimizer.step();
      made.optimizer.zeroGrad();
      return tidy(() => noGrad(() => made.peftModel.forward({ inputIds, labels: inputIds }).loss!));
    },
    between: (made, i) => {
      using inputIds = Tensor.from(batch(i), { dtype: "int32", device: made.device });
      grad(made, inputIds).dispose();
    },
  });
  assertEquals(stepFirst.replays, 0, "gradients come from outside");
});

Deno.test("captureStep() draws as its code would with dropout graphs alive between steps", async () => {
  const alive: Tensor[] = [];
  const strangers: Tensor[] = [];
  await bothRuns({
    between: async ({ peftModel, device }, i) => {
      if (i === 2 || i === 3) {
        for (let n = 0; n < 2; n++) {
          const { loss } = peftModel.forward({ inputIds: batch(n), labels: batch(n) });
          alive.push(loss!);
        }
      }
      if (i === 4) {
        for (const loss of alive.splice(0)) {
          loss.backward(); // with the masks of its own forward
          loss.dispose();
        }
        for (let n = 0; n < 20; n++) strangers.push(Tensor.from([7, 7, 7, 7], { device }));
      }
      await device.sync();
    },
    steps: 8,
  });
  for (const tensor of strangers) assertEquals([...await tensor.data()], [7, 7, 7, 7]);
});

Deno.test("captureStep() draws new numbers in each step where nothing advances the random state", async () => {
  const device = await anotherDevice();
  const random = new RandomState(device, 1);
  const dropout = new Dropout(0.5, random);
  const x = Tensor.from(new Float32Array(256).fill(1), { device });
  const step = captureStep(device, (_: Record<"ids", Tensor>) => dropout.forward(x));
  const seen = new Set<string>();
  for (let i = 0; i < 5; i++) seen.add((await step({ ids: [[1]] }).data()).join());
  assertEquals(seen.size, 5);
});

Deno.test("captureStep() follows settings: adapters off, switched, merged, scaled; train and eval; requiresGrad", async () => {
  const changes: [string, (made: Made) => unknown, (made: Made) => unknown][] = [
    [
      "disableAdapterLayers()",
      ({ peftModel }) => peftModel.disableAdapterLayers(),
      ({ peftModel }) => peftModel.enableAdapterLayers(),
    ],
    [
      "setAdapter()",
      ({ peftModel }) => peftModel.setAdapter("other"),
      ({ peftModel }) => peftModel.setAdapter("default"),
    ],
    [
      "mergeAdapter()",
      ({ peftModel }) => peftModel.mergeAdapter(),
      ({ peftModel }) => peftModel.unmergeAdapter(),
    ],
    ["eval()", ({ peftModel }) => peftModel.eval(), ({ peftModel }) => peftModel.train()],
    [
      "requiresGrad",
      ({ trained }) => trained[0].requiresGrad = false,
      ({ trained }) => trained[0].requiresGrad = true,
    ],
  ];
  for (const [label, change, back] of changes) {
    const device = await anotherDevice();
    const outcomes: number[][] = [];
    for (const captured of [false, true]) {
      const made = make(device);
      made.peftModel.addAdapter(
        "other",
        new LoraConfig({ r: 2, initLoraWeights: false, targetModules: ["c_fc"] }),
      );
      made.peftModel.setAdapter("default");
      // The gradient's path is part of the step, but nothing is updated: every step differs by settings alone.
      let calls = 0;
      const body: Step = ({ inputIds }) => {
        calls++;
        return tidy(() => {
          const { loss } = made.peftModel.forward({ inputIds, labels: inputIds });
          return scale(loss!, 1).detach();
        });
      };
      const step = captureStep(device, body);
      const losses: number[] = [];
      for (let i = 0; i < 12; i++) {
        if (i === 4) await change(made);
        if (i === 8) await back(made);
        if (captured) losses.push(await step({ inputIds: batch(0) }).item());
        else {
          using inputIds = Tensor.from(batch(0), { dtype: "int32", device });
          using loss = body({ inputIds });
          losses.push(await loss.item());
        }
      }
      if (captured) assertEquals(calls, 4, `${label}: one record for each of two settings`);
      outcomes.push(losses);
      made.peftModel.dispose();
    }
    assertEquals(outcomes[1], outcomes[0], label);
    if (label !== "requiresGrad" && label !== "mergeAdapter()") {
      assertNotEquals(outcomes[0][4], outcomes[0][3], label);
    }
  }
});

Deno.test("captureStep() keeps records under noGrad apart", async () => {
  const made = make(await anotherDevice());
  const step = captureStep(made.device, ({ inputIds }: { inputIds: Tensor }) => {
    const { loss } = made.peftModel.forward({ inputIds, labels: inputIds });
    if (loss!.requiresGrad) loss!.backward();
    return loss!;
  });
  for (let i = 0; i < 3; i++) noGrad(() => step({ inputIds: batch(0) }));
  assertEquals(made.trained[0].grad, null);
  for (let i = 0; i < 3; i++) step({ inputIds: batch(0) });
  assert(made.trained[0].grad !== null);
});

Deno.test("a body that throws gives its memory back, and the step goes on after it", async () => {
  const device = await anotherDevice();
  const made = make(device);
  const whole = wholeStep(made);
  let fail = false;
  const step = captureStep(device, (inputs: { inputIds: Tensor }) =>
    tidy(() => {
      const loss = tidy(() => made.peftModel.forward({ ...inputs, labels: inputs.inputIds }).loss!);
      if (fail) throw new Error("on purpose");
      loss.dispose();
      return whole(inputs);
    }));
  await step({ inputIds: batch(0) }).item();
  const { liveBytes } = device.memory;
  fail = true;
  for (let i = 0; i < 6; i++) assertThrows(() => step({ inputIds: batch(i) }), Error, "on purpose");
  assert(device.memory.liveBytes <= liveBytes, `${device.memory.liveBytes} of ${liveBytes}`);
  fail = false;
  for (let i = 0; i < 4; i++) assert(Number.isFinite(await step({ inputIds: batch(i) }).item()));
});

Deno.test("captureStep() bounds what several shapes reserve, and gives it up when memory is short", async () => {
  const device = await anotherDevice();
  const made = make(device, { nEmbd: 64 }, 0);
  const step = captureStep(device, wholeStep(made));
  const lengths = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3];
  let most = 0;
  for (const length of lengths) {
    for (let i = 0; i < 3; i++) await step({ inputIds: batch(i, 8, length) }).item();
    device.trim();
    most = Math.max(most, device.memory.liveBytes);
  }
  const reserved = device.memory.liveBytes;
  device.memoryLimitBytes = most + 1e5;
  const big = device.acquire(reserved >> 1); // records give way
  assert(device.memory.liveBytes <= most + 1e5);
  device.release(big);
  device.memoryLimitBytes = Infinity;
  assert(Number.isFinite(await step({ inputIds: batch(0, 8, 16) }).item()));
  step.dispose();
  device.trim();
  assert(device.memory.liveBytes < reserved / 2, `${device.memory.liveBytes} of ${reserved}`);
});

Deno.test("captureStep() gives its result again after the caller disposed it", async () => {
  const made = make(await anotherDevice());
  const step = captureStep(made.device, wholeStep(made));
  for (let i = 0; i < 5; i++) {
    using loss = step({ inputIds: batch(i) });
    assert(Number.isFinite(await loss.item()));
  }
});

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { blockDropout, defaultDevice, Device, RandomState } from "../../../autograd/mod.ts";
import { changeProfile } from "../../reference/profiles.ts";

Deno.test("blockDropout() lets exactly count blocks of one level rest, and draws anew in every call and step", async () => {
  const random = new RandomState(await defaultDevice(), 11);
  for (const [levels, blocks, count] of [[1, 5, 2], [3, 70, 20], [2, 4, 4], [4, 9, 0]]) {
    const seenLevels = new Set<number>();
    const masks = new Set<string>();
    for (let i = 0; i < 40; i++) {
      if (i % 4 === 3) random.advance();
      using keep = blockDropout(levels, blocks, count, random);
      assertEquals([...keep.shape], [levels, blocks]);
      const data = await keep.data();
      const zeros = Array.from(data, (value, j) => ({ value, j })).filter(({ value }) => value !== 1);
      assert(zeros.every(({ value }) => value === 0));
      assertEquals(zeros.length, count);
      const own = new Set(zeros.map(({ j }) => Math.floor(j / blocks)));
      assert(own.size <= 1, "all in one level");
      for (const level of own) seenLevels.add(level);
      masks.add(data.join());
    }
    if (count > 0) assertEquals(seenLevels.size, levels, "every level has its turn");
    if (count > 0 && count < blocks) assert(masks.size > 5);
  }
  random.dispose();
});

Deno.test("blockDropout() repeats with seed, step and call", async () => {
  const device = await defaultDevice();
  const draw = async (seed: number, step: number) => {
    const random = new RandomState(device, seed);
    random.step = step;
    using keep = blockDropout(2, 30, 10, random);
    const data = [...await keep.data()];
    random.dispose();
    return data;
  };
  assertEquals(await draw(1, 2), await draw(1, 2));
  assertNotEquals(await draw(1, 2), await draw(2, 2));
  assertNotEquals(await draw(1, 2), await draw(1, 3));
});

Deno.test("blockDropout() refuses a count above the number of blocks, and blocks beyond a driver's loop limit", async () => {
  const random = new RandomState(await defaultDevice(), 1);
  assertThrows(
    () => blockDropout(1, 3, 4, random),
    RangeError,
    "Cannot drop 4 of 3 blocks: a count up to the blocks is required",
  );
  random.dispose();
  const limited = await Device.create({ device: (await defaultDevice()).gpuDevice });
  changeProfile(limited, { maxLoopIterations: 70 });
  const state = new RandomState(limited, 1);
  assertThrows(
    () => blockDropout(1, 11, 4, state),
    RangeError,
    "at most 10 blocks are required, received 11",
  );
  changeProfile(limited, { maxLoopIterations: Infinity });
  blockDropout(1, 2_000, 0, state).dispose(); // hardware has no limit
  state.dispose();
});

/** What `captureStep()` refuses, in the first call and in replays. */
import { assertEquals, assertThrows } from "@std/assert";
import { captureStep, noGrad, Tensor, tidy } from "@peft/webgpu";
import { scale } from "@peft/webgpu/tensor";
import { batch, make, wholeStep } from "./captured_runs.ts";
import { anotherDevice } from "../reference/another_device.ts";

Deno.test("captureStep() checks ids in every call, before anything is changed", async () => {
  const device = await anotherDevice();
  const made = make(device);
  const step = captureStep(device, wholeStep(made));
  const bad: [number, string][] = [
    [99, "Cannot use labels: integers from 0 to 39 or -100 are required, received 99 at [1, 3]"],
    [-7, "Cannot use labels: integers from 0 to 39 or -100 are required, received -7 at [1, 3]"],
    [1.5, 'Cannot run a captured step: 32-bit integers are required as "inputIds", received 1.5'],
    [NaN, 'Cannot run a captured step: 32-bit integers are required as "inputIds", received NaN'],
    [2 ** 31, 'Cannot run a captured step: 32-bit integers are required as "inputIds", received 2147483648'],
  ];
  for (let i = 0; i < 5; i++) {
    for (const [id, message] of bad) {
      const inputIds = batch(i);
      inputIds[1][3] = id;
      const before = await made.trained[1].data();
      assertThrows(() => step({ inputIds }), RangeError, message);
      assertEquals(await made.trained[1].data(), before);
    }
    await step({ inputIds: batch(i) }).item();
  }
});

Deno.test("captureStep() takes rows of a Float32Array as float32, new ones in each replay, and refuses ragged ones", async () => {
  const device = await anotherDevice();
  const rows = (first: number) => [Float32Array.of(first, 0.5), Float32Array.of(-1, 2)];
  const step = captureStep(device, ({ factors }: { factors: Tensor }) => {
    assertEquals([factors.dtype, ...factors.shape], ["float32", 2, 2]);
    return scale(factors, 2);
  });
  for (const first of [3, 0.25, -0, 1e-40, 7]) {
    assertEquals([...await step({ factors: rows(first) }).data()], [2 * Math.fround(first), 1, -2, 4]);
  }
  assertThrows(
    () => step({ factors: [Float32Array.of(1, 2), Float32Array.of(1)] }),
    TypeError,
    "Cannot run a captured step: rows of one length are required, received 2 numbers in row 0 and 1 in row 1",
  );
});

Deno.test("captureStep() refuses a batch without a label in replays", async () => {
  const made = make(await anotherDevice());
  const step = captureStep(
    made.device,
    ({ inputIds, labels }: { inputIds: Tensor; labels: Tensor }) =>
      tidy(() => noGrad(() => made.peftModel.forward({ inputIds, labels }).loss!)),
  );
  for (let i = 0; i < 3; i++) await step({ inputIds: batch(i), labels: batch(i) }).item();
  const labels = batch(0).map((row) => row.map(() => -100));
  assertThrows(() => step({ inputIds: batch(0), labels }), RangeError, "at least one label");
});

Deno.test("captureStep() refuses to read back, to be nested, and a body that gives no tensor", async () => {
  const device = await anotherDevice();
  const x = Tensor.from([1, 2], { device });
  const inner = captureStep(device, () => scale(x, 2));
  inner({});
  const nested = captureStep(device, () => inner({}));
  nested({});
  assertThrows(() => nested({}), TypeError, "Cannot run a captured step in the body of another one");
  const asynchronous = captureStep(device, (() => Promise.resolve(x)) as unknown as () => Tensor);
  assertThrows(() => asynchronous({}), TypeError, "Cannot capture a step: its body must return one tensor");
  let failure: Promise<string> | undefined;
  const reading = captureStep(device, () => {
    failure = x.data().then(() => "read", (error) => error.message);
    return scale(x, 2);
  });
  reading({});
  assertEquals(await failure, "read");
  reading({});
  assertEquals(
    await failure,
    "Cannot read from the device in a captured step: read its result after the step",
  );
});

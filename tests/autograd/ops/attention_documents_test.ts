import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  attention,
  causalSelfAttention,
  defaultDevice,
  documentsOf,
  positionsInDocuments,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { check } from "../../reference/attention_check.ts";

/** Padding on the left of one row, on the right of the other, and a hidden token in the middle of both; [2, T]. */
const padded = (T: number) =>
  [0, 1].flatMap((b) =>
    Array.from({ length: T }, (_, j) => j === T >> 1 || (b === 0 ? j < 3 : j >= T - 4) ? 0 : 1)
  );

/** Rows of 33 positions: documents of one token, of a whole step, over step borders; one document alone. */
const ROWS = [[1, 8, 7, 1, 16], [33], [3, 3, 3, 24], [32, 1]];

for (const hardware of [false, true]) {
  const on = hardware ? "on the kernels for hardware" : "on tiles";
  Deno.test(`documents of a row do not see each other, and agree with the reference ${on}`, async () => {
    for (const D of [5, 12]) await check({ B: 4, H: 3, D, T: 33, documents: ROWS, hardware });
    await check({ B: 4, H: 4, Hkv: 2, D: 8, T: 33, documents: ROWS, hardware });
    await check({ B: 1, H: 1, D: 4, T: 1, documents: [[1]], hardware });
    const ones = new Array(19).fill(1);
    await check({ B: 1, H: 2, D: 4, T: 19, documents: [ones], hardware });
  });

  Deno.test(`documents with a window, padding and dropout agree with the reference ${on}`, async () => {
    for (const window of [1, 3, 8, 20]) {
      await check({ B: 4, H: 2, D: 5, T: 33, documents: ROWS, window, hardware });
      await check({ B: 4, H: 3, Hkv: 1, D: 8, T: 33, documents: ROWS, window, hardware });
    }
    const two = { B: 2, T: 33, documents: ROWS.slice(0, 2), mask: padded(33), hardware };
    await check({ ...two, H: 2, D: 12 });
    await check({ ...two, H: 4, Hkv: 2, D: 8, p: 0.3, window: 9 });
    await check({ ...two, H: 2, D: 5, p: 0.3 });
  });
}

Deno.test("documents agree with the reference at models' sizes", async () => {
  const lengths = [[120, 1, 63, 88, 30]]; // 302 positions
  await check({ B: 1, H: 9, Hkv: 3, D: 64, T: 302, documents: lengths });
  await check({ B: 1, H: 4, Hkv: 1, D: 256, T: 70, documents: [[33, 37]], window: 20 });
  await check({ B: 1, H: 2, D: 128, T: 40, documents: [[7, 33]] });
  await check({ B: 1, H: 4, Hkv: 1, D: 32, T: 40, documents: [[17, 23]], hardware: true });
});

Deno.test("documents in several launches and over the binding limit agree with the reference", async () => {
  for (const iterations of [1, 300]) {
    await check({ B: 4, H: 6, Hkv: 2, D: 12, T: 33, documents: ROWS, iterations });
    await check({
      ...{ B: 2, H: 2, D: 12, T: 33, documents: ROWS.slice(0, 2), mask: padded(33) },
      ...{ p: 0.3, window: 5, iterations },
    });
  }
  const documents = [[8], [1, 7], [4, 4], [5, 3], [2, 2, 2, 2]];
  for (const hardware of [false, true]) {
    await check({ B: 5, H: 2, D: 8, T: 8, documents, p: 0.3, limit: 4096, hardware }); // two rows a launch
  }
});

Deno.test("documents with a scale 1% off fail the comparison", async () => {
  let message = "";
  await check({ B: 4, H: 3, D: 5, T: 33, documents: ROWS }, 1.01).catch((error) => message = error.message);
  assert(message.includes("elements differ"), `a wrong formula must fail, received "${message}"`);
});

Deno.test("documentsOf() begins a document where ids do not go on, and marks what the mask hides", async () => {
  const device = await defaultDevice();
  using positions = Tensor.from([[0, 1, 2, 0, 1, 5, 6, 0], [3, 4, 5, 6, 7, 8, 9, 10]], {
    dtype: "int32",
    device,
  });
  using mask = Tensor.from([[0, 1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1]], { dtype: "int32", device });
  const expected = [0, 0, 0, 3, 3, 5, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0];
  const plain = documentsOf(positions, { by: "positions", rows: 2 });
  assertEquals([...await plain.starts.data()], expected);
  assertEquals(plain.hides, false);
  const masked = documentsOf(positions, { by: "positions", rows: 2, attentionMask: mask });
  const hidden = 2 ** 31;
  assertEquals([...await masked.starts.data()], [
    hidden,
    ...expected.slice(1, 7),
    hidden + 7,
    ...expected.slice(8),
  ]);
  assertEquals(masked.hides, true);
  using counted = positionsInDocuments(masked);
  assertEquals([...await counted.data()], [0, 1, 2, 0, 1, 0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7]);
  using ids = Tensor.from([[7, 7, 2, 2, 2, -1, 3, 3]], { dtype: "int32", device });
  const everywhere = documentsOf(ids, { by: "sequences", rows: 3 }); // one row of ids for all rows
  assertEquals([...await everywhere.starts.data()], [0, 1, 2].flatMap(() => [0, 0, 2, 2, 2, 5, 6, 6]));
  for (const { starts } of [plain, masked, everywhere]) starts.dispose();
});

Deno.test("documents that do not fit are refused by name", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b, 1)), { device, shape });
    const ids = Tensor.from([[0, 0, 1, 1]], { dtype: "int32", device });
    const mask = Tensor.from([[1, 1, 1, 1]], { dtype: "int32", device });
    const documents = documentsOf(ids, { by: "sequences", rows: 2 });
    const qkv = zeros(2, 4, 24);
    assertThrows(
      () => causalSelfAttention(zeros(1, 4, 24), { heads: 2, documents }),
      TypeError,
      "uint32 starts [1, 4] of documents are required, received uint32 [2, 4]",
    );
    assertThrows(
      () => causalSelfAttention(zeros(1, 4, 24), { heads: 2, documents, attentionMask: mask }),
      TypeError,
      "the mask of documents is in them (documentsOf), received another one",
    );
    assertThrows(
      () => attention(zeros(2, 4, 8), zeros(2, 6, 16), { heads: 2, documents }),
      RangeError,
      "Cannot attend to documents: as many keys as queries are required, received past 2, Tq 4 and Tk 6",
    );
    assertThrows(
      () => documentsOf(qkv, { by: "sequences", rows: 2 }),
      TypeError,
      "int32 ids [2, T] or [1, T] are required, received float32 [2, 4, 24]",
    );
    assertThrows(
      () => documentsOf(ids, { by: "sequences", rows: 2, attentionMask: mask }),
      TypeError,
      "an int32 or uint32 mask [2, 4] is required, received int32 [1, 4]",
    );
  });
});

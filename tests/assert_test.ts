import {
  assertAllClose,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertThrows,
  relativeL2,
} from "@std/assert";

Deno.test("assertAllClose() accepts equal infinities and NaN beside NaN", () => {
  assertAllClose([1, NaN, Infinity, -Infinity, 0], new Float32Array([1, NaN, Infinity, -Infinity, 0]));
});

Deno.test("assertAllClose() rejects NaN beside a number, a wrong infinity and a wrong length", () => {
  assertThrows(() => assertAllClose([NaN], [0]), Error, "1 of 1 elements differ");
  assertThrows(() => assertAllClose([0], [NaN]), Error, "worst at index 0");
  assertThrows(() => assertAllClose([Infinity], [-Infinity]), Error, "received Infinity, expected -Infinity");
  assertThrows(() => assertAllClose([1e30], [Infinity], { rtol: 1 }), Error, "worst at index 0");
  assertThrows(() => assertAllClose([1], [1, 2]), Error, "expected 2 elements, received 1");
});

Deno.test("assertAllClose() names the worst index, both values and the label", () => {
  const error = assertThrows(() =>
    assertAllClose([1, 2.5, 3.1], [1, 2, 3], { rtol: 0, atol: 0.01, label: "dx" })
  );
  assertEquals(error.message.includes("dx: 2 of 3 elements differ"), true);
  assertEquals(error.message.includes("worst at index 1: received 2.5, expected 2"), true);
  assertEquals(error.message.includes("max relative error 2.500e-1"), true);
});

Deno.test("relativeL2() is the relative norm, and NaN stays NaN", () => {
  assertAlmostEquals(relativeL2([3, 4.5], [3, 4]), 0.1, 1e-12);
  assertEquals(relativeL2([0, 0], [0, 0]), 0);
  assertEquals(relativeL2([NaN], [1]) < 1, false);
});

Deno.test("assertThrows() and assertRejects() fail when nothing is thrown or the class is wrong", async () => {
  assertThrows(() => assertThrows(() => 1), Error, "Expected function to throw");
  assertThrows(
    () =>
      assertThrows(() => {
        throw new TypeError("x");
      }, RangeError),
    Error,
    "Expected RangeError, received TypeError: x",
  );
  await assertRejects(() => assertRejects(() => Promise.resolve(1)), Error, "Expected function to reject");
});

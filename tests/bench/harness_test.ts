import { assert, assertEquals, assertThrows } from "@std/assert";
import { checkProduct } from "../../bench/matmul_bench.ts";
import { checkResult, formatTable, jsonPath, median, sampleIndices } from "../../bench/harness.ts";
import { formatTargets } from "../../bench/h200/table.ts";
import { requireEqualLosses } from "../../bench/step_bench.ts";

Deno.test("checkResult() refuses a wrong element, NaN and a short result, by name", () => {
  const expected = (i: number) => i / 4;
  checkResult("copy", [0, 0.25, 0.5], [0, 1, 2], expected, 1e-6);
  const message = "Cannot time copy: element 2 must be 0.5, received";
  assertThrows(() => checkResult("copy", [0, 0.25, 0.51], [0, 1, 2], expected, 1e-6), Error, message);
  assertThrows(() => checkResult("copy", [0, 0.25, NaN], [0, 1, 2], expected, 1e-6), Error, message);
  assertThrows(() => checkResult("copy", [0, 0.25], [0, 1, 2], expected, 1e-6), Error, message);
});

Deno.test("checkProduct() refuses a product of zeros and one of the wrong layout", () => {
  const a = Float32Array.of(1, 2, 3, 4);
  const b = Float32Array.of(1, 0, 2, 1);
  const test = { name: "2 x 2", layout: "nn", M: 2, N: 2, K: 2 } as const;
  checkProduct(test, a, b, [5, 2, 11, 4]);
  assertThrows(() => checkProduct(test, a, b, [0, 0, 0, 0]), Error, "Cannot time 2 x 2");
  assertThrows(
    () => checkProduct({ ...test, layout: "nt" }, a, b, [5, 2, 11, 4]),
    Error,
    "Cannot time 2 x 2",
  );
});

Deno.test("requireEqualLosses() refuses runs that differ in one bit, or hold NaN", () => {
  requireEqualLosses("step", [1, 0.5], [1, 0.5]);
  assertThrows(() => requireEqualLosses("step", [1, 0.5], [1, 0.5 + 2 ** -53]), Error, "loss 1");
  assertThrows(() => requireEqualLosses("step", [1, NaN], [1, NaN]), Error, "loss 1");
});

Deno.test("sampleIndices() has the first and the last element", () => {
  assertEquals(sampleIndices(1000, 3), [0, 499, 999]);
  assertEquals(sampleIndices(2, 10), [0, 1]);
});

Deno.test("median(), formatTable() and jsonPath() do what the report needs", () => {
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([4, 1, 2, 3]), 2.5);
  assertEquals(
    formatTable([{ op: "a", ms: 1.5 }, { op: "bcd", ms: 250.2 }]),
    "op      ms\na    1.500\nbcd    250",
  );
  assertEquals(jsonPath(["--json", "x.json"]), "x.json");
  assertThrows(() => jsonPath(["--json"]), TypeError, "--json FILE is required");
});

Deno.test("formatTargets() tells reached, missed and open apart", () => {
  const ours = '{"name":"matmul","gflops":60}\n{"name":"lora 1x128","tokensPerSecond":100}';
  const torch = '{"name":"matmul","gflops":100}\n{"name":"lora 1x128","tokensPerSecond":100}';
  const lines = formatTargets(ours, torch).split("\n");
  assert(lines.find((line) => line.startsWith("| matmul"))!.endsWith("| reached |"));
  assert(lines.find((line) => line.includes("1 x 128"))!.endsWith("| missed |"));
  assert(lines.find((line) => line.includes("greedy"))!.endsWith("| open |"));
});

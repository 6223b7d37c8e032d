import { assertEquals, assertThrows } from "@std/assert";
import { TorchGenerator } from "../../autograd/mod.ts";

// Known answers: torch 2.13 on CPU, `torch.Generator().manual_seed(seed)`.

async function digestOf(values: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", values));
  return Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

Deno.test("TorchGenerator.nextWord() gives MT19937's words", () => {
  // init_genrand(5489) of Matsumoto and Nishimura's mt19937ar.c, also C++'s std::mt19937
  const reference = new TorchGenerator(5489);
  assertEquals(reference.nextWord(), 3499211612);
  for (let i = 2; i < 10_000; i++) reference.nextWord();
  assertEquals(reference.nextWord(), 4123659995, "the 10,000th word, as the C++ standard gives it");
});

Deno.test("TorchGenerator.uniform() gives the bytes of torch's uniform_()", async () => {
  const cases: [seed: number, count: number, bound: number, digest: string][] = [
    [0, 1000, 0.7, "1731018df9ed2e56"],
    [123, 700, 0.11, "b6c8137cb6374342"],
    [2 ** 40 + 5, 2000, 3.3, "081797b5779c2b99"],
  ];
  for (const [seed, count, bound, digest] of cases) {
    assertEquals(await digestOf(new TorchGenerator(seed).uniform(count, bound)), digest);
  }
});

Deno.test("TorchGenerator.permutation() gives the start of torch.randperm()", async () => {
  assertEquals(new TorchGenerator(777).permutation(10, 10), [5, 9, 0, 3, 1, 7, 4, 8, 6, 2]);
  assertEquals(new TorchGenerator(0).permutation(1, 1), [0]);
  const long = Int32Array.from(new TorchGenerator(777).permutation(768 * 3072, 1000));
  assertEquals([...long.subarray(0, 4)], [2160743, 1949640, 1000073, 970736]);
  assertEquals(await digestOf(long), "4ad3d146909d534d");
});

Deno.test("TorchGenerator refuses seeds and permutations that torch draws in another way", () => {
  for (const seed of [-1, 0.5, 2 ** 60]) {
    assertThrows(() => new TorchGenerator(seed), RangeError, "an integer from 0 is required");
  }
  assertThrows(() => new TorchGenerator(0).permutation(2 ** 31, 1), RangeError, "at most 214748364");
  assertThrows(() => new TorchGenerator(0).permutation(3, 4), RangeError, "at least the 4 wanted");
});

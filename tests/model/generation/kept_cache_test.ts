/**
 * A cache that is kept between generations: the same tokens as without it, from fewer computed positions.
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type GenerateOptions,
  KVCache,
} from "../../../model/mod.ts";
import {
  getPeftModel,
  IA3Config,
  LoraConfig,
  PrefixTuningConfig,
  PromptTuningConfig,
} from "../../../peft/mod.ts";
import { noGrad } from "../../../autograd/mod.ts";
import { randomise } from "../../peft/tiny_model.ts";
import { FIXTURES, loadFixture, ownDevice } from "../../reference/fixtures.ts";
import { computedPositions } from "./computed_positions.ts";

const GREEDY: GenerateOptions = { maxNewTokens: 6, eosTokenId: null };
const FIRST = [5, 17, 2, 3, 41];

for (const fixture of ["gpt2_tiny", "llama/mistral", "llama/gemma3", "llama/qwen3", "llama/llama_yarn"]) {
  Deno.test(`generate() of ${fixture} with a kept cache computes each turn's new tokens alone, with the same tokens`, async () => {
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}${fixture}`, { device });
    await model.generate([FIRST], { ...GREEDY, maxNewTokens: 40 }); // makes tables of rotary positions
    const live = device.memory.liveBytes;
    const computed = computedPositions(model);
    const cache = new KVCache(model, device, 1, 0);
    let prompt = FIRST;
    for (const [turn, words] of [[7, 8], [9], [10, 11, 12]].entries()) {
      const plain = await model.generate([prompt], GREEDY);
      assertEquals(computed(), prompt.length + 5);
      const kept = await model.generate([prompt], { ...GREEDY, pastKeyValues: cache });
      assertEquals(kept, plain);
      // What the cache holds: all but the last token of the answer before, to which the new words come.
      assertEquals(computed(), (turn === 0 ? FIRST.length : 1 + [0, 2, 1][turn]) + 5, `turn ${turn}`);
      assertEquals(cache.length, kept[0].length - 1);
      prompt = [...kept[0], ...words];
    }
    // A prompt that differs early, then the same prompt again: its last token is computed at least.
    const other = [...FIRST.slice(0, 3), 1, 1, 1];
    const [plain] = await model.generate([other], GREEDY);
    computed();
    for (const positions of [3, 1]) {
      assertEquals(await model.generate([other], { ...GREEDY, pastKeyValues: cache }), [plain]);
      assertEquals(computed(), positions + 5);
    }
    cache.dispose();
    assertEquals(device.memory.liveBytes, live);
    model.dispose();
  });
}

Deno.test("generate() with a kept cache computes everything again under other adapters, and for another model", async () => {
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const other = await loadFixture("gpt2_tiny", { device: base.device });
  const model = getPeftModel(base, new LoraConfig({ r: 4 }), "a").eval();
  await randomise(model);
  model.addAdapter("b", new LoraConfig({ r: 2, targetModules: ["c_attn", "c_fc"] }));
  model.setAdapter("b");
  await randomise(model, 5);
  using cache = new KVCache(base, base.device, 1, 8);
  const computed = computedPositions(base);
  const answers = new Set<string>();
  const same = async (positions: number, of: { generate: CausalLM["generate"] } = model, more = {}) => {
    const plain = await of.generate([FIRST], { ...GREEDY, ...more });
    computed();
    const kept = await of.generate([FIRST], { ...GREEDY, ...more, pastKeyValues: cache });
    assertEquals(kept, plain);
    assertEquals(computed(), positions && positions + 5);
    answers.add(String(plain));
  };
  await same(5);
  await same(1);
  model.setAdapter("a", { inferenceMode: true });
  await same(5);
  await same(1);
  await same(5, model, { adapterNames: ["b"] });
  model.disableAdapterLayers();
  await same(5);
  model.enableAdapterLayers();
  await same(5);
  await same(0, other); // counted on the other model
  await same(5);
  assertEquals(answers.size, 3, "two adapters and none answer differently");
  for (const each of [model, other]) each.dispose();
});

Deno.test("generate() with a kept cache computes everything again for another adapter of the same name", async () => {
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const model = getPeftModel(base, new IA3Config(), "first").eval();
  using cache = new KVCache(base, base.device, 1, 8);
  const answers = new Set<string>();
  for (const seed of [1, 2]) { // frozen, as a loaded adapter: nothing about it but its weights is new
    model.addAdapter("a", new IA3Config());
    model.setAdapter("a");
    await randomise(model, seed);
    model.setAdapter("a", { inferenceMode: true });
    const plain = await model.generate([FIRST], GREEDY);
    assertEquals(await model.generate([FIRST], { ...GREEDY, pastKeyValues: cache }), plain);
    answers.add(String(plain));
    model.setAdapter("first", { inferenceMode: true });
    model.deleteAdapter("a");
  }
  assertEquals(answers.size, 2);
  model.dispose();
});

Deno.test("generate() with a kept cache computes virtual tokens once", async () => {
  for (
    const config of [
      new PrefixTuningConfig({ numVirtualTokens: 3 }),
      new PromptTuningConfig({ numVirtualTokens: 3 }),
    ]
  ) {
    const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
    const model = getPeftModel(base, config).eval();
    await randomise(model);
    using cache = new KVCache(base, base.device, 1, 0);
    let prompt = FIRST;
    for (const _ of [1, 2, 3]) {
      const plain = await model.generate([prompt], GREEDY);
      assertEquals(await model.generate([prompt], { ...GREEDY, pastKeyValues: cache }), plain);
      assertEquals([cache.length, cache.virtualTokens], [3 + plain[0].length - 1, 3]);
      prompt = [...plain[0], 9];
    }
    // Without the adapter the cache is of no use.
    const plain = await model.disableAdapter(() => base.generate([prompt], GREEDY));
    assertEquals(await base.generate([prompt], { ...GREEDY, pastKeyValues: cache }), plain);
    assertEquals(cache.virtualTokens, 0);
    model.dispose();
  }
});

Deno.test("a kept cache is right after an abort, stop strings in some rows, padding, and other uses of it", async () => {
  const folder = new URL("../../../examples/demo/model", import.meta.url).pathname;
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  tokenizer.padTokenId = tokenizer.eosTokenId;
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { device: await ownDevice() });
  using cache = new KVCache(model, model.device, 1, 0);
  const prompt = tokenizer.encode("Once upon a time there was a brave dog");
  const options = { maxNewTokens: 20, eosTokenId: null };
  const plain = await model.generate([prompt], options);
  const controller = new AbortController();
  let seen = 0;
  const streamer = { put: () => void (++seen === 4 && controller.abort()), end: () => {} };
  const { signal } = controller;
  await assertRejects(() => model.generate([prompt], { ...options, streamer, signal, pastKeyValues: cache }));
  assertEquals(seen, 4);
  assert(cache.length >= prompt.length && cache.length <= prompt.length + 4, `${cache.length}`);
  assertEquals(await model.generate([prompt], { ...options, pastKeyValues: cache }), plain);

  // Cut by its owner, then filled by forward(): what the owner put there is not taken for the conversation's.
  cache.crop(4);
  noGrad(() => model.forward({ inputIds: [[1, 2, 3]], pastKeyValues: cache })).dispose();
  assertEquals(cache.length, 7);
  assertEquals(await model.generate([prompt], { ...options, pastKeyValues: cache }), plain);

  using pair = new KVCache(model, model.device, 2, 0);
  const stopped = { ...options, tokenizer, stopStrings: ["."], padTokenId: 5 };
  let rows = ["Once upon a time there was", "One day, a small bird and"].map((text) =>
    tokenizer.encode(text)
  );
  rows = rows.map((row) => row.slice(0, Math.min(...rows.map(({ length }) => length))));
  for (const _ of [1, 2]) {
    const alone = await model.generate(rows, stopped);
    assertEquals(await model.generate(rows, { ...stopped, pastKeyValues: pair }), alone);
    assert(new Set(alone.map((row) => row.indexOf(5))).size === 2, `${alone}`); // the rows end at different tokens
    rows = alone.map((row) => [...row, 300]);
  }
  const texts = ["Once upon a time", "One"];
  const padded = await model.generate(texts, { ...options, tokenizer });
  for (const _ of [1, 2]) {
    assertEquals(await model.generate(texts, { ...options, tokenizer, pastKeyValues: pair }), padded);
  }
  model.dispose();
});

Deno.test("generate() refuses a cache that does not fit, and useCache and beams beside one", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const smaller = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/llama`, {
    device: model.device,
  });
  const refuse = async (options: GenerateOptions, message: string) => {
    await assertRejects(() => model.generate([FIRST], options), RangeError, `Cannot generate${message}`);
  };
  using cache = new KVCache(model, model.device, 1, 0);
  using two = new KVCache(model, model.device, 2, 0);
  using strange = new KVCache(smaller, model.device, 1, 4);
  using filled = new KVCache(model, model.device, 1, 12);
  noGrad(() => model.forward({ inputIds: [FIRST], pastKeyValues: filled })).dispose();
  const wanted = " with pastKeyValues: ";
  await refuse({ pastKeyValues: two }, `${wanted}a cache of 1 rows is required, received one of 2`);
  await refuse({ pastKeyValues: strange }, `${wanted}a cache made for this model is required`);
  await refuse(
    { pastKeyValues: filled },
    `${wanted}an empty cache, or one that generate() filled, is required`,
  );
  await refuse({ pastKeyValues: cache, useCache: false }, `${wanted}useCache must be true`);
  await refuse({ pastKeyValues: cache, numBeams: 2 }, ": beam search has a cache of its own");
  await refuse({ pastKeyValues: cache, maxNewTokens: 60 }, " 60 tokens after 5: n_positions 64 allows 59");
  const running = model.generate([FIRST], { pastKeyValues: cache });
  await refuse({ pastKeyValues: cache }, `${wanted}a cache that no other generate() uses is required`);
  await running;
  await model.generate([FIRST], { pastKeyValues: cache });
  for (const length of [-1, 1.5]) {
    assertThrows(
      () => cache.crop(length),
      RangeError,
      `Cannot crop the cache: a number of tokens of at least 0`,
    );
  }
  for (const each of [model, smaller]) each.dispose();
});

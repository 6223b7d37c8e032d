import { assert, assertEquals, assertRejects } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer } from "../../../model/mod.ts";
import { getPeftModel, LoraConfig, PrefixTuningConfig, PromptTuningConfig } from "../../../peft/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../../reference/fixtures.ts";
import { randomise } from "../../peft/tiny_model.ts";

/** `beams.json`. */
interface Json {
  prompts: number[][];
  padded: number[][];
  mask: number[][];
  cases: {
    num_beams: number;
    eos_token_id?: number[];
    early_stopping?: boolean;
    length_penalty?: number;
    repetition_penalty?: number;
    padded?: boolean;
    ids: number[][];
  }[];
}

const json = JSON.parse(await Deno.readTextFile(`${FIXTURES}gpt2_tiny/beams.json`)) as Json;

for (const { ids, padded, ...test } of json.cases) {
  Deno.test(`generate() with ${JSON.stringify({ ...test, padded })} finds transformers' sequences`, async () => {
    const device = await ownDevice();
    const model = await loadFixture("gpt2_tiny", { device });
    const live = device.memory.liveBytes;
    const inputs = padded ? { inputIds: json.padded, attentionMask: json.mask } : json.prompts;
    const search = (useCache: boolean) =>
      model.generate(inputs, {
        useCache,
        maxNewTokens: 12,
        numBeams: test.num_beams,
        eosTokenId: test.eos_token_id ?? null,
        padTokenId: 256,
        lengthPenalty: test.length_penalty,
        earlyStopping: test.early_stopping,
        repetitionPenalty: test.repetition_penalty,
      });
    for (const useCache of [true, false]) assertEquals(await search(useCache), ids);
    assertEquals(device.memory.liveBytes, live, "nothing is left of the search");
    model.dispose();
  });
}

const stops = JSON.parse(await Deno.readTextFile(`${FIXTURES}demo/stop_beams.json`)) as {
  texts: string[];
  cases: {
    stop_strings: string[];
    num_beams: number;
    early_stopping?: boolean;
    length_penalty?: number;
    ids: number[][];
  }[];
};

Deno.test("generate() with beams and stopStrings finds transformers' sequences", async () => {
  const folder = new URL("../../../examples/demo/model", import.meta.url).pathname;
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  tokenizer.padTokenId = tokenizer.eosTokenId;
  const model = await AutoModelForCausalLM.fromPretrained(folder, { device: await ownDevice() });
  for (const [at, { ids, ...test }] of stops.cases.entries()) {
    for (const useCache of at === 1 ? [true, false] : [true]) {
      const options = {
        tokenizer,
        useCache,
        stopStrings: test.stop_strings,
        numBeams: test.num_beams,
        earlyStopping: test.early_stopping,
        lengthPenalty: test.length_penalty,
        maxNewTokens: 24,
      };
      const batch = tokenizer(stops.texts, { padding: true, paddingSide: "left" });
      const found = await model.generate(batch, { ...options, padTokenId: 5 });
      assertEquals(found, ids, JSON.stringify(test));
    }
  }
  model.dispose();
});

Deno.test("generate() with beams computes each token once where it keeps a cache", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const lengths: number[] = [];
  const { lastLogits } = model;
  model.lastLogits = (inputs) => {
    lengths.push((inputs.inputIds as number[][])[0].length);
    return lastLogits.call(model, inputs);
  };
  await model.generate(json.prompts, { numBeams: 3, maxNewTokens: 4, eosTokenId: null });
  assertEquals(lengths, [5, 1, 1, 1]);
  model.dispose();
});

Deno.test("generate() with beams and virtual tokens gives the same with the cache as without it", async () => {
  for (
    const config of [
      new PrefixTuningConfig({ numVirtualTokens: 3 }),
      new PromptTuningConfig({ numVirtualTokens: 3 }),
    ]
  ) {
    const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
    const model = getPeftModel(base, config).eval();
    await randomise(model);
    const inputs = { inputIds: json.padded, attentionMask: json.mask };
    const search = (useCache: boolean) =>
      model.generate(inputs, { useCache, numBeams: 3, maxNewTokens: 8, eosTokenId: null });
    assertEquals(await search(true), await search(false));
    model.dispose();
  }
});

Deno.test("generate() with beams and adapterNames gives each row the sequences of its adapter alone", async () => {
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const model = getPeftModel(base, new LoraConfig({ r: 4 }), "a").eval();
  await randomise(model);
  model.addAdapter("b", new LoraConfig({ r: 2, targetModules: ["c_attn", "c_fc"] }));
  model.setAdapter("b");
  await randomise(model, 5);
  const options = { maxNewTokens: 6, numBeams: 3, eosTokenId: null };
  const prompt = json.prompts[0];
  const alone: number[][] = [];
  for (const name of ["a", "b"]) {
    model.setAdapter(name);
    alone.push(...await model.generate([prompt], options));
  }
  alone.push(...await model.disableAdapter(() => model.generate([prompt], options)));
  assert(new Set(alone.map(String)).size === 3, "the three differ");
  const adapterNames = ["a", "b", "__base__"];
  assertEquals(await model.generate([prompt, prompt, prompt], { ...options, adapterNames }), alone);
  model.dispose();
});

Deno.test("generate() with beams refuses sampling, streaming and numbers out of range, and keeps the mode", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  model.train();
  const refused: [object, string][] = [
    [{ numBeams: 0 }, "numBeams must be a positive integer, received 0"],
    [{ numBeams: 2.5 }, "numBeams must be a positive integer, received 2.5"],
    [{ numBeams: 2, lengthPenalty: NaN }, "lengthPenalty must be a number, received NaN"],
    [{ numBeams: 2, doSample: true }, "beam search neither samples nor streams, received doSample"],
    [
      { numBeams: 2, streamer: { put() {}, end() {} } },
      "beam search neither samples nor streams, received a streamer",
    ],
  ];
  for (const [options, message] of refused) {
    await assertRejects(
      () => model.generate(json.prompts, options),
      RangeError,
      `Cannot generate: ${message}`,
    );
  }
  await model.generate(json.prompts, { numBeams: 2, maxNewTokens: 1 });
  assertEquals(model.training, true);
  model.dispose();
});

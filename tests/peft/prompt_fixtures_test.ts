/**
 * Virtual tokens (prefix tuning, prompt tuning, P-tuning) against what Python's peft computes with the same ones.
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import { safetensors } from "../../io/safetensors.ts";
import {
  getPeftModel,
  LoraConfig,
  PeftModel,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
} from "../../peft/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { testPromptFixture, trainableModel } from "./adapter_fixture.ts";

const cases = [...Deno.readDirSync(`${FIXTURES}prompt`)].map((entry) => entry.name).sort();
assertEquals(cases.length, 5);

for (const name of cases) testPromptFixture(`prompt/${name}`);

Deno.test("virtual tokens: disabled is the base bit for bit, and the base is never changed", async () => {
  const { model, base, expected: { json } } = await trainableModel("prompt/prefix");
  const logits = async (run: () => { logits: { data(): Promise<ArrayLike<number>> } }) =>
    Array.from(await noGrad(() => run().logits).data());
  const plain = await logits(() => base.forward({ inputIds: json.input_ids }));
  assertEquals(
    await model.disableAdapter(() => logits(() => model.forward({ inputIds: json.input_ids }))),
    plain,
  );
  assert((await logits(() => model.forward({ inputIds: json.input_ids }))).some((v, i) => v !== plain[i]));
  assert(model.unload() === base);
  assertEquals(await logits(() => base.forward({ inputIds: json.input_ids })), plain);
});

Deno.test("PromptTuningConfig starts from random tokens, sampled ones, or a text's", async () => {
  const device = await ownDevice();
  const base = await loadFixture("gpt2_tiny", { device });
  const { data } = { data: await base.transformer.wte.weight.data() };
  const width = base.config.nEmbd;
  const rowOf = (id: number) => Array.from(data.subarray(id * width, (id + 1) * width));
  const make = (
    fields: ConstructorParameters<typeof PromptTuningConfig>[0],
    encode?: (text: string) => number[],
  ) => getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 5, ...fields }), "default", { encode });
  const table = async (model: ReturnType<typeof make>) => {
    const values = await model.prompt_encoder!.get("default")!.embedding.weight.data();
    const rows = Array.from({ length: 5 }, (_, i) => Array.from(values.subarray(i * width, (i + 1) * width)));
    model.unload();
    return rows;
  };
  const text = {
    promptTuningInit: "TEXT",
    promptTuningInitText: "abc",
    tokenizerNameOrPath: "gpt2",
  } as const;
  assertEquals(await table(make(text, () => [7, 9])), [7, 9, 7, 9, 7].map(rowOf));
  assertThrows(() => make(text), RangeError, "a text to start from needs");
  const all = Array.from({ length: base.config.vocabSize }, (_, id) => rowOf(id).join());
  for (const row of await table(make({ promptTuningInit: "SAMPLE_VOCAB" }))) assert(all.includes(row.join()));
  const random = (await table(make({}))).flat();
  const variance = random.reduce((sum, v) => sum + v * v, 0) / random.length;
  assert(Math.abs(variance - 1) < 0.4, `variance ${variance}`);
});

Deno.test("P-tuning's LSTM drops out between its layers while training alone, and repeats with seed and step", async () => {
  const device = await ownDevice();
  const base = await loadFixture("gpt2_tiny", { device });
  const config = new PromptEncoderConfig({
    numVirtualTokens: 3,
    encoderHiddenSize: 8,
    encoderReparameterizationType: "LSTM",
    encoderDropout: 0.5,
  });
  const model = getPeftModel(base, config);
  const inputIds = [[5, 17, 200, 3]];
  const logits = async (training: boolean) => {
    model.train(training);
    base.train(false);
    base.random.step = 0;
    using output = noGrad(() => model.forward({ inputIds }));
    return await output.logits.data();
  };
  const [still, dropped] = [await logits(false), await logits(true)];
  assert(dropped.some((value, i) => Math.abs(value - still[i]) > 1e-4));
  assertEquals(await logits(true), dropped);
  assertEquals(await logits(false), still);
  model.dispose();
});

Deno.test("virtual tokens refuse what does not fit, and leave the model as it was", async () => {
  assertThrows(
    () => new PrefixTuningConfig({}),
    RangeError,
    "num_virtual_tokens must be a positive integer, received 0",
  );
  const encoders: [object, string][] = [
    [{ encoderReparameterizationType: "GRU" }, 'type must be "MLP" or "LSTM", received "GRU"'],
    [{ encoderNumLayers: 0 }, "encoder_num_layers must be a positive integer, received 0"],
    [{ encoderDropout: 1.5 }, "encoder_dropout must be a number from 0 to 1, received 1.5"],
  ];
  for (const [fields, message] of encoders) {
    assertThrows(() => new PromptEncoderConfig({ numVirtualTokens: 2, ...fields }), RangeError, message);
  }
  const text = { numVirtualTokens: 2, promptTuningInit: "TEXT" } as const;
  assertThrows(() => new PromptTuningConfig(text), RangeError, "tokenizer_name_or_path can't be None");
  const device = await ownDevice();
  const base = await loadFixture("gpt2_tiny", { device });
  const { liveBytes } = device.memory;
  const names = [...base.namedParameters()].map(([name, p]) => `${name} ${p.requiresGrad}`);
  assertThrows(
    () => getPeftModel(base, new PrefixTuningConfig({ numVirtualTokens: 2, numLayers: 7 })),
    TypeError,
    "numLayers must be the model's 3, received 7",
  );
  const target = await Deno.makeTempDir();
  await Deno.copyFile(`${FIXTURES}prompt/prompt/adapter_config.json`, `${target}/adapter_config.json`);
  const wrong = { dtype: "F32" as const, shape: [5, 4], data: new Float32Array(20) };
  await safetensors.save(`${target}/adapter_model.safetensors`, { prompt_embeddings: wrong, other: wrong });
  await assertRejects(
    () => PeftModel.fromPretrained(base, target),
    TypeError,
    '"prompt_embeddings" expected [5, 48], found [5, 4]; "other" is unexpected',
  );
  await Deno.remove(target, { recursive: true });
  await assertRejects(
    () => PeftModel.fromPretrained(base, `${FIXTURES}prompt/p_tuning`, { isTrainable: true }),
    TypeError,
    "Cannot set a prompt learning adapter to trainable when loading pretrained adapter",
  );
  assertEquals([...base.namedParameters()].map(([name, p]) => `${name} ${p.requiresGrad}`), names);
  assertEquals(device.memory.liveBytes, liveBytes);
  const model = getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 2 }));
  assertThrows(() => model.addAdapter("other", new LoraConfig()), RangeError, "Cannot combine adapters");
  await assertRejects(() => model.mergeAdapter(), TypeError, "virtual tokens are no weights");
});

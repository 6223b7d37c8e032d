/**
 * Every architecture of Llama's family against transformers.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { noGrad, Tensor, tidy } from "../../../autograd/mod.ts";
import { AutoModelForCausalLM, exportGguf, type LlamaForCausalLM } from "../../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import { AdamW } from "../../../train/mod.ts";
import { assertGradients, assertNear, expectedOf, FIXTURES, ownDevice } from "../../reference/fixtures.ts";

interface Json {
  input_ids: number[][];
  labels: number[][];
  loss: number;
  mask: number[][];
  positions: number[][];
  greedy: number[];
  ten_losses: number[];
  parameters: string[];
  modules: string[];
}

const CASES = [...Deno.readDirSync(`${FIXTURES}llama`)].map(({ name }) => name).sort();
assertEquals(CASES.length, 15);

for (const name of CASES) {
  const load = async () => {
    const { json, ...expected } = await expectedOf<Json>(`llama/${name}`);
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(`${FIXTURES}llama/${name}`, {
      device,
    });
    return { json, expected: { json, ...expected }, device, model };
  };

  Deno.test(`${name} gives transformers' logits, loss and every gradient`, async () => {
    const { json, expected, device, model } = await load();
    const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    await assertGradients(model.namedParameters(), expected);
    output.dispose();
    using padded = noGrad(() =>
      model.forward({ inputIds: json.input_ids, attentionMask: json.mask, positionIds: json.positions })
    );
    const [logits, wanted] = [await padded.logits.data(), expected.tensor("padded.logits")];
    const [length, vocab] = [json.mask[0].length, logits.length / json.mask.flat().length];
    json.mask.forEach((row, b) =>
      row.forEach((real, t) => {
        if (real === 0) return;
        const at = (b * length + t) * vocab;
        assertAllClose(logits.slice(at, at + vocab), wanted.slice(at, at + vocab), { rtol: 0, atol: 2e-5 });
      })
    );
    padded.dispose();
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });

  Deno.test(`${name} generates transformers' tokens, and has its names in its order`, async () => {
    const { json, device, model } = await load();
    assertEquals([...model.namedParameters()].map(([path]) => path), json.parameters);
    const modules = [...model.namedModules()].map(([path]) => path).filter((path) => path !== "");
    assertEquals(modules.sort(), json.modules.sort());
    const prompt = [json.greedy.slice(0, 5)];
    const ids = await model.generate({ inputIds: prompt }, { maxNewTokens: 20, eosTokenId: null });
    assertEquals(ids[0], json.greedy);
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });

  Deno.test(`${name} has transformers' losses over ten AdamW steps`, async () => {
    const { json, device, model } = await load();
    const optimizer = new AdamW(model.parameters(), { lr: 1e-3, weightDecay: 0.01 });
    const losses: number[] = [];
    for (let step = 0; step < 10; step++) {
      const loss = tidy(() => {
        const { loss } = model.forward({ inputIds: json.input_ids, labels: json.labels });
        loss!.backward();
        return loss!;
      });
      losses.push(await loss.item());
      loss.dispose();
      optimizer.step();
      optimizer.zeroGrad();
    }
    assertAllClose(losses, json.ten_losses, { rtol: 0, atol: 1e-5 });
    optimizer.dispose();
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("gemma3_softcap caps the logits of an adapted head and of the last position, and keeps its cap in a GGUF file", async () => {
  const { json } = await expectedOf<Json>("llama/gemma3_softcap");
  const folder = `${FIXTURES}llama/gemma3_softcap`;
  const model = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(folder, {
    device: await ownDevice(),
  });
  const adapted = getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["lm_head"] }));
  const output = adapted.forward({ inputIds: json.input_ids, labels: json.labels });
  assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6 }); // B is 0 at the start
  output.dispose();
  const base = adapted.unload();
  const last = tidy(() => base.lastLogits({ inputIds: json.input_ids }));
  const whole = noGrad(() => base.forward({ inputIds: json.input_ids }));
  const [length, vocab] = [json.input_ids[0].length, base.config.vocabSize];
  const logits = await whole.logits.data();
  assertAllClose((await last.data()).slice(0, vocab), logits.slice((length - 1) * vocab, length * vocab), {
    rtol: 0,
    atol: 1e-6,
  });
  assert(Math.max(...logits) <= 1.5 && Math.max(...logits) > 1.2, `${Math.max(...logits)}`);
  const file = await Deno.makeTempFile({ suffix: ".gguf" });
  await exportGguf(base, file);
  const back = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(file, { device: base.device });
  assertEquals(back.config.finalLogitSoftcapping, 1.5);
  await Deno.remove(file);
  for (const each of [last, whole, base, back]) each.dispose();
});

Deno.test("dynamic rotary embeddings refuse positions on the device, and more tokens than their factor allows", async () => {
  const folder = `${FIXTURES}llama/llama_dynamic_long`;
  const model = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(folder, {
    device: await ownDevice(),
  });
  const { device } = model;
  const positionIds = Tensor.from(Int32Array.of(0, 1, 2), { shape: [1, 3], device });
  assertThrows(
    () => model.forward({ inputIds: [[1, 2, 3]], positionIds }),
    TypeError,
    "Cannot use positionIds: rows on the host are required, whose longest decides dynamic rotary embeddings",
  );
  assertThrows(
    () => model.forward({ inputIds: [new Array(37).fill(1)] }),
    RangeError,
    "Cannot run Llama on 37 tokens: at most max_position_embeddings times factor 36 are allowed",
  );
  // A short sequence after a long one has the frequencies of short ones again.
  const short =
    async () => [...await noGrad(() => tidy(() => model.lastLogits({ inputIds: [[1, 2, 3]] }))).data()];
  const before = await short();
  noGrad(() => tidy(() => model.lastLogits({ inputIds: [new Array(30).fill(1)] }))).dispose();
  assertEquals(await short(), before);
  model.dispose();
});

Deno.test("the cases have every architecture of the family", async () => {
  const types = new Set<string>();
  for (const name of CASES) {
    types.add(JSON.parse(await Deno.readTextFile(`${FIXTURES}llama/${name}/config.json`)).model_type);
  }
  assertEquals([...types].sort(), ["gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3"]);
  assert(types.size === 6);
});

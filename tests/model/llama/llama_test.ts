/**
 * Every architecture of Llama's family against transformers.
 * @module
 */

import { assert, assertAllClose, assertEquals } from "@std/assert";
import { noGrad, tidy } from "../../../autograd/mod.ts";
import { AutoModelForCausalLM, type LlamaForCausalLM } from "../../../model/mod.ts";
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
assertEquals(CASES.length, 13);

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

Deno.test("the cases have every architecture of the family", async () => {
  const types = new Set<string>();
  for (const name of CASES) {
    types.add(JSON.parse(await Deno.readTextFile(`${FIXTURES}llama/${name}/config.json`)).model_type);
  }
  assertEquals([...types].sort(), ["gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3"]);
  assert(types.size === 6);
});

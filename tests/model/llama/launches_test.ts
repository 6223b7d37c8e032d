/**
 * How many launches a block of Llama takes: what a model with one block more does beyond a smaller one.
 * @module
 */

import { assertEquals } from "@std/assert";
import { defaultDevice, Device, tidy } from "../../../autograd/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../../model/llama/mod.ts";
import { getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import { AdamW } from "../../../train/mod.ts";
import { pretendHardware } from "../../reference/profiles.ts";

const INPUT_IDS = [[3, 1, 4, 1, 5, 9, 2, 6]];

async function launches(
  layers: number,
  isHardware: boolean,
): Promise<{ step: number; token: number }> {
  const device = await Device.create({ device: (await defaultDevice()).gpuDevice });
  if (isHardware) pretendHardware(device);
  const config = new LlamaConfig("llama", {
    vocabSize: 40,
    hiddenSize: 24,
    intermediateSize: 32,
    numHiddenLayers: layers,
    numAttentionHeads: 6,
    numKeyValueHeads: 2,
  });
  const model = new LlamaForCausalLM(config, { device });
  const generate = async (maxNewTokens: number) => {
    const before = device.stats.dispatches;
    await model.generate({ inputIds: INPUT_IDS }, { maxNewTokens, eosTokenId: null });
    return device.stats.dispatches - before;
  };
  const token = await generate(3) - await generate(2);
  const adapted = getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["q_proj", "v_proj"] }));
  const optimizer = new AdamW([...adapted.parameters()].filter(({ requiresGrad }) => requiresGrad), {
    lr: 1e-3,
  });
  let step = 0;
  for (let n = 0; n < 2; n++) { // the first step makes the optimizer's moments
    const before = device.stats.dispatches;
    tidy(() => adapted.forward({ inputIds: INPUT_IDS, labels: INPUT_IDS }).loss!.backward());
    optimizer.step();
    step = device.stats.dispatches - before;
    optimizer.zeroGrad();
  }
  optimizer.dispose();
  adapted.dispose();
  return { step, token };
}

async function ofBlock(isHardware: boolean): Promise<{ step: number; token: number }> {
  const [two, three] = [await launches(2, isHardware), await launches(3, isHardware)];
  return { step: three.step - two.step, token: three.token - two.token };
}

Deno.test("a block of Llama takes 33 launches in a LoRA step on software and 22 on hardware, 8 for a token of a cached text", async () => {
  const { kind } = (await defaultDevice()).profile;
  if (kind === "software") assertEquals(await ofBlock(false), { step: 33, token: 8 });
  assertEquals(await ofBlock(true), { step: 22, token: 8 });
});

/**
 * Queries, keys and values in one launch, gate and up in another: the same bits as launches of their own, whatever
 * stands in the projections' places.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { add, defaultDevice, Device, Tensor, tidy } from "../../../autograd/mod.ts";
import { LlamaConfig, LlamaForCausalLM, type LlamaType } from "../../../model/llama/mod.ts";
import { getPeftModel, IA3Config, LoraConfig, type PeftModel } from "../../../peft/mod.ts";
import { Linear } from "../../../nn/mod.ts";
import { changeProfile } from "../../reference/profiles.ts";

const INPUT_IDS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]];
const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

function build(device: Device, type: LlamaType): LlamaForCausalLM {
  const config = new LlamaConfig(type, {
    vocabSize: 32,
    hiddenSize: 16,
    intermediateSize: 20,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 4,
    hiddenAct: type === "gemma3_text" ? "gelu_pytorch_tanh" : "silu",
    layerTypes: type === "gemma3_text" ? ["sliding_attention", "full_attention"] : null,
    padTokenId: null,
    bosTokenId: null,
    eosTokenId: null,
  });
  return new LlamaForCausalLM(config, { device, seed: 3 });
}

const lora = (targetModules: string[], more: Partial<LoraConfig> = {}) =>
  new LoraConfig({ r: 2, targetModules, initLoraWeights: false, ...more });

/** What may stand in the projections' places. */
const WAYS: Record<string, (model: LlamaForCausalLM) => PeftModel<LlamaForCausalLM> | LlamaForCausalLM> = {
  "no adapter": (model) => model,
  "LoRA on q and v": (model) => getPeftModel(model, lora(["q_proj", "v_proj"])),
  "LoRA on all, with dropout": (model) => getPeftModel(model, lora(PROJECTIONS, { loraDropout: 0.3 })),
  "PiSSA on q": (model) => getPeftModel(model, lora(["q_proj"], { initLoraWeights: "pissa" })),
  "IA3": (model) =>
    getPeftModel(
      model,
      new IA3Config({ targetModules: ["k_proj", "v_proj", "down_proj"], feedforwardModules: ["down_proj"] }),
    ),
  "two adapters of which one acts": (model) => {
    const peft = getPeftModel(model, lora(["q_proj", "up_proj"]));
    peft.addAdapter("other", lora(["k_proj", "gate_proj"]));
    peft.setAdapter("other");
    return peft;
  },
  "recomputed blocks": (model) => {
    const peft = getPeftModel(model, lora(["q_proj", "v_proj", "up_proj"]));
    model.gradientCheckpointingEnable();
    return peft;
  },
};

/** Loss and gradients of a step, and its launches. */
async function step(device: Device, type: LlamaType, way: string, jointRows: number) {
  changeProfile(device, { jointRows });
  const model = WAYS[way](build(device, type));
  model.train();
  const before = device.stats.dispatches;
  const loss = tidy(() => {
    const { loss } = model.forward({ inputIds: INPUT_IDS, labels: INPUT_IDS });
    loss!.backward();
    return loss!;
  });
  const launches = device.stats.dispatches - before;
  const values = [await loss.data()];
  for (const parameter of model.parameters()) if (parameter.grad) values.push(await parameter.grad.data());
  model.dispose();
  return { values, launches };
}

/** A device whose profile nobody else has. */
const ownDevice = async () => await Device.create({ device: (await defaultDevice()).gpuDevice });

for (const type of ["llama", "qwen2", "qwen3", "gemma3_text"] as const) {
  Deno.test(`${type} gives the same bits with joint launches as without, with every kind of adapter`, async () => {
    const device = await ownDevice();
    for (const way of Object.keys(WAYS)) {
      if (type !== "llama" && way !== "no adapter" && way !== "LoRA on q and v") continue;
      const [joint, apart] = [await step(device, type, way, Infinity), await step(device, type, way, 0)];
      assert(joint.values.length > 1, way);
      assertEquals(joint.values, apart.values, `${type}, ${way}`);
      assert(joint.launches < apart.launches, `${way}: ${joint.launches} and ${apart.launches} launches`);
    }
  });
}

Deno.test("a projection whose forward was replaced is asked for it", async () => {
  const device = await ownDevice();
  changeProfile(device, { jointRows: Infinity });
  const model = build(device, "llama");
  const logits = async () => await tidy(() => model.forward({ inputIds: INPUT_IDS }).logits.detach()).data();
  const plain = await logits();
  const { self_attn, mlp } = model.model.layers[0] as unknown as {
    self_attn: { k_proj: Linear };
    mlp: { gate_proj: Linear; up_proj: Linear };
  };
  class Shifted extends Linear {
    override forward(x: Tensor): Tensor {
      return add(super.forward(x), Tensor.from([0.5], { device }));
    }
  }
  for (
    const [place, name] of [[self_attn, "k_proj"], [mlp, "gate_proj"], [mlp, "up_proj"]] as [
      Record<string, Linear>,
      string,
    ][]
  ) {
    const before = place[name];
    place[name] = new Shifted(before.weight);
    const changed = await logits();
    assert(changed.some((value, i) => value !== plain[i]), `${name}, a subclass`);
    place[name] = before;
    let calls = 0;
    const forward = before.forward.bind(before);
    before.forward = (x, options) => {
      calls++;
      return forward(x, options);
    };
    assertEquals(await logits(), plain);
    assertEquals(calls, 1, `${name}, a replaced method`);
    delete (before as { forward?: unknown }).forward;
  }
});

import { assertEquals, assertThrows } from "@std/assert";
import {
  getLayerStatus,
  getModelStatus,
  getPeftModel,
  injectAdapterInModel,
  LNTuningConfig,
  LoraConfig,
  type PeftModel,
  PromptTuningConfig,
  type TunerLayerStatus,
  type TunerModelStatus,
} from "../../peft/mod.ts";
import type { LoraLayer } from "../../peft/mod.ts";
import { expectedOf } from "../reference/fixtures.ts";
import { tinyModel } from "./tiny_model.ts";

interface State {
  layer: Record<string, unknown>;
  layers: string[];
  model: Record<string, unknown>;
}

const { json } = await expectedOf<{ status: Record<string, State> }>("adapters");

/** peft's dataclass with our names; its devices are CPUs. */
function ours(status: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status).map(([key, value]) => [
      key.replace(/_[a-z]/g, (part) => part[1].toUpperCase()),
      key === "devices" ? JSON.parse(JSON.stringify(value).replaceAll("cpu", "webgpu")) : value,
    ]),
  );
}

/** Compares with peft's status of the same state. */
function assertStatus(model: PeftModel, state: string): void {
  const expected = json.status[state];
  const layers = model.getLayerStatus();
  assertEquals(layers[0] as unknown, ours(expected.layer), `${state}: layer`);
  assertEquals(layers.map(({ name }) => name), expected.layers, `${state}: layers`);
  assertEquals(model.getModelStatus() as unknown, ours(expected.model), `${state}: model`);
}

Deno.test("getLayerStatus() and getModelStatus() tell peft's facts in every state", async () => {
  const { model } = await tinyModel();
  const first = { r: 4, loraAlpha: 8, targetModules: ["c_attn", "mlp.c_proj"] };
  const second = { r: 4, loraAlpha: 3, useRslora: true, targetModules: ["c_attn", "c_fc"] };
  const peftModel = getPeftModel(model, new LoraConfig(first), "first");
  assertStatus(peftModel, "fresh");
  peftModel.addAdapter("second", new LoraConfig(second));
  assertStatus(peftModel, "two");
  peftModel.setAdapter(["first", "second"]);
  assertStatus(peftModel, "both active");
  await peftModel.mergeAdapter({ adapterNames: ["second"] });
  assertStatus(peftModel, "second merged");
  peftModel.unmergeAdapter();
  peftModel.disableAdapterLayers();
  assertStatus(peftModel, "disabled");
  peftModel.enableAdapterLayers();
  const layer = model.transformer.h[0].attn.c_attn as unknown as LoraLayer;
  layer.lora_A.get("first")!.weight.requiresGrad = false;
  assertStatus(peftModel, "irregular gradients");
  peftModel.dispose();
});

Deno.test("getModelStatus() counts modules trained whole, names other methods, and takes injected adapters", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(
    model,
    new LNTuningConfig({ targetModules: ["ln_2"], modulesToSave: ["ln_f"] }),
  );
  const layers: TunerLayerStatus[] = peftModel.getLayerStatus();
  assertEquals(layers.map(({ moduleType }) => moduleType), [
    "LNTuningLayer",
    "LNTuningLayer",
    "LNTuningLayer",
    "ModulesToSaveWrapper",
  ]);
  assertEquals(peftModel.getModelStatus().adapterModelType, "LNTuningModel");
  peftModel.dispose();

  const { model: tokens } = await tinyModel();
  const withTokens = getPeftModel(
    tokens,
    new LoraConfig({ r: 2, targetModules: ["wpe"], trainableTokenIndices: [1] }),
  );
  const found = withTokens.getLayerStatus().map(({ name, moduleType }) => [name, moduleType]);
  assertEquals(found, [
    ["model.transformer.wte.token_adapter", "TrainableTokensLayer"],
    ["model.transformer.wpe", "lora.Embedding"],
    ["model.lm_head.token_adapter", "TrainableTokensLayer"],
  ]);
  assertEquals(withTokens.getModelStatus().requiresGrad, { default: true });
  withTokens.dispose();

  const { model: injected } = await tinyModel();
  injectAdapterInModel(new LoraConfig({ r: 2 }), injected);
  const status: TunerModelStatus = getModelStatus(injected);
  assertEquals(
    [status.baseModelType, status.adapterModelType, status.peftTypes],
    ["GPT2LMHeadModel", "None", {}],
  );
  assertEquals(getLayerStatus(injected)[0].name, "transformer.h.0.attn.c_attn");
  injected.dispose();
});

Deno.test("getLayerStatus() refuses virtual tokens and models without adapters", async () => {
  const { model } = await tinyModel();
  assertThrows(
    () => getLayerStatus(model),
    TypeError,
    "Cannot tell the status of layers: a PeftModel, or a model given to injectAdapterInModel(), is required, received GPT2LMHeadModel",
  );
  const peftModel = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: 2 }));
  assertThrows(
    () => peftModel.getModelStatus(),
    TypeError,
    "Cannot tell the status of layers: adapters that wrap layers are required, received virtual tokens",
  );
  peftModel.dispose();
  const { model: other } = await tinyModel();
  const empty = getPeftModel(other, new LoraConfig({ r: 2 }));
  empty.deleteAdapter("default");
  assertThrows(() => empty.getLayerStatus(), TypeError, "No adapter layers found in the model");
  empty.dispose();
});

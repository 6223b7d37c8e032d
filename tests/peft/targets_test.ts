import { assert, assertEquals, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig, NoMatchingModuleError, Tuner } from "../../peft/mod.ts";
import { expectedOf, FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";

/** Names of peft's configuration fields here. */
const FIELDS: Record<string, string> = {
  target_modules: "targetModules",
  exclude_modules: "excludeModules",
  layers_to_transform: "layersToTransform",
  layers_pattern: "layersPattern",
  modules_to_save: "modulesToSave",
};

interface Case {
  config: Record<string, unknown>;
  modules?: string[];
  error?: string;
}

// Made by tests/oracle/targets_fixture.py: what peft adapts.
const { cases } = JSON.parse(await Deno.readTextFile(`${FIXTURES}targets/expected.json`)) as {
  cases: Case[];
};
const device = await ownDevice();

/** Modules that hold adapters. */
function adapted(config: LoraConfig, model: Awaited<ReturnType<typeof loadFixture>>): string[] {
  const { base_model: tuner } = getPeftModel(model, config);
  assert(tuner instanceof Tuner);
  return tuner.layers().map(([path]) => path);
}

assertEquals(cases.length, 32);
for (const { config, modules, error } of cases) {
  Deno.test(`LoraConfig ${JSON.stringify(config)} adapts what it does in peft`, async () => {
    const model = await loadFixture("gpt2_tiny", { device });
    const names = [...model.namedParameters()].map(([name]) => name);
    const fields = Object.fromEntries(Object.entries(config).map(([key, value]) => [FIELDS[key], value]));
    const lora = new LoraConfig({ r: 2, ...fields });
    if (error) {
      assertThrows(() => adapted(lora, model), TypeError, "Cannot apply lora");
      assertEquals([...model.namedParameters()].map(([name]) => name), names, "the model is as it was");
      assert([...model.parameters()].every((p) => p.requiresGrad));
    } else assertEquals(adapted(lora, model), modules);
    model.dispose();
  });
}

Deno.test("no target that matches is an error with the nearest names", async () => {
  const model = await loadFixture("gpt2_tiny", { device });
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ["q_proj"] })),
    NoMatchingModuleError,
    'Cannot apply lora: targetModules ["q_proj"] match no module; modules it can take here are "c_proj"',
  );
  const many = Array.from({ length: 9 }, (_, i) => `layers.${i}.q_proj`);
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: many })),
    NoMatchingModuleError,
    'targetModules ["layers.0.q_proj", "layers.1.q_proj", "layers.2.q_proj", "layers.3.q_proj", "layers.4.q_proj" and 4 more] match no module',
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ".*\\.q_proj" })),
    NoMatchingModuleError,
    "match no module; modules it can take here are",
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ["c_attn", "c_atn"] })),
    NoMatchingModuleError,
    'Cannot apply lora: entries of targetModules match no module: "c_atn" (nearest: "c_attn"',
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ["attn"] })),
    TypeError,
    'target module "transformer.h.0.attn" (GPT2Attention) is not supported, modules it can take here are',
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ["c_attn"], excludeModules: ["c_attn"] })),
    NoMatchingModuleError,
    "is excluded by excludeModules or modulesToSave",
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: ["c_attn"], modulesToSave: ["score"] })),
    TypeError,
    'Cannot add the adapter: modulesToSave entry "score" matches no module',
  );
  assertThrows(
    () => getPeftModel(model, new LoraConfig({ targetModules: "(?=c_attn).*" })),
    SyntaxError,
    "lookahead",
  );
  const { json } = await expectedOf<{ parameters: Record<string, number[]> }>("gpt2_tiny");
  assertEquals([...model.namedParameters()].map(([name]) => name), Object.keys(json.parameters));
  model.dispose();
  assertEquals(device.memory.liveBytes, 0, "refused configurations leave nothing behind");
});

Deno.test("the recorded configuration names the modules of all-linear, the layout and the model's defaults", async () => {
  const model = await loadFixture("gpt2_tiny", { device });
  model.config.nameOrPath = "somewhere/gpt2";
  const { default: config } =
    getPeftModel(model, new LoraConfig({ r: 2, targetModules: "all-linear" })).peftConfig;
  const json = config.toJSON();
  assertEquals((json.target_modules as string[]).length, 12);
  assert((json.target_modules as string[]).includes("transformer.h.2.mlp.c_proj"));
  assertEquals(json.fan_in_fan_out, true);
  assertEquals(json.base_model_name_or_path, "somewhere/gpt2");
  model.dispose();
  const other = await loadFixture("gpt2_tiny", { device });
  const none = getPeftModel(other, new LoraConfig({ r: 2 })).peftConfig.default.toJSON();
  assertEquals(none.target_modules, ["c_attn"]);
  other.dispose();
});

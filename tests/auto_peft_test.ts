import { assert, assertEquals, assertRejects } from "@std/assert";
import { AutoPeftModelForCausalLM, LoraConfig } from "@peft/webgpu";
import { acting, logitsOf, withFolder } from "./peft/tiny_model.ts";
import { FIXTURES } from "./reference/fixtures.ts";

Deno.test("AutoPeftModelForCausalLM.fromPretrained() loads the base that the adapter names, frozen unless it trains", async () => {
  const { device, model, peftModel, logits } = await acting();
  const baseModelNameOrPath = `${FIXTURES}gpt2_tiny`;
  await withFolder(async (folder) => {
    peftModel.addAdapter("named", new LoraConfig({ r: 2, baseModelNameOrPath }));
    model.config.nameOrPath = baseModelNameOrPath;
    await peftModel.savePretrained(folder);
    const path = `${folder}/adapter_config.json`;
    const json = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...json, base_model_name_or_path: baseModelNameOrPath }));
    const loaded = await AutoPeftModelForCausalLM.fromPretrained(folder, { device });
    assertEquals(await logitsOf(loaded), logits);
    assert(!loaded.training && [...loaded.parameters()].every((p) => !p.requiresGrad));
    loaded.dispose();
    const training = await AutoPeftModelForCausalLM.fromPretrained(folder, {
      device,
      isTrainable: true,
      adapterName: "mine",
    });
    assertEquals([training.activeAdapters, training.training], [["mine"], true]);
    training.dispose();
    await Deno.writeTextFile(path, JSON.stringify({ ...json, base_model_name_or_path: null }));
    await assertRejects(
      () => AutoPeftModelForCausalLM.fromPretrained(folder, { device }),
      RangeError,
      `Cannot load "${folder}" with its base: base_model_name_or_path is required in adapter_config.json, received none`,
    );
  });
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

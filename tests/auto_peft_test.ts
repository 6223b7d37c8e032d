import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  AutoModelForCausalLM,
  AutoPeftModelForCausalLM,
  AutoTokenizer,
  LoraConfig,
  memoryFolder,
  PeftConfig,
  PeftModel,
} from "@peft/webgpu";
import { serveHub } from "./io/fake_hub.ts";
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

Deno.test("AutoPeftModelForCausalLM.fromPretrained() asks the hub that is given for the adapter, with the token that is given", async () => {
  const { device, model, peftModel, logits } = await acting();
  model.config.nameOrPath = `${FIXTURES}gpt2_tiny`;
  const folder = memoryFolder();
  await peftModel.savePretrained(folder);
  const hub = serveHub();
  hub.files.clear();
  for (const [name, bytes] of folder.files) hub.files.set(name, bytes as Uint8Array);
  const cacheDir = await Deno.makeTempDir();
  try {
    const options = { device, hubUrl: hub.url, cacheDir, token: "hf_private" };
    const loaded = await AutoPeftModelForCausalLM.fromPretrained("org/tiny", options);
    assertEquals(await logitsOf(loaded), logits);
    loaded.dispose();
    const tokens = new Set(hub.requests.map(({ authorization }) => authorization));
    assertEquals([...tokens], ["Bearer hf_private"]);
  } finally {
    await hub.stop();
    await Deno.remove(cacheDir, { recursive: true });
    peftModel.dispose();
  }
});

Deno.test("fromPretrained() refuses options that do not exist, before anything is read", async () => {
  const nowhere = "/nowhere/at/all";
  const bad = { torchDtype: "float16" } as Record<string, unknown>;
  const message = (action: string) => `Cannot ${action}: unknown option "torchDtype", `;
  const { device, model, peftModel } = await acting();
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(nowhere, bad),
    TypeError,
    message("load a model"),
  );
  await assertRejects(
    () => AutoTokenizer.fromPretrained(nowhere, bad),
    TypeError,
    message("load a tokenizer"),
  );
  await assertRejects(
    () => PeftModel.fromPretrained(model, nowhere, bad),
    TypeError,
    message("load an adapter"),
  );
  await assertRejects(
    () => peftModel.loadAdapter(nowhere, "other", bad),
    TypeError,
    message("load an adapter"),
  );
  await assertRejects(() => PeftConfig.fromPretrained(nowhere, bad), TypeError, message("load an adapter"));
  await assertRejects(
    () => AutoPeftModelForCausalLM.fromPretrained(nowhere, { ...bad, device }),
    TypeError,
    message("load an adapter with its base"),
  );
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(nowhere, { Dtype: "float16" } as Record<string, unknown>),
    TypeError,
    'did you mean "dtype"?',
  );
  peftModel.dispose();
});

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AutoModelForCausalLM, type CausalLM, memoryFolder } from "@peft/webgpu";
import type { GenerationConfig } from "../../../model/mod.ts";
import { readGenerationConfig } from "../../../model/generation/generation_config.ts";

const FIXTURE = new URL("../../fixtures/gpt2_tiny", import.meta.url).pathname;

/** The tiny GPT-2 with a generation_config.json. */
async function withConfig<T>(config: unknown, body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  for (const name of ["config.json", "model.safetensors"]) {
    await Deno.copyFile(`${FIXTURE}/${name}`, `${folder}/${name}`);
  }
  await Deno.writeTextFile(`${folder}/generation_config.json`, JSON.stringify(config));
  try {
    return await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("generate() ends a row at every end token of generation_config.json", async () => {
  const prompt = [[1, 2, 3]];
  const tokens = await withConfig({}, async (folder) => {
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder);
    assertEquals(model.facts.eosTokenIds, [256]); // of config.json
    const [ids] = await model.generate(prompt, { maxNewTokens: 12 });
    model.dispose();
    return ids.slice(3);
  });
  const end = tokens.find((id, i) => i >= 2 && tokens.indexOf(id) === i)!;
  await withConfig({ eos_token_id: [255, end], temperature: 0.6, top_p: 0.9 }, async (folder) => {
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder);
    assertEquals(model.generationConfig, { eosTokenIds: [255, end], temperature: 0.6, topP: 0.9 });
    const [ids] = await model.generate(prompt, { maxNewTokens: 12 });
    assertEquals(ids.slice(3), tokens.slice(0, tokens.indexOf(end) + 1));
    model.dispose();
  });
});

Deno.test("readGenerationConfig() refuses fields of another type by their name", async () => {
  assertEquals(readGenerationConfig({ eos_token_id: 2, top_k: null, unknown: [] }), {
    eosTokenIds: [2],
    otherFields: { unknown: [] },
  });
  assertThrows(
    () => readGenerationConfig({ eos_token_id: [1, "2"] }),
    TypeError,
    'Cannot read generation_config.json: eos_token_id must be a token id or several, received [1,"2"]',
  );
  await withConfig({ temperature: "hot" }, (folder) =>
    assertRejects(
      () => AutoModelForCausalLM.fromPretrained(folder),
      TypeError,
      'Cannot read generation_config.json: temperature must be a number, received "hot"',
    ));
});

/** The file that saving writes, as text; null where it writes none. */
async function saved(model: CausalLM): Promise<string | null> {
  const folder = memoryFolder();
  await model.savePretrained(folder);
  const bytes = folder.files.get("generation_config.json");
  return bytes ? new TextDecoder().decode(bytes as Uint8Array) : null;
}

Deno.test("savePretrained() writes generation_config.json with every field that was loaded or set", async () => {
  const file = {
    top_p: 0.9,
    eos_token_id: [255, 3],
    do_sample: true,
    bos_token_id: 1,
    transformers_version: "5.23.0",
    temperature: 0.6,
    foo: [1],
  };
  await withConfig(file, async (folder) => {
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder);
    const text = await saved(model);
    assertEquals(JSON.parse(text!), file);
    const names = Object.keys(file).sort(); // as transformers orders them
    assertEquals(Object.keys(JSON.parse(text!)), names);
    assert(
      text!.startsWith('{\n  "bos_token_id": 1,\n  "do_sample": true,\n') && text!.endsWith("}\n"),
      text!,
    );

    model.generationConfig = { eosTokenIds: [7], noRepeatNgramSize: 3, topK: 20 };
    const changed = memoryFolder();
    await model.savePretrained(changed);
    assertEquals(
      await saved(model),
      '{\n  "eos_token_id": 7,\n  "no_repeat_ngram_size": 3,\n  "top_k": 20\n}\n',
    );
    const again = await AutoModelForCausalLM.fromPretrained<CausalLM>(changed);
    assertEquals(again.generationConfig, model.generationConfig);
    assertEquals(again.facts.eosTokenIds, [7]);

    model.generationConfig = { temperature: "hot" } as unknown as GenerationConfig;
    await assertRejects(
      () => saved(model),
      TypeError,
      'Cannot save generation_config.json: temperature must be a number, received "hot"',
    );
    model.generationConfig = { top_k: 5 } as GenerationConfig;
    await assertRejects(() => saved(model), TypeError, 'unknown option "top_k", did you mean "topK"?');
    model.generationConfig = {};
    assertEquals(await saved(model), null);
    for (const each of [model, again]) each.dispose();
  });
});

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AutoModelForCausalLM, type CausalLM } from "@peft/webgpu";
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
  assertEquals(readGenerationConfig({ eos_token_id: 2, top_k: null, unknown: [] }), { eosTokenIds: [2] });
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

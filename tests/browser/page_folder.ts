/**
 * A folder of models, tokenizers and adapters for the pages of browser tests.
 * @module
 */

import * as all from "../../entries/all.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A folder with models and adapters; the place of each by its name. */
export async function makePageFolder(): Promise<{ folder: string; at: (name: string) => string }> {
  const folder = `${await Deno.makeTempDir()}/`;
  for (const [name, from] of [["model", "examples/demo/model"], ["llama", "tests/fixtures/llama/llama"]]) {
    await Deno.mkdir(folder + name);
    for await (const { name: file } of Deno.readDir(ROOT + from)) {
      await Deno.copyFile(`${ROOT}${from}/${file}`, `${folder}${name}/${file}`);
    }
  }
  await Deno.mkdir(`${folder}chat`);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${folder}model/${file}`, `${folder}chat/${file}`);
  }
  await Deno.writeTextFile(
    `${folder}chat/chat_template.jinja`,
    "<{{ messages[0].role }}>{{ messages[0].content }}",
  );
  const save = async (base: string, name: string, config: all.AdapterConfig) => {
    const model = all.getPeftModel(await all.AutoModelForCausalLM.fromPretrained(folder + base), config);
    await model.savePretrained(folder + name);
    model.dispose();
  };
  const lora = { r: 4, initLoraWeights: false, targetModules: ["c_attn"] };
  await save("model", "lora", new all.LoraConfig(lora));
  await save("model", "misshapen", new all.LoraConfig({ ...lora, r: 3 }));
  const misshapen = `${folder}misshapen/adapter_config.json`;
  await Deno.writeTextFile(misshapen, (await Deno.readTextFile(misshapen)).replace('"r": 3', '"r": 2'));
  await save("model", "bias", new all.LoraConfig({ ...lora, bias: "all" }));
  await save("model", "dora", new all.LoraConfig({ ...lora, r: 2, useDora: true }));
  const ia3 = { targetModules: ["c_attn"], feedforwardModules: [], initIa3Weights: false };
  await save("model", "ia3", new all.IA3Config(ia3));
  await save("llama", "llama_lora", new all.LoraConfig({ ...lora, targetModules: ["q_proj", "v_proj"] }));
  const model = await all.AutoModelForCausalLM.fromPretrained(`${folder}model`);
  await all.exportGguf(model, `${folder}model.gguf`, {
    dtype: "q8_0",
    tokenizer: await all.AutoTokenizer.fromPretrained(`${folder}model`),
  });
  model.dispose();
  return { folder, at: (name) => folder + name };
}

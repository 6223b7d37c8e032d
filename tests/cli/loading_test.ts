import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AutoModelForCausalLM, type CausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
import { UsageError } from "../../cli/command.ts";
import { baseName, load } from "../../cli/loading.ts";
import { logitsOf, randomise, withFolder } from "../peft/tiny_model.ts";

const MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;
const PLAIN = { "gguf-file": undefined, dtype: "float32", quantization: undefined, "double-quant": false };

Deno.test("load() takes a GGUF adapter's file or folder as --adapter, and baseName() asks for the --model that it does not name", () =>
  withFolder(async (folder) => {
    const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
    const trained = getPeftModel(base, new LoraConfig({ r: 2, targetModules: "all-linear" }));
    await randomise(trained);
    await trained.savePretrained(folder, { format: "gguf" });
    const wanted = await logitsOf(trained.eval());
    const file = `${folder}/adapter_model.gguf`;
    for (const adapter of [file, folder]) {
      const { model } = await load("evaluate", { ...PLAIN, model: MODEL, adapter });
      assertEquals(await logitsOf(model), wanted);
      model.dispose();
    }
    trained.dispose();
    const error = await assertRejects(
      () => baseName("evaluate", { ...PLAIN, model: undefined, adapter: file }),
      UsageError,
    );
    assertStringIncludes(error.message, `--model is required, since the adapter "${file}" does not name`);
    const inFolder = await assertRejects(
      () => baseName("evaluate", { ...PLAIN, model: undefined, adapter: folder }),
      UsageError,
    );
    assertStringIncludes(
      inFolder.message,
      `--model is required, since the adapter "${folder}" does not name`,
    );
  }));

Deno.test("load() says of an adapter that does not fit which base it was trained on", () =>
  withFolder(async (folder) => {
    const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
    base.config.nameOrPath = "org/other";
    const trained = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
    await trained.savePretrained(folder);
    trained.dispose();
    const path = `${folder}/adapter_config.json`;
    const config = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...config, target_modules: ["q_proj"] }));
    const error = await assertRejects(
      () => load("evaluate", { ...PLAIN, model: MODEL, adapter: folder }),
      UsageError,
    );
    assertStringIncludes(error.message, 'targetModules ["q_proj"] match no module');
    assertStringIncludes(error.message, `; the adapter "${folder}" was trained on "org/other"`);
  }));

Deno.test("load() says of a base that is not where its adapter names it that --model gives another place", () =>
  withFolder(async (folder) => {
    const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
    base.config.nameOrPath = "/gone/model";
    const trained = getPeftModel(base, new LoraConfig({ r: 2, targetModules: "all-linear" }));
    await trained.savePretrained(folder);
    trained.dispose();
    const error = await assertRejects(
      () => load("evaluate", { ...PLAIN, model: undefined, adapter: folder }),
      UsageError,
    );
    assertEquals(
      error.message,
      `Cannot find model folder "/gone/model": no such folder; the adapter "${folder}" names this base: --model gives another place`,
    );
    const own = await assertRejects(() =>
      load("evaluate", { ...PLAIN, model: "/gone/too", adapter: folder })
    );
    assertEquals((own as Error).message, 'Cannot find model folder "/gone/too": no such folder');
  }));

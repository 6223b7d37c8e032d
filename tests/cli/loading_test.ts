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
  }));

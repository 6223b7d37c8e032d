/**
 * What is taken home: the same run as a script, and files of every kind.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runScript } from "../../studio/engine/run_script.ts";
import { publicSource } from "../../studio/engine/run_store.ts";
import type { AdapterRecord } from "../../studio/engine/shelf.ts";
import type { TrainingSettings } from "../../studio/protocol.ts";
import { adapterBytes, ready, refusalOf, withAssets } from "./harness.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

Deno.test("runScript() names the model's files and storage that the run had, and no access token", () => {
  const source = {
    kind: "hub",
    repo: "org/tiny",
    revision: "v2",
    token: "hf_secret",
    file: "m-Q8_0.gguf",
  } as const;
  const settings = { method: "lora", options: {}, steps: 3, optimizer: "adamw" } as TrainingSettings;
  const trained = {
    ...{ settings, dataName: "rows", dataFiles: ["rows.jsonl"], length: 32, learnPrompts: false, heldOut: 0 },
    ...{ steps: 3, loss: 1, evalLoss: null, source: publicSource(source), storage: "nf4" as const },
  };
  assertEquals(JSON.stringify(trained).includes("hf_secret"), false);
  const script = runScript({ name: "a" } as AdapterRecord, trained, () => []);
  const files = 'revision: "v2", ggufFile: "m-Q8_0.gguf"';
  assertStringIncludes(script, 'const source = "org/tiny";');
  assertStringIncludes(script, `AutoTokenizer.fromPretrained(source, { ${files} })`);
  assertStringIncludes(
    script,
    `AutoModelForCausalLM.fromPretrained(source, { ${files}, quantization: "nf4" })`,
  );
});

Deno.test("the engine: the script of a run gives its adapter, byte for byte", async () => {
  await withAssets(async (assetsUrl) => {
    const started = await ready(assetsUrl);
    const { client } = started;
    const settings = {
      ...started.settings,
      ...{ steps: 3, checkpointEvery: 0, options: { r: 4, loraDropout: 0.1, useRslora: true } },
    };
    const { adapter } = await client.call("train", { settings });
    const { adapterId } = adapter!;
    const { name, blob } = await client.call("export", { what: "script", adapterId });
    assertEquals(name, "train.ts");
    const folder = await Deno.makeTempDir();
    try {
      const script = (await blob.text()).replaceAll('"out', `"${folder}/out`);
      await Deno.writeTextFile(`${folder}/train.ts`, script);
      const { success, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--config", `${ROOT}deno.json`, `${folder}/train.ts`],
        cwd: ROOT,
      }).output();
      assert(success, new TextDecoder().decode(stderr));
      assertEquals(
        await Deno.readFile(`${folder}/out/adapter/adapter_model.safetensors`),
        await adapterBytes(started, adapterId),
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }

    const card = await client.call("export", { what: "model-card", adapterId });
    assertStringIncludes(await card.blob.text(), "Pirate stories (sample)");
    const merged = await client.call("export", { what: "merged-safetensors", adapterId, type: "float16" });
    const { unzipSync } = await import("fflate");
    const files = unzipSync(new Uint8Array(await merged.blob.arrayBuffer()));
    assertEquals(
      Object.keys(files).toSorted(),
      ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
    );
    // The model on the device is the base again.
    const ask = { messages: [{ role: "user", content: "Once" }], temperature: 0, maxNewTokens: 6 } as const;
    const base = await client.call("chat", { ...ask, speaker: { kind: "base" } });
    await client.call("openModel", { source: { kind: "builtin" } });
    assertEquals((await client.call("chat", { ...ask, speaker: { kind: "base" } })).text, base.text);

    await client.call("openData", { source: { kind: "sample" }, length: 32 });
    const prompt = { ...settings, method: "prompt", options: {}, learningRate: 1e-2, steps: 1 };
    const virtual = (await client.call("train", { settings: prompt })).adapter!;
    assertEquals([virtual.canExportGguf, virtual.canMix], [false, false]);
    await refusalOf(
      client.call("export", { what: "merged-gguf", adapterId: virtual.adapterId, type: "f16" }),
      "unsupported",
    );
    const shelf = await client.call("adapters", {});
    assertEquals(shelf.map(({ problem }) => problem), [null, null]); // the model is open, whatever failed
    await client.call("closeModel", {});
  });
});

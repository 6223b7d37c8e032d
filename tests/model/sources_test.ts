/**
 * Models, tokenizers and adapters from and to anything that holds files: paths, URLs, picked and dropped files, memory.
 * @module
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import {
  AutoModelForCausalLM,
  AutoPeftModelForCausalLM,
  AutoTokenizer,
  type FolderInput,
  getPeftModel,
  GPT2LMHeadModel,
  LoraConfig,
  memoryFolder,
  PeftModel,
  type Tensor,
  tidy,
  urlFolder,
} from "@peft/webgpu";
import type { DirectoryHandle } from "@peft/webgpu/io";
import { modelCard } from "../../peft/files/model_card.ts";

const MODEL = new URL("../../examples/demo/model/", import.meta.url);
const NAMES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

const bytesOf = (name: string) => Deno.readFile(new URL(name, MODEL));

/** A file as `<input type=file webkitdirectory>` gives it. */
async function pickedFile(name: string, folder?: string): Promise<File> {
  const file = new File([await bytesOf(name)], name);
  if (folder) Object.defineProperty(file, "webkitRelativePath", { value: `${folder}/${name}` });
  return file;
}

/** A dropped folder. */
function droppedFolder(): DirectoryHandle {
  const missing = () => Promise.reject(new DOMException("none", "NotFoundError"));
  return {
    kind: "directory",
    name: "dropped",
    getDirectoryHandle: missing,
    getFileHandle: (name) =>
      NAMES.includes(name) ? Promise.resolve({ getFile: () => pickedFile(name) }) : missing(),
  };
}

Deno.test("fromPretrained() takes a path, URLs, picked files, a dropped folder and memory, with the same logits", async () => {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const name = new URL(request.url).pathname.split("/").at(-1)!;
    return NAMES.includes(name) ? new Response(await bytesOf(name)) : new Response("none", { status: 404 });
  });
  const address = `http://127.0.0.1:${server.addr.port}/small`;
  const entries = await Promise.all(NAMES.map(async (name) => [name, await bytesOf(name)] as const));
  const sources: Record<string, FolderInput> = {
    path: MODEL.pathname,
    "file URL": MODEL,
    URL: new URL(address),
    "URL as text": address,
    urlFolder: urlFolder(address),
    "picked folder": await Promise.all(NAMES.map((name) => pickedFile(name, "picked"))),
    "picked files": await Promise.all(NAMES.map((name) => pickedFile(name))),
    "dropped folder": droppedFolder(),
    memory: memoryFolder(new Map(entries)),
  };
  try {
    let expected: number[] | undefined;
    for (const [kind, source] of Object.entries(sources)) {
      const tokenizer = await AutoTokenizer.fromPretrained(source);
      const model = await AutoModelForCausalLM.fromPretrained(source);
      using logits: Tensor = tidy(() => model.lastLogits(tokenizer("Ahoy, mateys!")));
      const values = [...await logits.data()];
      expected ??= values;
      assertEquals(values, expected, kind);
      model.dispose();
    }
  } finally {
    await server.shutdown();
  }
});

Deno.test("GPT2LMHeadModel.load() needs no device", async () => {
  const model = await GPT2LMHeadModel.load(MODEL);
  assertEquals(model.config.nLayer, 4);
  model.dispose();
});

Deno.test("fromPretrained() names what a source lacks, and refuses what is none", async () => {
  const empty = memoryFolder({}, "an empty one");
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(empty),
    Error,
    '"an empty one": config.json is required',
  );
  await assertRejects(() => AutoTokenizer.fromPretrained(empty), Error, 'from "an empty one"');
  const adapter = memoryFolder({ "adapter_config.json": new TextEncoder().encode("{}") }, "an adapter");
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(adapter),
    Error,
    'Cannot load model "an adapter": config.json is required, received the folder of an adapter; load its base model, and then the adapter',
  );
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained([]),
    Error,
    '"picked files": config.json is required',
  );
  for (const bad of [null, 7, {}]) {
    await assertRejects(
      () => AutoModelForCausalLM.fromPretrained(bad as unknown as FolderInput),
      TypeError,
      "Cannot open a folder: a path, a URL, a list of files or a folder source is required",
    );
  }
});

Deno.test("savePretrained(memoryFolder()) gives the files of a folder on disk, and loads again", async () => {
  const base = await AutoModelForCausalLM.fromPretrained(MODEL);
  const config = { r: 4, targetModules: ["c_attn"], initLoraWeights: false } as const;
  const peftModel = getPeftModel(base, new LoraConfig({ ...config, targetModules: ["c_attn"] }));
  peftModel.addAdapter("second", new LoraConfig({ ...config, targetModules: ["c_fc"] }));
  const disk = await Deno.makeTempDir();
  const memory = memoryFolder();
  await peftModel.savePretrained(disk);
  await peftModel.savePretrained(memory);
  const names = ["README.md", "adapter_config.json", "adapter_model.safetensors"];
  assertEquals([...memory.files.keys()].sort(), [...names, ...names.map((name) => `second/${name}`)].sort());
  for (const [path, bytes] of memory.files) {
    assertEquals([...bytes as Uint8Array], [...await Deno.readFile(join(disk, path))], path);
  }
  const loaded = await PeftModel.fromPretrained(await AutoModelForCausalLM.fromPretrained(MODEL), memory);
  const inputIds = [[5, 6, 7, 8]];
  peftModel.eval();
  using here = tidy(() => peftModel.forward({ inputIds }).logits);
  using there = tidy(() => loaded.forward({ inputIds }).logits);
  assertEquals([...await there.data()], [...await here.data()]);
  const both = await AutoPeftModelForCausalLM.fromPretrained(memory); // its file names the base by its path
  assertEquals(both.peftConfig.default.peftType, "LORA");

  const whole = memoryFolder();
  const merged = await loaded.mergeAndUnload();
  await merged.savePretrained(whole);
  await (await AutoTokenizer.fromPretrained(MODEL)).savePretrained(whole);
  assertEquals([...whole.files.keys()].sort(), [...NAMES].sort());
  const again = await AutoModelForCausalLM.fromPretrained(whole);
  using logits = tidy(() => again.forward({ inputIds }).logits);
  using mergedLogits = tidy(() => merged.forward({ inputIds }).logits);
  assertEquals([...await logits.data()], [...await mergedLogits.data()]);
  assertEquals((await AutoTokenizer.fromPretrained(whole)).encode("Ahoy").length, 1);
  await Deno.remove(disk, { recursive: true });
  for (const model of [peftModel.getBaseModel(), both.getBaseModel(), again]) model.dispose();
});

Deno.test("savePretrained() refuses an empty path, and leaves what it did not write as it was", async () => {
  const base = await AutoModelForCausalLM.fromPretrained(MODEL);
  const peftModel = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  for (const bad of ["", "  ", undefined]) {
    await assertRejects(
      () => peftModel.savePretrained(bad as string),
      TypeError,
      "Cannot save adapters: the path of a",
    );
    await assertRejects(
      () => base.savePretrained(bad as string),
      TypeError,
      "Cannot save the model: the path of a",
    );
  }
  const folder = await Deno.makeTempDir();
  await Deno.mkdir(join(folder, "notes"));
  await Deno.writeTextFile(join(folder, "notes", "a.txt"), "kept");
  await Deno.writeTextFile(join(folder, "mine.txt"), "kept");
  const card =
    "---\nlicense: mit\nbase_model: other\ntags:\n- pirate\n---\n\n# My adapter\n\nIt took an evening.\n";
  await Deno.writeTextFile(join(folder, "README.md"), card);
  await peftModel.savePretrained(folder);
  await peftModel.savePretrained(folder);
  assertEquals(await Deno.readTextFile(join(folder, "mine.txt")), "kept");
  assertEquals(await Deno.readTextFile(join(folder, "notes", "a.txt")), "kept");
  const text = await Deno.readTextFile(join(folder, "README.md"));
  assertStringIncludes(text, "license: mit\n");
  assertStringIncludes(text, "tags:\n- pirate\n");
  assertStringIncludes(text, `base_model: ${JSON.stringify(MODEL.pathname)}\n`);
  assertStringIncludes(text, "library_name: peft\n");
  assertStringIncludes(text, "# My adapter\n\nIt took an evening.\n");
  assertEquals(text.split("- @peft/webgpu ").length, 2);
  await Deno.remove(folder, { recursive: true });
  base.dispose();
});

Deno.test("modelCard() changes its own part alone, in cards of every shape", () => {
  const facts = { baseModel: "gpt2", library: "peft", summary: "A LORA adapter." };
  const fresh = modelCard(facts);
  assert(
    /^---\nbase_model: "gpt2"\nlibrary_name: peft\n---\n\nA LORA adapter\.\n\n### Framework versions\n\n- @peft\/webgpu \S+\n$/
      .test(fresh),
    fresh,
  );
  assertEquals(modelCard(facts, fresh), fresh);
  const python =
    "---\nbase_model:\n- a\n- b\nlibrary_name: transformers\nlanguage: en\n---\n# Card\n### Framework versions\n\n- PEFT 0.21.2\n";
  const updated = modelCard(facts, python);
  assert(/^---\nbase_model: "gpt2"\nlibrary_name: peft\nlanguage: en\n---\n# Card\n/.test(updated), updated);
  assertStringIncludes(updated, "- PEFT 0.21.2\n");
  assertEquals(modelCard(facts, updated), updated);
  const dashes = modelCard(facts, "---\ntitle: a---\nlicense: mit\n---\nText\n");
  assert(
    /^---\ntitle: a---\nlicense: mit\nbase_model: "gpt2"\nlibrary_name: peft\n---\nText\n/.test(dashes),
    dashes,
  );
  assertStringIncludes(modelCard(facts, "No front matter.\n"), "\n---\n\nNo front matter.\n");
  assertStringIncludes(
    modelCard({ ...facts, baseModel: null }, python),
    "base_model:\n- a\n- b\nlibrary_name: peft",
  );
});

/**
 * GGUF files where people have them: in hub models, folders, picked files, and behind URLs.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { type FolderInput, memoryFolder, tidy } from "@peft/webgpu";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  exportGguf,
  type FromPretrainedOptions,
} from "../../model/mod.ts";
import { assertFails, broken, withHub } from "../io/fake_hub.ts";

const MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;
const temporary = await Deno.makeTempDir();
const path = `${temporary}/demo.gguf`;
{
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
  await exportGguf(model, path, { tokenizer });
  model.dispose();
}
const BYTES = await Deno.readFile(path);
const TEXT = "Once upon a time";

/** Logits and name of what is loaded, with its own tokenizer. */
async function loaded(
  source: Parameters<typeof AutoModelForCausalLM.fromPretrained>[0],
  options: FromPretrainedOptions = {},
) {
  const { onProgress: _, ...files } = options;
  const tokenizer = await AutoTokenizer.fromPretrained(source, files);
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(source, options);
  using logits = tidy(() => model.lastLogits(tokenizer(TEXT)));
  const values = [...await logits.data()];
  const name = model.config.nameOrPath;
  model.dispose();
  return { values, name };
}
const expected = (await loaded(path)).values;

Deno.test("fromPretrained() takes the only GGUF file of a hub model, once, and then from the cache", async () => {
  await withHub(async (hub, { cacheDir, hubUrl, token, timeouts }) => {
    const options = { cacheDir, hubUrl, token, timeouts };
    hub.files.clear();
    hub.files.set("README.md", new Uint8Array(5)).set("demo-F16.gguf", BYTES);
    const { values, name } = await loaded("org/tiny", options);
    assertEquals([values, name], [expected, "org/tiny"]);
    assertEquals(hub.hits, ["demo-F16.gguf"]);
    for (const more of [{ localFilesOnly: true }, { hubUrl: "http://127.0.0.1:1" }, {}]) {
      assertEquals(
        (await loaded("org/tiny", { ...options, ...more })).values,
        expected,
        JSON.stringify(more),
      );
    }
    assertEquals(hub.hits.length, 1);
  });
});

Deno.test("fromPretrained() of a hub model with several GGUF files takes the one that ggufFile names, and goes on after a cut", async () => {
  await withHub(async (hub, { cacheDir, hubUrl, token, timeouts }) => {
    const options = { cacheDir, hubUrl, token, timeouts };
    hub.files.clear();
    hub.files.set("demo-F16.gguf", BYTES).set("demo-Q4_0.gguf", BYTES.slice(0, 100));
    for (const load of [AutoModelForCausalLM.fromPretrained, AutoTokenizer.fromPretrained]) {
      await assertRejects(
        () => load("org/tiny", options),
        RangeError,
        'Cannot load model "org/tiny": ggufFile must name one of its 2 GGUF files, "demo-F16.gguf", "demo-Q4_0.gguf"',
      );
      await assertFails(
        load("org/tiny", { ...options, ggufFile: "demo-Q8_0.gguf" }),
        "not-found",
        'Cannot download "org/tiny": "demo-Q8_0.gguf" is required, and the model has no such file',
      );
      await assertRejects(
        () => load("org/tiny", { ...options, ggufFile: "../demo.gguf" }),
        Error,
        "plain relative paths",
      );
    }
    assertEquals(hub.hits, []);
    hub.trick = (_, bytes, hit) => hit === 1 ? broken(bytes, 100_000) : undefined;
    assertEquals((await loaded("org/tiny", { ...options, ggufFile: "demo-F16.gguf" })).values, expected);
    assertEquals(hub.hits, ["demo-F16.gguf", "demo-F16.gguf bytes=100000-"]);
    await assertRejects(
      () => AutoModelForCausalLM.fromPretrained("org/tiny", { ...options, ggufFile: "demo-Q4_0.gguf" }),
      Error,
      "demo-Q4_0.gguf",
    ); // cut by whoever made it
  });
});

Deno.test("fromPretrained() prefers a hub model's checkpoint to a GGUF file that is not named", async () => {
  await withHub(async (hub, { cacheDir, hubUrl, token, timeouts }) => {
    const options = { cacheDir, hubUrl, token, timeouts };
    hub.files.clear();
    for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
      hub.files.set(name, await Deno.readFile(`${MODEL}/${name}`));
    }
    hub.files.set("demo.gguf", BYTES);
    const plain = await loaded("org/tiny", options);
    assertEquals(plain.values, (await loaded(MODEL)).values);
    assert(!hub.hits.includes("demo.gguf"));
    assertEquals((await loaded("org/tiny", { ...options, ggufFile: "demo.gguf" })).values, expected);
    // Without a checkpoint beside its config.json, the GGUF file is what is meant.
    hub.files.delete("model.safetensors");
    hub.files.delete("tokenizer.json");
    hub.commit = "f".repeat(40);
    assertEquals((await loaded("org/tiny", options)).values, expected);
    // The failure of the checkpoint is told where there is no GGUF file either.
    hub.files.clear();
    hub.commit = "e".repeat(40);
    await assertFails(
      AutoModelForCausalLM.fromPretrained("org/tiny", options),
      "not-found",
      '"config.json" is required',
    );
    await assertFails(AutoModelForCausalLM.fromPretrained("org/none", options), "not-found", "no such model");
  });
});

Deno.test("fromPretrained() takes a GGUF file from a folder, picked files and memory, by name or as the only one", async () => {
  const other = BYTES.slice(0, 64);
  const one: Record<string, FolderInput> = {
    folder: temporary,
    memory: memoryFolder({ "demo.gguf": BYTES, "notes.txt": other }),
    "picked files": [new File([BYTES], "demo.gguf")],
  };
  for (const [kind, source] of Object.entries(one)) {
    for (const options of [{}, { ggufFile: "demo.gguf" }]) {
      assertEquals((await loaded(source, options)).values, expected, kind);
    }
    for (const load of [AutoModelForCausalLM.fromPretrained, AutoTokenizer.fromPretrained]) {
      await assertRejects(
        () => load(source, { ggufFile: "none.gguf" }),
        Error,
        '"none.gguf" is required, received a folder without it',
      );
    }
  }
  assertEquals((await loaded(temporary)).name, path);
  const two = memoryFolder({ "a.gguf": other, "b.gguf": BYTES }, "two files");
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(two),
    RangeError,
    'Cannot load model "two files": ggufFile must name one of its 2 GGUF files, "a.gguf", "b.gguf"',
  );
  assertEquals((await loaded(two, { ggufFile: "b.gguf" })).values, expected);
  for (const file of [path, BYTES]) {
    await assertRejects(
      () => AutoModelForCausalLM.fromPretrained(file, { ggufFile: "demo.gguf" }),
      RangeError,
      'Cannot load "demo.gguf": ggufFile names a file of a folder or hub model, received it beside a file',
    );
  }
});

Deno.test("fromPretrained() reads a GGUF file behind a URL in ranges, and without ranges whole", async () => {
  for (const ranges of [true, false]) {
    const sizes: number[] = [];
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      if (!pathname.endsWith("/demo.gguf")) return new Response("none", { status: 404 });
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("Range") ?? "") ?? [];
      const part = ranges && from ? BYTES.slice(Number(from), Number(to) + 1) : BYTES.slice();
      sizes.push(part.length);
      if (!ranges || !from) return new Response(part);
      const range = `bytes ${from}-${Number(from) + part.length - 1}/${BYTES.length}`;
      return new Response(part, { status: 206, headers: { "Content-Range": range } });
    });
    const url = `http://127.0.0.1:${server.addr.port}/files/demo.gguf`;
    try {
      for (const source of [url, `${url}?download=true`, new URL(url)]) {
        assertEquals((await loaded(source)).values, expected);
      }
      assert(ranges ? sizes.length > 20 : sizes.length === 6, `${sizes.length} requests`);
      await assertRejects(
        () => AutoModelForCausalLM.fromPretrained(url.replace("demo", "none")),
        Error,
        "status 200 or 206 is required, received 404",
      );
      const folder = url.replace("demo.gguf", "");
      assertEquals((await loaded(folder, { ggufFile: "demo.gguf" })).values, expected);
    } finally {
      await server.shutdown();
    }
  }
});

globalThis.addEventListener("unload", () => Deno.removeSync(temporary, { recursive: true }));

Deno.test("exportGguf() takes a path, or a folder with a name, and says so of anything else", async () => {
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
  const message = "Cannot export the model: the path of a file, or { folder, name }, is required, received ";
  for (
    const [output, received] of [[memoryFolder(), "an object without both"], [undefined, "undefined"], [
      "",
      'the path ""',
    ], ["out/", 'the path "out/"']]
  ) {
    await assertRejects(() => exportGguf(model, output as never), TypeError, message + received);
  }
  model.dispose();
});

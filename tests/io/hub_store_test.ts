/**
 * Models of the hub in a store, as a page keeps them, against a hub on this machine.
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type FolderStore, memoryStore } from "../../io/folder_store.ts";
import { handleStore } from "../../io/handle_store.ts";
import { storeHubModel, type StoreHubOptions } from "../../io/hub_store.ts";
import { readAll } from "../../io/open_file.ts";
import { FakeDirectory } from "./fake_handles.ts";
import { assertFails, broken, COMMIT, encoder, type FakeHub, serveHub, WEIGHTS } from "./fake_hub.ts";

const ID = "org/tiny";

async function withHub(body: (hub: FakeHub, options: StoreHubOptions) => Promise<void>): Promise<void> {
  const hub = serveHub();
  try {
    await body(hub, { hubUrl: hub.url, timeouts: { retryMs: 1, connectMs: 2000, stallMs: 300 } });
  } finally {
    await hub.stop();
  }
}

const contents = async (folder: { open: FolderStore["open"] }, path: string) => {
  const source = await folder.open(path);
  return source && await readAll(source);
};

Deno.test("storeHubModel() downloads what a checkpoint needs once, checked, and asks for new files of a new commit alone", async () => {
  await withHub(async (hub, options) => {
    hub.files.set("tokenizer.json", encoder.encode("{}"));
    hub.files.set("README.md", encoder.encode("not needed"));
    hub.files.set("onnx.bin", encoder.encode("not needed"));
    const store = handleStore(new FakeDirectory(), "model");
    const progress: string[] = [];
    let bytes = 0;
    const all = {
      ...options,
      checkBytes: (total: number) => void (bytes = total),
      onProgress: (
        { file, loadedBytes, totalBytes }: { file: string; loadedBytes: number; totalBytes: number },
      ) => {
        if (loadedBytes === totalBytes) progress.push(file);
      },
    };
    const { folder, ggufFile, commit } = await storeHubModel(ID, store, all);
    assertEquals([ggufFile, commit, bytes], [null, COMMIT, 300_000 + 2 + '{"model_type":"gpt2"}'.length]);
    assertEquals((await folder.list!()).toSorted(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assertEquals(progress.toSorted(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assertEquals(await contents(folder, "model.safetensors"), WEIGHTS);
    assertEquals(await folder.open("hub.json"), undefined); // not a file of the model
    assertEquals(hub.hits.length, 3);
    await storeHubModel(ID, store, all);
    assertEquals(hub.hits.length, 3);
    hub.commit = "f".repeat(40);
    hub.files.set("tokenizer.json", encoder.encode('{"new":1}'));
    const renewed = await storeHubModel(ID, store, all);
    assertEquals([hub.hits.length, renewed.commit], [4, hub.commit]);
    assertEquals(await contents(renewed.folder, "tokenizer.json"), encoder.encode('{"new":1}'));
    hub.commit = "e".repeat(40);
    hub.files.delete("tokenizer.json");
    await storeHubModel(ID, store, all);
    assertEquals(await store.list(), ["config.json", "hub.json", "model.safetensors"]); // no room for what is not needed
  });
});

Deno.test("storeHubModel() goes on where a broken connection, a cancelled call or a killed page left off", async () => {
  await withHub(async (hub, options) => {
    hub.trick = (_, bytes, hit) => hit === 2 ? broken(bytes, 100_000) : undefined;
    const store = memoryStore("model");
    await storeHubModel(ID, store, options);
    assertEquals(hub.hits[2], "model.safetensors bytes=100000-");
    assertEquals(await contents(store, "model.safetensors"), WEIGHTS);

    hub.trick = undefined;
    const second = memoryStore("second");
    const abort = new AbortController();
    const cancelled = new Error("cancelled");
    const onProgress = ({ loadedBytes }: { loadedBytes: number }) => {
      if (loadedBytes > 50_000) abort.abort(cancelled);
    };
    const stopped = storeHubModel(ID, second, { ...options, signal: abort.signal, onProgress });
    assertEquals(await stopped.catch((error) => error), cancelled);
    const part = await second.open("model.safetensors");
    assert(part && part.size > 50_000, `${part?.size}`);
    const before = hub.hits.length;
    const { folder } = await storeHubModel(ID, second, options);
    assertEquals(await contents(folder, "model.safetensors"), WEIGHTS);
    const resumed = part.size < WEIGHTS.length ? [`model.safetensors bytes=${part.size}-`] : [];
    assertEquals(hub.hits.slice(before), resumed);
  });
});

Deno.test("storeHubModel() refuses wrong bytes, and starts over where those that it continued were wrong", async () => {
  await withHub(async (hub, options) => {
    const wrong = WEIGHTS.slice();
    wrong[7]! ^= 1;
    const store = memoryStore("model");
    hub.trick = (request) => request.url.endsWith(".safetensors") ? new Response(wrong.slice()) : undefined;
    await assertFails(storeHubModel(ID, store, options), "bad-answer", "received other bytes");
    await store.write("model.safetensors", wrong.subarray(0, 1000));
    hub.trick = undefined;
    const { folder } = await storeHubModel(ID, store, options);
    assertEquals(await contents(folder, "model.safetensors"), WEIGHTS);
  });
});

Deno.test("storeHubModel() takes the GGUF file of a model, the named one of several, and no pickle", async () => {
  await withHub(async (hub, options) => {
    hub.files.clear();
    hub.files.set("a-Q4_K_M.gguf", WEIGHTS);
    const store = memoryStore("model");
    const one = await storeHubModel(ID, store, options);
    assertEquals([one.ggufFile, await one.folder.list!()], ["a-Q4_K_M.gguf", ["a-Q4_K_M.gguf"]]);
    hub.files.set("a-Q8_0.gguf", encoder.encode("other"));
    await assertRejects(
      () => storeHubModel(ID, store, options),
      RangeError,
      'ggufFile must name one of its 2 GGUF files, "a-Q4_K_M.gguf", "a-Q8_0.gguf"',
    );
    const other = await storeHubModel(ID, store, { ...options, ggufFile: "a-Q8_0.gguf" });
    assertEquals(await contents(other.folder, "a-Q8_0.gguf"), encoder.encode("other"));
    await assertFails(
      storeHubModel(ID, store, { ...options, ggufFile: "b.gguf" }),
      "not-found",
      '"b.gguf" is required',
    );
    hub.files.clear();
    hub.files.set("pytorch_model.bin", WEIGHTS);
    await assertFails(storeHubModel(ID, store, options), "not-found", "pickle files, which are never opened");
  });
});

Deno.test("storeHubModel() says what a hub answers, and without one uses what is whole", async () => {
  await withHub(async (hub, options) => {
    const store = memoryStore("model");
    await storeHubModel(ID, store, options);
    for (
      const [status, failure] of [[401, "unauthorized"], [403, "unauthorized"], [404, "not-found"], [
        429,
        "status",
      ]] as const
    ) {
      hub.api = () => new Response("no", { status, headers: { "Retry-After": "0" } });
      const error = await assertFails(storeHubModel(ID, store, options), failure, "org/tiny");
      assertEquals(error.status, status);
    }
    hub.api = () => new Response("down", { status: 503, headers: { "Retry-After": "0" } });
    const { folder } = await storeHubModel(ID, store, options);
    assertEquals(await contents(folder, "model.safetensors"), WEIGHTS);
    await assertFails(storeHubModel(ID, memoryStore("empty"), options), "status", "received 503");
    const older = { ...options, revision: "0".repeat(40) };
    await assertFails(storeHubModel(ID, store, older), "status", "received 503"); // what is whole is of another commit
    await storeHubModel(ID, store, { ...options, revision: COMMIT });
    const silent = { ...options, fetch: () => Promise.reject(new TypeError("connection refused")) };
    await storeHubModel(ID, store, silent);
    await assertFails(storeHubModel(ID, memoryStore("empty"), silent), "offline", "connection refused");
    await assertRejects(() => storeHubModel("no/such/id", store, options), RangeError, "a hub id");
    hub.api = (path) => path.includes("/tree/") ? Response.json({ not: "a list" }) : undefined;
    await assertFails(storeHubModel(ID, memoryStore("empty"), options), "bad-answer", "a list of files");
  });
});

Deno.test("storeHubModel() tells of a full storage, keeps what arrived, and asks before it begins", async () => {
  await withHub(async (hub, options) => {
    const root = new FakeDirectory("", { limit: 200_000, used: 0 });
    const store = handleStore(root, "model");
    await assertRejects(() => storeHubModel(ID, store, options), Error, "the browser's storage is full");
    assert(root.quota.used > 0);
    root.quota.limit = Infinity;
    const { folder } = await storeHubModel(ID, store, options);
    assertEquals(await contents(folder, "model.safetensors"), WEIGHTS);
    const hits = hub.hits.length;
    const refusing = {
      ...options,
      checkBytes: () => {
        throw new Error("too large");
      },
    };
    await assertRejects(() => storeHubModel(ID, memoryStore("new"), refusing), Error, "too large");
    assertEquals(hub.hits.length, hits);
  });
});

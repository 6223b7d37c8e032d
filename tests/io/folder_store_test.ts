import { assert, assertEquals, assertRejects } from "@std/assert";
import { diskStore } from "../../io/disk_store.ts";
import { type FolderStore, isFolderStore, memoryStore } from "../../io/folder_store.ts";
import { handleStore, type WritableDirectoryHandle } from "../../io/handle_store.ts";
import { readAll } from "../../io/open_file.ts";
import { verifyStoreFolder, writeStoreFolder } from "../../io/staged_store.ts";
import { FakeDirectory } from "./fake_handles.ts";

const folders: string[] = [];
/** A folder on disk, removed at the end. */
function temporaryFolder(): string {
  folders.push(Deno.makeTempDirSync({ prefix: "peft_store_" }));
  return folders.at(-1)!;
}
addEventListener("unload", () => folders.forEach((folder) => Deno.removeSync(folder, { recursive: true })));

const STORES: Readonly<Record<string, () => FolderStore>> = {
  "memoryStore()": () => memoryStore("store"),
  "handleStore()": () => handleStore(new FakeDirectory(), "store"),
  "diskStore()": () => diskStore(`${temporaryFolder()}/store`),
};
const encode = (text: string) => new TextEncoder().encode(text);
const textOf = async (store: FolderStore, path: string) => {
  const source = await store.open(path);
  return source && new TextDecoder().decode(await readAll(source));
};

for (const [name, make] of Object.entries(STORES)) {
  Deno.test(`${name} writes, lists, reads in ranges, replaces and removes files of folders`, async () => {
    const store = make();
    assert(isFolderStore(store));
    assertEquals([await store.list(), await store.folders(), await store.open("a")], [[], [], undefined]);
    await store.write("a.txt", "one");
    await store.write("b/c/d.bin", [encode("tw"), encode("o")]);
    assertEquals([await store.list(), await store.folders()], [["a.txt"], ["b"]]);
    const inner = store.folder("b").folder("c");
    assertEquals([await inner.list(), inner.name], [["d.bin"], `${store.name}/b/c`]);
    const source = (await inner.open("d.bin"))!;
    assertEquals([source.size, source.name], [3, `${store.name}/b/c/d.bin`]);
    assertEquals(new TextDecoder().decode(await source.read(1, 2)), "wo");
    await assertRejects(async () => void await source.read(1, 3), RangeError, "must be inside its 3 bytes");
    await store.write("a.txt", "a shorter one? no, a longer one");
    await store.write("a.txt", "short");
    assertEquals(await textOf(store, "a.txt"), "short");
    await store.remove("b/c");
    await store.remove("not there");
    assertEquals(await store.open("b/c/d.bin"), undefined);
    await assertRejects(
      async () => void await store.write("../out", ""),
      RangeError,
      "plain relative paths",
    );
  });

  Deno.test(`${name} goes on with a file where its last writer ended`, async () => {
    const store = make();
    let file = await store.update("part");
    assertEquals(file.size, 0);
    await file.write(encode("hello"), 0);
    await file.close();
    file = await store.update("part");
    assertEquals([file.size, new TextDecoder().decode(await file.read(1, 3))], [5, "ell"]);
    await file.write(encode(" world"), 5);
    await file.truncate(8);
    await file.close();
    assertEquals(await textOf(store, "part"), "hello wo");
  });

  Deno.test(`${name} keeps the old file where a new one cannot be produced whole`, async () => {
    const store = make();
    await store.write("a", "old");
    const broken = async function* () {
      yield encode("new");
      await Promise.resolve();
      throw new Error("the source broke");
    };
    await assertRejects(() => store.write("a", broken()), Error, "the source broke");
    assertEquals([await textOf(store, "a"), await store.list()], ["old", ["a"]]);
  });

  Deno.test(`writeStoreFolder() on ${name} is trusted when it is whole alone`, async () => {
    const store = make();
    const fill = async (folder: FolderStore) => {
      await folder.write("x", "abc");
      await folder.folder("sub").write("y", "de");
    };
    await writeStoreFolder(store, "out", fill, { step: 7 });
    const out = store.folder("out");
    assertEquals(await verifyStoreFolder(out), { step: 7 });
    const { files } = JSON.parse((await textOf(out, "manifest.json"))!);
    assertEquals(files.x, {
      size: 3,
      sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    });
    assertEquals(Object.keys(files), ["x", "sub/y"]);
    const refused = (message: string) =>
      assertRejects(
        () => verifyStoreFolder(out),
        Error,
        `Cannot trust folder "${store.name}/out": ${message}`,
      );
    await out.write("x", "abd");
    await refused('"x" has another SHA-256 than the manifest');
    await out.write("x", "abcd");
    await refused('"x" must have 3 bytes, received 4');
    await out.remove("x");
    await refused('"x" is missing');
    await out.remove("manifest.json");
    await refused("a readable manifest.json is required");
    await assertRejects(
      () => writeStoreFolder(store, "out", () => Promise.reject(new Error("no"))),
      Error,
      `Cannot write folder "${store.name}/out": no`,
    );
    assertEquals(await store.folders(), []);
  });
}

Deno.test("diskStore() does not list what a killed writer left", async () => {
  const folder = temporaryFolder();
  await Deno.writeTextFile(`${folder}/.a.0123456789abcdef.tmp`, "half");
  await Deno.writeTextFile(`${folder}/.hidden`, "whole");
  assertEquals(await diskStore(folder).list(), [".hidden"]);
});

Deno.test("handleStore() says that the storage is full, and what was there stays", async () => {
  const root = new FakeDirectory("", { limit: 10, used: 0 });
  const store = handleStore(root, "store");
  await store.write("a", "123456");
  const error = await assertRejects(
    () => store.write("a", "1234567"),
    Error,
    'Cannot write "store/a": the browser\'s storage is full',
  );
  assertEquals(((error as Error).cause as Error).name, "QuotaExceededError");
  assertEquals([await textOf(store, "a"), root.quota.used], ["123456", 6]);
  const file = await store.update("b");
  await assertRejects(() => file.write(encode("12345"), 0), Error, "storage is full");
  await file.close();
});

Deno.test("handleStore() says which file is in use", async () => {
  const store = handleStore(new FakeDirectory(), "store");
  const file = await store.update("a");
  await assertRejects(
    () => store.update("a"),
    Error,
    'Cannot open "store/a": the file is in use elsewhere',
  );
  await file.close();
});

Deno.test("handleStore() copies where files cannot be renamed, and streams where there is no sync access", async () => {
  const root = new FakeDirectory();
  const old = {
    ...{ kind: "directory", name: "root" } as const,
    getDirectoryHandle: () => Promise.reject(new DOMException("none", "NotFoundError")),
    removeEntry: (name: string) => root.removeEntry(name),
    entries: () => root.entries(),
    async getFileHandle(name: string, options?: { create?: boolean }) {
      const inner = await root.getFileHandle(name, options);
      return {
        getFile: () => inner.getFile(),
        async createWritable({ keepExistingData = false } = {}) {
          let bytes = keepExistingData ? inner.bytes.slice() : new Uint8Array();
          const resize = (size: number) => {
            const next = new Uint8Array(size);
            next.set(bytes.subarray(0, size));
            bytes = next;
          };
          return await Promise.resolve({
            async write({ position, data }: { position: number; data: Uint8Array }) {
              if (position + data.length > bytes.length) resize(position + data.length);
              bytes.set(data, position);
              await Promise.resolve();
            },
            truncate: (size: number) => Promise.resolve(resize(size)),
            close: () => Promise.resolve(void (inner.bytes = bytes)),
            abort: () => Promise.resolve(),
          });
        },
      };
    },
  } satisfies WritableDirectoryHandle;
  const store = handleStore(old);
  await store.write("a", "first and long");
  await store.write("a", "second");
  assertEquals([await textOf(store, "a"), await store.list()], ["second", ["a"]]);
  const file = await store.update("a");
  await file.write(encode("!"), file.size);
  await file.close();
  assertEquals(await textOf(store, "a"), "second!");
});

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import {
  checkWritableFolder,
  exists,
  isDirectory,
  listDirectory,
  makeDirectory,
  openForRead,
  readFile,
} from "../../io/files.ts";
import { memoryFolder, openFile, openFolder, readAll, urlFolder } from "../../io/open_file.ts";
import { chunksOf } from "../../io/file_source.ts";
import { JsonFileError, readJson, readJsonFrom, readJsonObject, writeJson } from "../../io/json.ts";
import { checkRelativePath, isSafeRelativePath } from "../../io/relative_path.ts";

const encoder = new TextEncoder();

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("openForRead() reads any range and refuses ranges outside the file", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    await Deno.writeFile(path, Uint8Array.from({ length: 100 }, (_, i) => i));
    const file = await openForRead(path);
    assertEquals(file.size, 100);
    assertEquals([...await file.read(98, 2)], [98, 99]);
    assertEquals([...await file.read(100, 0)], []);
    for (const [offset, length] of [[99, 2], [-1, 1], [0, -1], [0.5, 1], [0, NaN], [101, 0]] as const) {
      await assertRejects(
        async () => await file.read(offset, length),
        RangeError,
        "must be inside its 100 bytes",
      );
    }
    await file.close();
    await assertRejects(() => file.read(0, 1));
  });
});

Deno.test("openForRead() names a missing path and a folder", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "no");
    await assertRejects(() => openForRead(path), Error, `Cannot open "${path}": no such file or folder`);
    await assertRejects(() => openForRead(folder), Error, "a file is required, received a folder");
    await assertRejects(() => readFile(join(folder, "x", "y")), Error, "no such file");
  });
});

Deno.test("readFile() honours maxBytes before it allocates", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    await Deno.writeFile(path, new Uint8Array(11));
    assertEquals((await readFile(path, { maxBytes: 11 })).length, 11);
    await assertRejects(
      () => readFile(path, { maxBytes: 10 }),
      RangeError,
      "at most 10 bytes are allowed, received 11",
    );
  });
});

Deno.test("makeDirectory(), exists(), isDirectory() and listDirectory() work as their names say", async () => {
  await inFolder(async (folder) => {
    const deep = join(folder, "a", "b");
    assertEquals([await exists(deep), await isDirectory(deep), await listDirectory(deep)], [
      false,
      false,
      [],
    ]);
    await makeDirectory(deep);
    await makeDirectory(deep);
    await Deno.writeTextFile(join(deep, "z"), "");
    await Deno.writeTextFile(join(deep, "c"), "");
    assertEquals([await exists(deep), await isDirectory(deep), await listDirectory(deep)], [true, true, [
      "c",
      "z",
    ]]);
    assertEquals([await exists(join(deep, "z")), await isDirectory(join(deep, "z"))], [true, false]);
    await assertRejects(() => makeDirectory(join(deep, "z", "q")), Error, "Cannot make folder");
  });
});

Deno.test("chunksOf() gives all bytes once for any size and any chunk", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 64 }),
      fc.integer({ min: 1, max: 70 }),
      async (bytes, max) => {
        const chunks: number[] = [];
        for await (const chunk of chunksOf(await openFile(bytes), 0, bytes.length, max)) {
          assert(chunk.length > 0 && chunk.length <= max);
          chunks.push(...chunk);
        }
        assertEquals(chunks, [...bytes]);
      },
    ),
  );
  const source = await openFile(new Uint8Array(3));
  for (const max of [0, -1, 1.5, NaN]) {
    await assertRejects(
      () => chunksOf(source, 0, 3, max).next(),
      RangeError,
      "maxBytes must be a positive integer",
    );
  }
});

Deno.test("openFolder() opens files of a disk folder, of memory and behind a URL alike", async () => {
  await inFolder(async (folder) => {
    await makeDirectory(join(folder, "sub"));
    await Deno.writeTextFile(join(folder, "sub", "a b.json"), "{}");
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/m/sub/a%20b.json") return new Response("{}");
      return new Response("no", { status: pathname.includes("private") ? 403 : 404 });
    });
    const base = `http://127.0.0.1:${server.addr.port}/m`;
    const folders = [
      openFolder(folder),
      memoryFolder({ "sub/a b.json": encoder.encode("{}") }),
      memoryFolder(new Map([["sub/a b.json", new Blob(["{}"])]])),
      urlFolder(base),
    ];
    for (const source of folders) {
      assertEquals(new TextDecoder().decode(await readAll((await source.open("sub/a b.json"))!)), "{}");
      assertEquals(await source.open("sub/none.json"), undefined);
      await assertRejects(async () => await source.open("../a"), RangeError, "plain relative paths");
    }
    await assertRejects(
      () => urlFolder(base).open("private"),
      Error,
      "status 200 or 404 is required, received 403",
    );
    await server.shutdown();
    assertEquals(openFolder(folders[1]!), folders[1]);
    assertEquals(await openFolder(join(folder, "missing")).open("a"), undefined);
  });
});

Deno.test("urlFolder() takes a web page in place of a missing file for none, as development servers answer", async () => {
  const page = "\n<!DOCTYPE html><html><title>app</title></html>";
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const isText = pathname === "/m/chat_template.jinja"; // a text that looks like a page, and is none
    return new Response(isText ? "<html>{{ messages }}" : pathname === "/m/odd.json" ? "{}" : page, {
      headers: { "content-type": isText ? "text/plain" : "text/html; charset=utf-8" },
    });
  });
  const folder = urlFolder(`http://127.0.0.1:${server.addr.port}/m`);
  const textOf = async (path: string) => {
    const source = await folder.open(path);
    return source && new TextDecoder().decode(await readAll(source));
  };
  try {
    assertEquals(await textOf("special_tokens_map.json"), undefined);
    assertEquals(await textOf("chat_template.jinja"), "<html>{{ messages }}");
    assertEquals(await textOf("odd.json"), "{}");
    assertEquals(await textOf("index.html"), page);
  } finally {
    await server.shutdown();
  }
});

Deno.test("urlFolder() names the file where no server answers, or its answer breaks off", async () => {
  const url = "http://127.0.0.1:1/m/config.json";
  await assertRejects(
    () => urlFolder("http://127.0.0.1:1/m").open("config.json"),
    Error,
    `Cannot fetch "${url}": an answer of its server is required, received "`,
  );
  const broken = () =>
    Promise.resolve(
      new Response(new ReadableStream({ pull: (stream) => stream.error(new TypeError("network error")) })),
    );
  await assertRejects(
    () => urlFolder("http://127.0.0.1:1/m", { fetch: broken }).open("config.json"),
    Error,
    `Cannot fetch "${url}": an answer of its server is required, received "network error"; a server of another origin must allow this page's requests (CORS)`,
  );
});

Deno.test("readJson() names the file for bad JSON, bad UTF-8 and too many bytes", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "config.json");
    const write = (text: string | Uint8Array) =>
      typeof text === "string" ? Deno.writeTextFile(path, text) : Deno.writeFile(path, text);
    await write('\ufeff{"a": 1}');
    assertEquals(await readJson(path), { a: 1 });
    await write("{");
    await assertRejects(() => readJson(path), JsonFileError, `Cannot read "${path}": valid JSON is required`);
    await write(Uint8Array.of(0x22, 0xff, 0x22));
    await assertRejects(() => readJson(path), JsonFileError, "valid JSON is required");
    await write(" ".repeat(100) + "1");
    await assertRejects(
      () => readJson(path, { maxBytes: 100 }),
      JsonFileError,
      "may have 100 bytes, received 101",
    );
    for (
      const [text, kind] of [["1", "a number"], ["null", "null"], ["[]", "an array"], [
        '"x"',
        "a string",
      ]] as const
    ) {
      await write(text);
      await assertRejects(
        () => readJsonObject(path),
        JsonFileError,
        `a JSON object is required, received ${kind}`,
      );
    }
    await writeJson(path, { r: 8, target_modules: ["c_attn"] });
    assertEquals(
      await Deno.readTextFile(path),
      '{\n  "r": 8,\n  "target_modules": [\n    "c_attn"\n  ]\n}\n',
    );
    assertEquals(await readJsonFrom(openFolder(folder), "config.json"), { r: 8, target_modules: ["c_attn"] });
    assertEquals(await readJsonFrom(openFolder(folder), "none.json"), undefined);
  });
});

Deno.test("checkRelativePath() refuses every unsafe name on every system", () => {
  // huggingface_hub's unsafe names (tests/test_file_download.py), and Windows device names
  const unsafe = [
    "../evil",
    "a/../../evil",
    "..",
    "a/..",
    "/etc/passwd",
    "//host/share",
    "\\windows\\x",
    "..\\evil",
    "a\\..\\b",
    "C:\\x",
    "C:/x",
    "C:x",
    "a/C:x",
    "\\\\host\\share\\x",
    "",
    ".",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "a.",
    "a ",
    "a./b",
    "a /b",
    " a",
    "CON",
    "con.txt",
    "a/NUL",
    "aux.json",
    "COM1",
    "lpt9.safetensors",
    "%2e%2e/x",
    "a%2Fb",
    "a".repeat(300),
    "a/".repeat(600) + "a",
    "a\0b",
    "a\nb",
    "\u007f",
    "a\uff0fb",
    "\uff0e\uff0e/x",
    "a\uff3cb",
    "\u2024\u2024/x",
    "a\u202eb",
    "~root/x",
    "a:b",
    "a*b",
    "a?b",
    "a|b",
    'a"b',
    "<a>",
    "\ud800",
  ];
  for (const name of unsafe) {
    assertThrows(
      () => checkRelativePath(name, "open a shard"),
      RangeError,
      "Cannot open a shard: file names must be plain",
      name,
    );
  }
  const safe = [
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "a/b/c.json",
    ".gitattributes",
    "a b",
    "é/日本.txt",
    "console.log",
    "com10",
    "..a",
    "a..b",
    "x~1",
    "100%",
    "a+b=c,d;e@f#g$h&i(j)[k]{l}!'",
  ];
  for (const name of safe) assertEquals(checkRelativePath(name, "open a shard"), name);
});

Deno.test("checkRelativePath() lets no accepted name leave its folder", async () => {
  const { posix, win32 } = await import("node:path");
  const piece = fc.constantFrom("..", ".", "/", "\\", "a", "C:", "%2e", " ", "\uff0f", "\0", "CON", "~", "é");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")), (name) => {
      if (!isSafeRelativePath(name)) return;
      assert(posix.join("/root/folder", name).startsWith("/root/folder/"));
      assert(win32.join("C:\\root\\folder", name).startsWith("C:\\root\\folder\\"));
      assertEquals(posix.normalize(name), name);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("openForRead() says what to do in a runtime without a file system", async () => {
  const { host } = await import("../../io/_node.ts?browser");
  const { process } = globalThis as { process?: unknown };
  try {
    Object.defineProperty(globalThis, "process", { value: undefined, configurable: true, writable: true });
    await assertRejects(() => host(), Error, 'pass a URL such as new URL("./model/", location.href)');
  } finally {
    Object.defineProperty(globalThis, "process", { value: process, configurable: true, writable: true });
  }
});

Deno.test("readJson() refuses values nested more than 127 deep, in arrays, objects and both", async () => {
  const json = (text: string) => readJson(new TextEncoder().encode(text));
  assertEquals(JSON.stringify(await json("[".repeat(127) + "]".repeat(127))).length, 254);
  assertEquals(await json(JSON.stringify({ a: "[".repeat(500) + '\\"{' })), { a: "[".repeat(500) + '\\"{' });
  for (const [open, close] of [["[", "]"], ['{"a":', "}"], ['[{"a":', "}]"]]) {
    for (const times of [128, 50_000]) {
      const text = `${open!.repeat(times)}0${close!.repeat(times)}`;
      await assertRejects(() => json(text), JsonFileError, "at most 127 are allowed");
    }
  }
});

Deno.test("openFolder() refuses a link into a folder whose name only begins like its own", async () => {
  await inFolder(async (folder) => {
    await Deno.mkdir(join(folder, "model"));
    await Deno.mkdir(join(folder, "model-of-others"));
    await Deno.writeTextFile(join(folder, "model-of-others", "secret"), "secret");
    await Deno.symlink(join(folder, "model-of-others", "secret"), join(folder, "model", "weights"));
    const source = openFolder(join(folder, "model"));
    await assertRejects(
      () => source.open("weights", { inside: true }),
      RangeError,
      "a link that leads out of it",
    );
    await Deno.writeTextFile(join(folder, "model", "own"), "own");
    const own = await source.open("own", { inside: true });
    assertEquals(own!.size, 3);
    await own!.close();
  });
});

Deno.test("checkWritableFolder() makes nothing that stays, and names what stands in the way", async () => {
  await inFolder(async (folder) => {
    await Deno.mkdir(join(folder, "there"));
    await Deno.writeTextFile(join(folder, "file"), "kept");
    for (const name of ["there", "new", join("a", "b", "c"), join("there", "below")]) {
      await checkWritableFolder(join(folder, name), "train");
    }
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["file", "there"]);
    assertEquals([...Deno.readDirSync(join(folder, "there"))], []);
    for (const name of ["file", join("file", "below")]) {
      await assertRejects(
        () => checkWritableFolder(join(folder, name), "train"),
        Error,
        `Cannot train: a folder that can be written to is required, received "${join(folder, name)}"; "${
          join(folder, "file")
        }" is not a folder`,
      );
    }
    await assertRejects(() => checkWritableFolder(" ", "train"), Error, 'received " "');
    await assertRejects(
      () => checkWritableFolder("/proc/none", "train"),
      Error,
      "where nothing can be written: ",
    );
  });
});

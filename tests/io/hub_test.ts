import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import {
  HubError,
  type HubFailure,
  type HubProgress,
  resolveCheckpointFolder,
  resolveModelFolder,
  type ResolveOptions,
} from "../../io/hub.ts";
import { serialize } from "../../io/safetensors.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const encoder = new TextEncoder();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const gitSha1 = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, i) => i * 31 + (i >> 8));
const CONFIG = encoder.encode('{"model_type":"gpt2"}');

/** What the fake hub does instead of serving a file. */
type Trick = (request: Request, bytes: Uint8Array, hit: number) => Response | Promise<Response> | undefined;

interface FakeHub {
  url: string;
  /** Requests of file contents: path and Range header. */
  hits: string[];
  /** Every request. */
  requests: { method: string; path: string; authorization: string | null; encoding: string | null }[];
  files: Map<string, Uint8Array>;
  /** Overrides of what paths-info says of a file. */
  info: Map<string, Record<string, unknown>>;
  trick?: Trick;
  api?: (path: string) => Response | undefined;
  commit: string;
  stop(): Promise<void>;
}

/** A server that answers like the hub, on this machine alone. */
function serveHub(): FakeHub {
  const hub: FakeHub = {
    url: "",
    hits: [],
    requests: [],
    files: new Map([["config.json", CONFIG], ["model.safetensors", WEIGHTS]]),
    info: new Map(),
    commit: COMMIT,
    stop: () => server.shutdown(),
  };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const path = decodeURIComponent(new URL(request.url).pathname);
    hub.requests.push({
      method: request.method,
      path,
      authorization: request.headers.get("Authorization"),
      encoding: request.headers.get("Accept-Encoding"),
    });
    const special = hub.api?.(path);
    if (special) return special;
    if (path.startsWith("/api/models/org/tiny/revision/")) {
      return Response.json({
        _id: "1",
        id: "org/tiny",
        sha: hub.commit,
        lastModified: "2026-01-01T00:00:00Z",
      });
    }
    if (path === `/api/models/org/tiny/paths-info/${hub.commit}`) {
      const { paths } = await request.json() as { paths: string[] };
      return Response.json(
        paths.filter((name) => hub.files.has(name)).map((name) => {
          const bytes = hub.files.get(name)!;
          const lfs = name.endsWith(".safetensors")
            ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }
            : {};
          return {
            path: name,
            type: "file",
            size: bytes.length,
            oid: gitSha1(bytes),
            ...lfs,
            ...hub.info.get(name),
          };
        }),
      );
    }
    const name = path.replace(`/org/tiny/resolve/${hub.commit}/`, "");
    const bytes = hub.files.get(name);
    if (!bytes) return new Response("Entry not found", { status: 404 });
    const range = request.headers.get("Range");
    hub.hits.push(range ? `${name} ${range}` : name);
    const tricked = await hub.trick?.(request, bytes, hub.hits.length);
    if (tricked) return tricked;
    if (!range) return new Response(bytes.slice());
    const start = Number(/^bytes=(\d+)-$/.exec(range)![1]);
    return new Response(bytes.slice(start), {
      status: 206,
      headers: { "Content-Range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` },
    });
  });
  hub.url = `http://127.0.0.1:${server.addr.port}`;
  return hub;
}

/** Sends the client to a server that closes the connection after `count` bytes although more are announced. */
function broken(bytes: Uint8Array, count: number, status = "200 OK", headers = ""): Response {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  (async () => {
    const connection = await listener.accept();
    await connection.read(new Uint8Array(4096));
    const head = `HTTP/1.1 ${status}\r\nContent-Length: ${bytes.length}\r\n${headers}\r\n`;
    const answer = new Uint8Array([...encoder.encode(head), ...bytes.subarray(0, count)]);
    for (let at = 0; at < answer.length;) at += await connection.write(answer.subarray(at));
    connection.close();
    listener.close();
  })();
  return Response.redirect(`http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}/`, 302);
}

const FILES = ["config.json", "model.safetensors"];

async function withHub(
  body: (hub: FakeHub, options: ResolveOptions & { cacheDir: string }) => Promise<void>,
): Promise<void> {
  const cacheDir = await Deno.makeTempDir();
  const hub = serveHub();
  try {
    await body(hub, {
      files: FILES,
      hubUrl: hub.url,
      cacheDir,
      token: "",
      timeouts: { retryMs: 1, connectMs: 2000, stallMs: 300 },
    });
  } finally {
    await hub.stop();
    await Deno.remove(cacheDir, { recursive: true });
  }
}

async function assertFails(
  promise: Promise<unknown>,
  failure: HubFailure,
  message: string,
): Promise<HubError> {
  const error = await assertRejects(() => promise, HubError, message);
  assertEquals(error.failure, failure, error.message);
  return error;
}

const repository = (cacheDir: string) => join(cacheDir, "models--org--tiny");
const blobsIn = (cacheDir: string) => {
  try {
    return [...Deno.readDirSync(join(repository(cacheDir), "blobs"))].map((entry) => entry.name).sort();
  } catch {
    return [];
  }
};

Deno.test("resolveModelFolder() returns a local folder as it is", async () => {
  const folder = await Deno.makeTempDir();
  assertEquals(await resolveModelFolder(folder, { files: ["config.json"] }), folder);
  await Deno.remove(folder);
});

Deno.test("resolveModelFolder() tells a missing folder from a hub id", async () => {
  for (const path of ["./x", "../x", "/x/y", "x/y/z", "~/x", "C:\\x", "x/", "a\\b"]) {
    await assertRejects(
      () => resolveModelFolder(path),
      Error,
      `Cannot find model folder ${JSON.stringify(path)}: no such folder`,
    );
  }
  for (const id of ["", "a b", "-x", "org/-x", "a--b", "org/x.git", "x".repeat(97), "org/ü"]) {
    await assertRejects(() => resolveModelFolder(id), Error, "a folder or a hub id");
  }
});

Deno.test("resolveModelFolder() downloads into the layout of Python's cache", async () => {
  await withHub(async (hub, options) => {
    const progress: HubProgress[] = [];
    const folder = await resolveModelFolder("org/tiny", { ...options, onProgress: (p) => progress.push(p) });
    assertEquals(folder, join(repository(options.cacheDir), "snapshots", COMMIT));
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(await Deno.readLink(join(folder, "config.json")), `../../blobs/${gitSha1(CONFIG)}`);
    assertEquals(await Deno.readTextFile(join(repository(options.cacheDir), "refs", "main")), COMMIT);
    assertEquals(blobsIn(options.cacheDir), [gitSha1(CONFIG), sha256(WEIGHTS)].sort());
    assertEquals(progress.filter((p) => p.loadedBytes === p.totalBytes).map((p) => [p.file, p.totalBytes]), [
      ["config.json", CONFIG.length],
      ["model.safetensors", WEIGHTS.length],
    ]);
    assertEquals(hub.hits, FILES);
    assertEquals(hub.requests.filter((r) => r.path.includes("/resolve/")).map((r) => r.encoding), [
      "identity",
      "identity",
    ]);
    // again: only the commit and the files' hashes are asked for
    await resolveModelFolder("org/tiny", options);
    assertEquals(hub.hits, FILES);
  });
});

Deno.test("resolveModelFolder() keeps nested files and branches where Python looks for them", async () => {
  await withHub(async (hub, options) => {
    hub.files.set("sub/dir/extra.json", encoder.encode("{}"));
    const folder = await resolveModelFolder("org/tiny", {
      ...options,
      files: ["sub/dir/extra.json"],
      revision: "refs/pr/1",
    });
    assertEquals(await Deno.readTextFile(join(folder, "sub/dir/extra.json")), "{}");
    assertMatch(await Deno.readLink(join(folder, "sub/dir/extra.json")), /^\.\.\/\.\.\/\.\.\/\.\.\/blobs\//);
    assertEquals(
      await Deno.readTextFile(join(repository(options.cacheDir), "refs", "refs", "pr", "1")),
      COMMIT,
    );
    assert(hub.requests.some((r) => r.path.endsWith("/revision/refs/pr/1")));
  });
});

Deno.test("resolveModelFolder() takes optional files where they are and remembers that they are not", async () => {
  await withHub(async (hub, options) => {
    const optional = { ...options, optionalFiles: ["tokenizer.json", "merges.txt"], revision: COMMIT };
    hub.files.set("merges.txt", encoder.encode("#version: 0.2\n"));
    const folder = await resolveModelFolder("org/tiny", optional);
    assertEquals([...Deno.readDirSync(folder)].map((e) => e.name).sort(), [
      "config.json",
      "merges.txt",
      "model.safetensors",
    ]);
    assert(await Deno.stat(join(repository(options.cacheDir), ".no_exist", COMMIT, "tokenizer.json")));
    // a commit does not change: nothing is asked for a second time
    const before = hub.requests.length;
    assertEquals(await resolveModelFolder("org/tiny", optional), folder);
    assertEquals(hub.requests.length, before);
  });
});

Deno.test("resolveModelFolder() works from a warm cache without network, and says what a cold one lacks", async () => {
  await withHub(async (hub, options) => {
    const offline = { ...options, localFilesOnly: true };
    await assertFails(
      resolveModelFolder("org/tiny", offline),
      "not-cached",
      `Cannot load "org/tiny" without network: the cache ${
        JSON.stringify(repository(options.cacheDir))
      } must have revision "main"`,
    );
    assertEquals(hub.requests.length, 0);
    const folder = await resolveModelFolder("org/tiny", options);
    const before = hub.requests.length;
    assertEquals(await resolveModelFolder("org/tiny", offline), folder);
    await assertFails(
      resolveModelFolder("org/tiny", { ...offline, files: [...FILES, "vocab.json"] }),
      "not-cached",
      'must have "vocab.json"',
    );
    assertEquals(hub.requests.length, before);
    // the same when the hub cannot be reached or is down
    const unreachable = { ...options, hubUrl: "http://127.0.0.1:1" };
    assertEquals(await resolveModelFolder("org/tiny", unreachable), folder);
    hub.api = () => new Response("down", { status: 503 });
    assertEquals(await resolveModelFolder("org/tiny", options), folder);
    await assertFails(
      resolveModelFolder("org/other", unreachable),
      "offline",
      'there is no local folder "org/other" either',
    );
  });
});

Deno.test("resolveModelFolder() reads a cache that Python's huggingface_hub wrote", async () => {
  const cacheDir = await Deno.makeTempDir();
  const folder = join(cacheDir, "models--gpt2");
  await Deno.mkdir(join(folder, "refs"), { recursive: true });
  await Deno.mkdir(join(folder, "blobs"));
  await Deno.mkdir(join(folder, "snapshots", COMMIT), { recursive: true });
  await Deno.writeTextFile(join(folder, "refs", "main"), COMMIT);
  await Deno.writeFile(join(folder, "blobs", gitSha1(CONFIG)), CONFIG);
  await Deno.symlink(`../../blobs/${gitSha1(CONFIG)}`, join(folder, "snapshots", COMMIT, "config.json"));
  const found = await resolveModelFolder("gpt2", { cacheDir, localFilesOnly: true, files: ["config.json"] });
  assertEquals(found, join(folder, "snapshots", COMMIT));
  await Deno.remove(cacheDir, { recursive: true });
});

Deno.test("resolveModelFolder() takes a new commit of a branch", async () => {
  await withHub(async (hub, options) => {
    await resolveModelFolder("org/tiny", options);
    hub.commit = "f".repeat(40);
    hub.files.set("config.json", encoder.encode('{"model_type":"gpt2","n_layer":2}'));
    const folder = await resolveModelFolder("org/tiny", options);
    assertStringIncludes(folder, hub.commit);
    assertStringIncludes(await Deno.readTextFile(join(folder, "config.json")), "n_layer");
    assertEquals(hub.hits, [...FILES, "config.json"]); // the weights did not change
  });
});

Deno.test("resolveModelFolder() names the failure for 401, 403, 404 and a missing required file", async () => {
  await withHub(async (hub, options) => {
    for (const status of [401, 403]) {
      hub.api = () => Response.json({ error: "no" }, { status });
      const error = await assertFails(
        resolveModelFolder("org/tiny", options),
        "unauthorized",
        `Cannot download "org/tiny": it does not exist or needs permission (status ${status})`,
      );
      assertEquals(error.status, status);
      assertStringIncludes(error.message, "HF_TOKEN");
    }
    hub.api = () => new Response("no", { status: 404 });
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "not-found",
      "has no such model, revision or file",
    );
    hub.api = undefined;
    await assertFails(
      resolveModelFolder("org/tiny", { ...options, files: ["config.json", "vocab.json"] }),
      "not-found",
      'Cannot download "org/tiny": "vocab.json" is required, and the model has no such file',
    );
    hub.trick = () => new Response("gone", { status: 404 });
    await assertFails(resolveModelFolder("org/tiny", options), "not-found", '"config.json"');
    assertEquals(blobsIn(options.cacheDir), []);
  });
});

Deno.test("resolveModelFolder() tries again after 408, 429 and 5xx, and gives up in the end", async () => {
  await withHub(async (hub, options) => {
    const statuses = [408, 429, 500, 503];
    hub.trick = () => {
      const status = statuses.shift();
      return status ? new Response("later", { status, headers: { "Retry-After": "0" } }) : undefined;
    };
    await resolveModelFolder("org/tiny", options);
    assertEquals(hub.hits.length, 6);
    hub.files.set("vocab.json", encoder.encode("{}"));
    hub.trick = () => new Response("later", { status: 503 });
    const error = await assertFails(
      resolveModelFolder("org/tiny", {
        ...options,
        files: ["vocab.json"],
        cacheDir: join(options.cacheDir, "new"),
      }),
      "status",
      "received 503",
    );
    assertEquals(error.status, 503);
    assertEquals(hub.hits.length, 6 + 5);
  });
});

Deno.test("resolveModelFolder() rejects wrong bytes of the right size, and leaves nothing of them", async () => {
  await withHub(async (hub, options) => {
    hub.trick = (_, bytes) => {
      const wrong = bytes.slice();
      wrong[7]! ^= 1;
      return new Response(wrong);
    };
    await assertFails(
      resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] }),
      "bad-answer",
      `Cannot download "model.safetensors": content with hash ${
        sha256(WEIGHTS)
      } is required, received other bytes`,
    );
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", gitSha1(CONFIG));
    assertEquals(blobsIn(options.cacheDir), []);
  });
});

Deno.test("resolveModelFolder() rejects an error page with status 200, and a body that does not end", async () => {
  await withHub(async (hub, options) => {
    hub.trick = () => new Response("<html>busy</html>");
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "bad-answer",
      `Cannot download "config.json": ${CONFIG.length} bytes were announced, received 17`,
    );
    hub.trick = (_, bytes) => new Response(new Blob([bytes.slice(), new Uint8Array(10)]).stream());
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "bad-answer",
      "bytes were announced, received more",
    );
    assertEquals(blobsIn(options.cacheDir), []);
  });
});

for (
  const [where, count] of [["at once", 0], ["after 1 byte", 1], ["half way", 150_000], [
    "before the last byte",
    299_999,
  ]] as const
) {
  Deno.test(`resolveModelFolder() continues a connection that drops ${where}`, async () => {
    await withHub(async (hub, options) => {
      let drops = 2;
      hub.trick = (request, bytes) => {
        if (drops-- <= 0) return undefined;
        const from = Number(/\d+/.exec(request.headers.get("Range") ?? "0")![0]);
        return from > 0
          ? broken(
            bytes.slice(from),
            0,
            "206 Partial Content",
            `Content-Range: bytes ${from}-299999/300000\r\n`,
          )
          : broken(bytes, count);
      };
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
      assertEquals(hub.hits.length, 3);
      if (count > 1) assertEquals(hub.hits.at(-1), `model.safetensors bytes=${count}-`);
      assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
    });
  });
}

Deno.test("resolveModelFolder() restarts when the answer to a Range does not continue the file", async () => {
  const answers: Record<string, (bytes: Uint8Array) => Response> = {
    "200 with the whole file": (bytes) => new Response(bytes.slice()),
    "206 shifted by one": (bytes) =>
      new Response(bytes.slice(150_001), {
        status: 206,
        headers: { "Content-Range": "bytes 150001-299999/300000" },
      }),
    "206 of another size": (bytes) =>
      new Response(bytes.slice(150_000), {
        status: 206,
        headers: { "Content-Range": "bytes 150000-299999/300001" },
      }),
    "206 without Content-Range": (bytes) => new Response(bytes.slice(150_000), { status: 206 }),
    "416": () => new Response("no", { status: 416 }),
  };
  for (const [name, answer] of Object.entries(answers)) {
    await withHub(async (hub, options) => {
      hub.trick = (_, bytes, hit) =>
        hit === 1 ? broken(bytes, 150_000) : hit === 2 ? answer(bytes) : undefined;
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS, name);
    });
  }
});

Deno.test("resolveModelFolder() gives up after 5 drops without a new byte, and the next call continues", async () => {
  await withHub(async (hub, options) => {
    const request = { ...options, files: ["model.safetensors"] };
    hub.trick = (_, bytes, hit) =>
      hit === 1 ? broken(bytes, 100_000) : broken(
        bytes.slice(100_000),
        0,
        "206 Partial Content",
        "Content-Range: bytes 100000-299999/300000\r\n",
      );
    await assertFails(resolveModelFolder("org/tiny", request), "offline", "Cannot");
    assertEquals(hub.hits.length, 6);
    const [partial] = blobsIn(options.cacheDir);
    assertMatch(partial!, /^[0-9a-f]{64}\.[0-9a-f]{8}\.incomplete$/);
    // the file of a process that is gone: continued, its bytes hashed again
    const path = join(repository(options.cacheDir), "blobs", partial!);
    const past = new Date(Date.now() - 60_000);
    await Deno.utime(path, past, past);
    hub.trick = undefined;
    hub.hits.length = 0;
    const folder = await resolveModelFolder("org/tiny", request);
    assertEquals(hub.hits, ["model.safetensors bytes=100000-"]);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
  });
});

Deno.test("resolveModelFolder() starts anew when the continued part is damaged or too long", async () => {
  for (const length of [100_000, 300_000, 400_000]) {
    await withHub(async (hub, options) => {
      const blobs = join(repository(options.cacheDir), "blobs");
      await Deno.mkdir(blobs, { recursive: true });
      const path = join(blobs, `${sha256(WEIGHTS)}.00000000.incomplete`);
      await Deno.writeFile(path, new Uint8Array(length));
      const past = new Date(Date.now() - 60_000);
      await Deno.utime(path, past, past);
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
      assertEquals(hub.hits.at(-1), "model.safetensors");
      assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
    });
  }
});

Deno.test("resolveModelFolder() fetches a damaged blob again", async () => {
  await withHub(async (hub, options) => {
    const folder = await resolveModelFolder("org/tiny", options);
    const blob = join(repository(options.cacheDir), "blobs", sha256(WEIGHTS));
    await Deno.truncate(blob, 10); // a wrong size is always seen
    await resolveModelFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    const wrong = WEIGHTS.slice();
    wrong[0]! ^= 1;
    await Deno.writeFile(blob, wrong); // wrong bytes with verify
    await resolveModelFolder("org/tiny", { ...options, verify: true });
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(hub.hits, [...FILES, "model.safetensors", "model.safetensors"]);
  });
});

Deno.test("resolveModelFolder() refuses hashes, sizes and commits that are none", async () => {
  await withHub(async (hub, options) => {
    for (
      const info of [
        { lfs: { oid: "../../x", size: 5 } },
        { lfs: { oid: "A".repeat(64), size: 5 } },
        { lfs: { oid: "0".repeat(40), size: 5 } },
        { lfs: undefined, oid: undefined },
        { lfs: { oid: "0".repeat(64), size: -1 } },
        { lfs: { oid: "0".repeat(64), size: "9" } },
      ]
    ) {
      hub.info.set("model.safetensors", info);
      await assertFails(
        resolveModelFolder("org/tiny", options),
        "bad-answer",
        "a content hash and a size are required",
      );
    }
    hub.info.clear();
    hub.commit = "../../../evil";
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "bad-answer",
      "a commit of 40 hex digits is required",
    );
    hub.api = () => new Response("{", { headers: { "Content-Type": "application/json" } });
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", "answer is not valid");
    assertEquals([...Deno.readDirSync(options.cacheDir)], []);
  });
});

Deno.test("resolveModelFolder() refuses file names and revisions that leave the cache", async () => {
  await withHub(async (hub, options) => {
    for (const bad of ["../x", "/x", "a/../../x", "a\\b", "CON"]) {
      await assertRejects(
        () => resolveModelFolder("org/tiny", { ...options, files: [bad] }),
        RangeError,
        "plain relative",
      );
      await assertRejects(
        () => resolveModelFolder("org/tiny", { ...options, revision: bad }),
        RangeError,
        "plain relative",
      );
    }
    assertEquals(hub.requests.length, 0);
  });
});

Deno.test("resolveModelFolder() stops waiting for a server that stalls or never answers", async () => {
  await withHub(async (hub, options) => {
    hub.trick = (_, bytes) =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(bytes.slice(0, 5)),
        }),
      );
    const quick = {
      ...options,
      files: ["config.json"],
      timeouts: { stallMs: 30, connectMs: 40, retryMs: 1 },
    };
    await assertFails(resolveModelFolder("org/tiny", quick), "offline", "nothing arrived for 30 ms");
    const silent: typeof fetch = (_, init) =>
      new Promise((_, reject) => init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason)));
    await assertFails(
      resolveModelFolder("org/other", { ...quick, fetch: silent }),
      "offline",
      "no answer within 40 ms",
    );
  });
});

Deno.test("resolveModelFolder() sends the token to the hub alone and never shows it", async () => {
  await withHub(async (hub, options) => {
    const other = serveHub();
    other.trick = undefined;
    const token = "hf_secret_token";
    hub.trick = (request) => Response.redirect(request.url.replace(hub.url, other.url), 302);
    await resolveModelFolder("org/tiny", { ...options, token });
    assert(hub.requests.length > 0 && hub.requests.every((r) => r.authorization === `Bearer ${token}`));
    assertEquals(other.requests.map((r) => r.authorization), [null, null]);
    const leaks = [...walk(options.cacheDir)].filter((path) => {
      const text = new TextDecoder().decode(Deno.readFileSync(path));
      return text.includes(token) || path.includes(token);
    });
    assertEquals(leaks, []);
    hub.api = () => new Response("no", { status: 403 });
    const error = await assertFails(
      resolveModelFolder("org/tiny", { ...options, token }),
      "unauthorized",
      "403",
    );
    assert(!`${error.stack} ${Deno.inspect(error)}`.includes(token));
    // plain http to another machine gets no token
    const seen: (string | null)[] = [];
    const plain: typeof fetch = (_, init) => {
      seen.push(new Headers(init?.headers).get("Authorization"));
      return Promise.resolve(new Response("no", { status: 404 }));
    };
    await assertFails(
      resolveModelFolder("org/tiny", { ...options, token, hubUrl: "http://hub.example", fetch: plain }),
      "not-found",
      "no such model",
    );
    assertEquals(seen, [null]);
    await other.stop();
  });
});

Deno.test("resolveModelFolder() refuses redirect loops, downgrades and private targets", async () => {
  const targets: Record<string, string> = {
    "http://cdn.example/x": "received http://cdn.example",
    "file:///etc/passwd": "received file://",
    "https://169.254.169.254/latest": "received https://169.254.169.254",
    "https://localhost/x": "received https://localhost",
    "https://[::1]/x": "received https://[::1]",
    "": "received none",
  };
  for (const [target, message] of Object.entries(targets)) {
    const redirecting: typeof fetch = () =>
      Promise.resolve(new Response(null, { status: 302, headers: { Location: target } }));
    const cacheDir = await Deno.makeTempDir();
    const options = {
      cacheDir,
      hubUrl: "https://hub.example",
      fetch: redirecting,
      token: "t",
      timeouts: { retryMs: 1 },
    };
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", message);
    await Deno.remove(cacheDir, { recursive: true });
  }
  await withHub(async (hub, options) => {
    hub.trick = (request) => Response.redirect(request.url, 302);
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", "more than 10 redirects");
    assertEquals(hub.hits.length, 11);
  });
});

Deno.test("resolveModelFolder() lets two callers fetch one model at a time", async () => {
  await withHub(async (_, options) => {
    const [a, b] = await Promise.all([
      resolveModelFolder("org/tiny", options),
      resolveModelFolder("org/tiny", options),
    ]);
    assertEquals(a, b);
    assertEquals(await Deno.readFile(join(a!, "model.safetensors")), WEIGHTS);
    assertEquals(blobsIn(options.cacheDir), [gitSha1(CONFIG), sha256(WEIGHTS)].sort());
  });
});

Deno.test("resolveCheckpointFolder() fetches the shards that an index lists", async () => {
  await withHub(async (hub, { files: _, ...options }) => {
    const shard = (value: number) =>
      serialize({ [`w${value}`]: { dtype: "F32", shape: [1], data: Float32Array.of(value) } });
    hub.files.delete("model.safetensors");
    hub.files.set("1.safetensors", shard(1));
    hub.files.set("2.safetensors", shard(2));
    hub.files.set(
      "model.safetensors.index.json",
      encoder.encode('{"weight_map":{"w1":"1.safetensors","w2":"2.safetensors"}}'),
    );
    const folder = await resolveCheckpointFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "2.safetensors")), shard(2));
    assertEquals(await resolveCheckpointFolder("org/tiny", { ...options, localFilesOnly: true }), folder);
    assertEquals(await resolveCheckpointFolder(folder), folder);
    hub.files.set("model.safetensors.index.json", encoder.encode('{"weight_map":{"w1":"../1.safetensors"}}'));
    await assertRejects(
      () => resolveCheckpointFolder("org/tiny", { ...options, cacheDir: `${options.cacheDir}/2` }),
      SyntaxError,
      "plain relative path",
    );
  });
});

Deno.test("resolveCheckpointFolder() takes the one weights file", async () => {
  await withHub(async (hub, { files: _, ...options }) => {
    const folder = await resolveCheckpointFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(hub.hits, FILES);
  });
});

function* walk(folder: string): Iterable<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* walk(path);
    else yield path;
  }
}

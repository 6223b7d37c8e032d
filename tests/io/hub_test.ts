import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { type HubProgress, resolveModelFolder } from "../../io/hub.ts";
import { snapshotDownload } from "../../io/hub_snapshot.ts";
import { resolveCheckpointFolder } from "../../io/model_folder.ts";
import { serialize } from "../../io/safetensors.ts";
import {
  assertFails,
  blobsIn,
  COMMIT,
  CONFIG,
  encoder,
  FILES,
  gitSha1,
  repository,
  sha256,
  WEIGHTS,
  withHub,
} from "./fake_hub.ts";

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

Deno.test("resolveModelFolder() tells a file from a folder", () =>
  withHub(async (_hub, options) => {
    const folder = await Deno.makeTempDir();
    const before = Deno.cwd();
    Deno.chdir(folder);
    try {
      await Deno.writeTextFile("my.jsonl", "{}");
      await Deno.writeTextFile("model.safetensors", "");
      const unreachable = { ...options, hubUrl: "http://127.0.0.1:1" };
      await assertFails(
        resolveModelFolder("my.jsonl", unreachable),
        "offline",
        '; "my.jsonl" here is a file, where a folder is required',
      );
      await assertRejects(
        () => resolveModelFolder(`${folder}/model.safetensors`),
        Error,
        `Cannot find model folder "${folder}/model.safetensors": a folder is required, received a file; give the folder that it is in`,
      );
    } finally {
      Deno.chdir(before);
      await Deno.remove(folder, { recursive: true });
    }
  }));

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
    const { name: folder } = await resolveCheckpointFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "2.safetensors")), shard(2));
    assertEquals(
      (await resolveCheckpointFolder("org/tiny", { ...options, localFilesOnly: true })).name,
      folder,
    );
    assertEquals((await resolveCheckpointFolder(folder)).name, folder);
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
    const { name: folder } = await resolveCheckpointFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(hub.hits, FILES);
  });
});

Deno.test("resolveCheckpointFolder() downloads no weights of a model whose configuration is refused", async () => {
  await withHub(async (hub, { files: _, ...options }) => {
    const checkConfig = (config: Record<string, unknown>) => {
      throw new TypeError(`${Object.keys(config).length} fields`);
    };
    const fields = Object.keys(JSON.parse(new TextDecoder().decode(CONFIG))).length;
    await assertRejects(
      () => resolveCheckpointFolder("org/tiny", { ...options, checkConfig }),
      TypeError,
      `${fields} fields`,
    );
    assertEquals(blobsIn(options.cacheDir), [gitSha1(CONFIG)]);
    assertEquals(hub.hits, ["config.json"]);
  });
});

Deno.test("snapshotDownload() without network says that the cache lacks the model, not that it has no such file", async () => {
  await withHub(async (hub, options) => {
    const offline = { ...options, localFilesOnly: true };
    await assertFails(
      snapshotDownload("org/tiny", offline),
      "not-cached",
      `Cannot load "org/tiny" without network: the cache ${
        JSON.stringify(repository(options.cacheDir))
      } must have revision "main"`,
    );
    assertEquals(hub.requests.length, 0);
    const folder = await snapshotDownload("org/tiny", options);
    assertEquals(await snapshotDownload("org/tiny", offline), folder);
    await assertFails(
      snapshotDownload("org/tiny", { ...offline, allowPatterns: ["*.gguf"] }),
      "not-found",
      'a file like "*.gguf" is required, received none',
    );
  });
});

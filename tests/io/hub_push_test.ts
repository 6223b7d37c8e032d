/**
 * Pushing to a hub on this machine: models, adapters, tokenizers, folders; wrong names and tokens, connections that
 * break, pushes that are repeated.
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  getPeftModel,
  HubError,
  LoraConfig,
  PeftModel,
} from "@peft/webgpu";
import { type PushToHubOptions, uploadFolder } from "@peft/webgpu/hub";
import { type PushHub, servePushHub, textIn } from "./push_hub.ts";
import { sha256 } from "./fake_hub.ts";

const MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;

async function withHub(body: (hub: PushHub, options: PushToHubOptions) => Promise<void>): Promise<void> {
  const hub = servePushHub();
  try {
    const timeouts = { retryMs: 1, connectMs: 2000, stallMs: 2000 };
    await body(hub, { hubUrl: hub.url, token: "hf_me", timeouts });
  } finally {
    await hub.stop();
  }
}

/** A folder of a small file and a large one. */
async function withFolder(body: (folder: string, weights: Uint8Array) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const weights = Uint8Array.from({ length: 300_000 }, (_, i) => i * 31 + (i >> 8));
  try {
    await Deno.writeTextFile(`${folder}/adapter_config.json`, "{}");
    await Deno.writeFile(`${folder}/adapter_model.safetensors`, weights);
    await body(folder, weights);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const temporaryFolders = () =>
  [...Deno.readDirSync(Deno.env.get("TMPDIR") ?? "/tmp")].filter(({ name }) =>
    name.startsWith("peft-webgpu-push-")
  )
    .length;

const failure = async (push: Promise<unknown>, kind: HubError["failure"], message: RegExp) => {
  const error = await assertRejects(() => push, HubError);
  assertEquals(error.failure, kind, error.message);
  assertMatch(error.message, message);
};

const LORA = { r: 2, targetModules: ["c_attn"], initLoraWeights: "gaussian" } as const;

Deno.test("PeftModel.pushToHub() makes a repository with adapter and card, which fromPretrained() loads with the same logits", async () => {
  await withHub(async (hub, options) => {
    const before = temporaryFolders();
    const cacheDir = await Deno.makeTempDir();
    const model = await AutoModelForCausalLM.fromPretrained(MODEL);
    const peft = getPeftModel(model, new LoraConfig(LORA));
    const logits = await peft.forward({ inputIds: [[1, 2, 3]] }).logits.data();
    const info = await peft.pushToHub("pirate", { ...options, private: true, tags: ["pirate"] });
    assertEquals([info.repoId, info.repoUrl, info.prUrl], ["me/pirate", `${hub.url}/me/pirate`, null]);
    assertEquals(temporaryFolders(), before);
    const repo = hub.repos.get("me/pirate")!;
    const main = repo.branches.get("main")!;
    assertEquals([repo.visibility, main.commit], ["private", info.oid]);
    assertEquals(main.log, [{ summary: "Upload model" }]);
    assertEquals([...main.files.keys()].sort(), [
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
    const card = textIn(main, "README.md")!;
    assertMatch(card, /^---\n[^]*library_name: peft\n[^]*tags: \["pirate"\]\n---\n/);
    assert(!card.includes("base_model:"), card); // the folder of this test is no model of the hub
    const again = await AutoModelForCausalLM.fromPretrained(MODEL);
    const loaded = await PeftModel.fromPretrained(again, info.repoId, {
      ...{ cacheDir, hubUrl: hub.url, token: "hf_me" },
    });
    assertEquals(await loaded.forward({ inputIds: [[1, 2, 3]] }).logits.data(), logits);
    peft.dispose();
    loaded.dispose();
    await Deno.remove(cacheDir, { recursive: true });
  });
});

Deno.test("a second push keeps what the repository's card says and sends no large file again", async () => {
  await withHub(async (hub, options) => {
    const peft = getPeftModel(await AutoModelForCausalLM.fromPretrained(MODEL), new LoraConfig(LORA));
    await peft.pushToHub("org/pirate", options);
    const main = hub.repos.get("org/pirate")!.branches.get("main")!;
    const own = "---\nlicense: mit\ntags:\n- mine\n---\n\nWritten by hand.\n";
    main.files.set("README.md", new TextEncoder().encode(own));
    hub.requests.length = 0;
    await peft.pushToHub("org/pirate", { ...options, tags: ["pirate", "mine"], commitMessage: "Again" });
    const after = hub.repos.get("org/pirate")!.branches.get("main")!;
    const card = textIn(after, "README.md")!;
    assertMatch(card, /license: mit\ntags: \["mine","pirate"\]\n[^]*Written by hand\./);
    assertEquals(after.log.map(({ summary }) => summary), ["Upload model", "Again"]);
    assertEquals(hub.requests.filter((request) => request.startsWith("PUT ")), []);
    peft.dispose();
  });
});

Deno.test("CausalLM.pushToHub() and tokenizer.pushToHub() make a model that loads by its id, whole and in shards", async () => {
  await withHub(async (hub, options) => {
    const cacheDir = await Deno.makeTempDir();
    const model = await AutoModelForCausalLM.fromPretrained(MODEL);
    const logits = await model.forward({ inputIds: [[1, 2, 3]] }).logits.data();
    const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
    for (const maxShardSize of [undefined, "1MB"]) {
      const id = maxShardSize ? "org/shards" : "org/whole";
      await model.pushToHub(id, { ...options, maxShardSize });
      await tokenizer.pushToHub(id, options);
      const { log, files } = hub.repos.get(id)!.branches.get("main")!;
      assertEquals(log.map(({ summary }) => summary), ["Upload model", "Upload tokenizer"]);
      assertMatch(
        textIn(hub.repos.get(id)!.branches.get("main"), "README.md")!,
        /library_name: transformers/,
      );
      const weights = [...files.keys()].filter((name) => name.endsWith(".safetensors"));
      assertEquals(weights.includes("model.safetensors"), !maxShardSize);
      assert(!maxShardSize || weights.length > 2, weights.join());
      for (const name of maxShardSize ? weights : []) assert(files.get(name)!.length < 1.1e6, name);
      const source = { cacheDir, hubUrl: hub.url, token: "hf_me" };
      const loaded = await AutoModelForCausalLM.fromPretrained(id, source);
      assertEquals(await loaded.forward({ inputIds: [[1, 2, 3]] }).logits.data(), logits);
      const read = await AutoTokenizer.fromPretrained(id, source);
      assertEquals(read.encode("Ahoy there"), tokenizer.encode("Ahoy there"));
      loaded.dispose();
    }
    model.dispose();
    await Deno.remove(cacheDir, { recursive: true });
  });
});

Deno.test("uploadFolder() pushes large files in parts, to a new branch or as a pull request, without hidden files and checkpoints", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder, weights) => {
      hub.partBytes = 100_000;
      await Deno.mkdir(`${folder}/checkpoint-5`);
      for (const name of ["checkpoint-5/optimizer.bin", ".token"]) {
        await Deno.writeTextFile(`${folder}/${name}`, "x");
      }
      const states: string[] = [];
      const onUpload: PushToHubOptions["onUpload"] = ({ file, part }) => states.push(`${file} ${part}`);
      await uploadFolder("org/tiny", folder, { ...options, revision: "dev", onUpload });
      const repo = hub.repos.get("org/tiny")!;
      const dev = repo.branches.get("dev")!;
      assertEquals([...dev.files.keys()].sort(), ["adapter_config.json", "adapter_model.safetensors"]);
      assertEquals(sha256(dev.files.get("adapter_model.safetensors")!), sha256(weights));
      assertEquals(hub.requests.filter((request) => request.startsWith("PUT ")).length, 3);
      assertEquals(repo.branches.get("main")!.files.size, 0);
      assert(states.includes("adapter_model.safetensors 1"), states.join());

      const info = await uploadFolder("org/tiny", folder, { ...options, createPr: true });
      assertEquals(info.prUrl, `${hub.url}/org/tiny/discussions/1`);
      assertEquals([repo.requests.length, repo.branches.get("main")!.files.size], [1, 0]);
    });
  });
});

Deno.test("a name, token or option that is wrong is refused by name, and nothing is asked or saved", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder) => {
      for (const id of ["", "a/b/c", "me/../x", "me/x.git", "-me/x", "me/x--y"]) {
        await assertRejects(() => uploadFolder(id, folder, options), TypeError, "the name of a repository");
      }
      const push = (more: object) => uploadFolder("me/x", folder, { ...options, ...more });
      await assertRejects(() => push({ commit_message: "x" }), TypeError, 'did you mean "commitMessage"');
      await assertRejects(
        () => push({ safeSerialization: false }),
        RangeError,
        "pickle files are never written",
      );
      await assertRejects(() => push({ tags: "pirate" }), TypeError, "tags must be a list of texts");
      await assertRejects(() => push({ token: "a b" }), RangeError, "printable ASCII");
      await failure(push({ token: "" }), "unauthorized", /an access token is required, received none/);
      await assertRejects(
        () => uploadFolder("me/x", `${folder}/none`, options),
        Error,
        "where there is none",
      );
      assertEquals(hub.requests, []);
      await failure(push({ token: "hf_unknown" }), "unauthorized", /status 401: Invalid credentials/);
      await failure(push({ token: "hf_reader" }), "unauthorized", /status 403: You don't have the rights/);
      const foreign = uploadFolder("other/x", folder, options);
      await failure(foreign, "unauthorized", /under the namespace "other"/);
      assertEquals(hub.repos.size, 0);
    });
  });
});

Deno.test("somebody else's repository takes a pull request and no commit", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder) => {
      hub.users.set("hf_other", { name: "other", role: "write" });
      await uploadFolder("other/x", folder, { ...options, token: "hf_other" });
      await failure(uploadFolder("other/x", folder, options), "unauthorized", /open a pull request/);
      const { prUrl } = await uploadFolder("other/x", folder, { ...options, createPr: true });
      assertEquals(prUrl, `${hub.url}/other/x/discussions/1`);
    });
  });
});

Deno.test("a push that is cut off commits nothing, and repeated sends only what is missing", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder) => {
      await Deno.writeFile(`${folder}/second.safetensors`, new Uint8Array(1000).fill(7));
      const fails = (what: RegExp) => (request: string) =>
        what.test(request) ? new Response(null, { status: 503, headers: { "Retry-After": "0" } }) : undefined;
      hub.trick = fails(/^POST .*\/commit\//);
      await failure(uploadFolder("me/x", folder, options), "status", /received status 503/);
      assertEquals(hub.repos.get("me/x")!.branches.get("main")!.files.size, 0);
      assertEquals(hub.large.size, 2);
      hub.requests.length = 0;
      hub.trick = undefined;
      await uploadFolder("me/x", folder, options);
      assertEquals(hub.requests.filter((request) => request.startsWith("PUT ")), []);
      assertEquals(hub.repos.get("me/x")!.branches.get("main")!.files.size, 3);
    });
  });
});

Deno.test("a passing error and a broken connection are tried again; a commit that opens a pull request is not", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder) => {
      const hits = new Map<string, number>();
      hub.trick = (request) => {
        const count = (hits.get(request) ?? 0) + 1;
        hits.set(request, count);
        return count === 1 ? new Response(null, { status: 502 }) : undefined;
      };
      await uploadFolder("me/x", folder, options);
      assertEquals(hub.repos.get("me/x")!.branches.get("main")!.files.size, 2);
      assertEquals(new Set(hits.values()), new Set([2]));
      hits.clear();
      await failure(
        uploadFolder("me/x", folder, { ...options, createPr: true }),
        "status",
        /received status 502/,
      );
      assertEquals(hits.get("POST /api/models/me/x/commit/main"), 1);
      assertEquals(hub.repos.get("me/x")!.requests.length, 0);
    });
  });
  await withFolder(async (folder) => {
    const options = { hubUrl: "http://127.0.0.1:9", token: "hf_me", timeouts: { retryMs: 1 } };
    await failure(uploadFolder("me/x", folder, options), "offline", /received no answer .*; push again/);
  });
});

Deno.test("a signal ends a push before its commit", async () => {
  await withHub(async (hub, options) => {
    await withFolder(async (folder) => {
      const abort = new AbortController();
      hub.trick = (request) => {
        if (request.startsWith("PUT ")) abort.abort(new Error("enough"));
        return undefined;
      };
      const { signal } = abort;
      await assertRejects(() => uploadFolder("me/x", folder, { ...options, signal }), Error, "enough");
      assertEquals(hub.repos.get("me/x")!.branches.get("main")!.files.size, 0);
    });
  });
});

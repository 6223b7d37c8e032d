/**
 * The commands of the hub, as a user runs them, against a hub on this machine.
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type PushHub, servePushHub } from "../io/push_hub.ts";
import { cache } from "../../cli/hub/cache.ts";
import { download } from "../../cli/hub/download.ts";
import { login } from "../../cli/hub/login.ts";
import { logout } from "../../cli/hub/logout.ts";
import { push } from "../../cli/hub/push.ts";

const root = new URL("../../", import.meta.url).pathname;
const COMMANDS: Readonly<Record<string, { readonly permissions: readonly string[] }>> = {
  cache,
  download,
  login,
  logout,
  push,
};

/** Runs commands with a home of their own, and the permissions that their help names. */
async function withHome(
  body: (
    run: (args: string[], stdin?: string) => Promise<{ code: number; out: string; error: string }>,
    hub: PushHub,
    home: string,
  ) => Promise<void>,
): Promise<void> {
  const home = await Deno.makeTempDir();
  const hub = servePushHub();
  const env = { HF_HOME: home, HF_ENDPOINT: hub.url, HF_TOKEN: "", HF_HUB_CACHE: "", NO_COLOR: "1" };
  const run = async (args: string[], stdin = "") => {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--no-check", "--quiet", "--no-prompt", ...COMMANDS[args[0]].permissions],
        ...["--config", `${root}deno.json`, `${root}cli/main.ts`, ...args],
      ],
      ...{ env, stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin)).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, out: decode(stdout), error: decode(stderr) };
  };
  try {
    await body(run, hub, home);
  } finally {
    await hub.stop();
    await Deno.remove(home, { recursive: true });
  }
}

Deno.test("login keeps a token that the hub knows where Python does, push and download use it, logout removes it", async () => {
  await withHome(async (run, hub, home) => {
    const refused = await run(["login"], "hf_unknown\n");
    assertEquals(refused.code, 1);
    assertMatch(refused.error, /a valid access token is required, received one that the hub does not know/);
    assertEquals([...Deno.readDirSync(home)], []);
    assertMatch((await run(["login"])).error, /an access token is required, received none/);

    const kept = await run(["login", "--json"], "hf_me\n");
    assertEquals([kept.code, JSON.parse(kept.out).name], [0, "me"], kept.error);
    assert(!kept.out.includes("hf_me"));
    assertEquals(await Deno.readTextFile(`${home}/token`), "hf_me");
    assertEquals((await Deno.stat(`${home}/token`)).mode! & 0o777, 0o600);

    const folder = `${root}examples/demo/model`;
    const pushed = await run(["push", "--folder", folder, "--repo", "demo", "--private", "--tags", "a, b"]);
    assertEquals(pushed.code, 0, pushed.error);
    const { visibility, branches } = hub.repos.get("me/demo")!;
    const main = branches.get("main")!;
    assertEquals([visibility, pushed.out.trim()], ["private", `${hub.url}/me/demo/commit/${main.commit}`]);
    assert(main.files.has("model.safetensors") && main.files.has("README.md"));

    const got = await run(["download", "--model", "me/demo", "--json"]);
    assertEquals(got.code, 0, got.error);
    const { folder: snapshot } = JSON.parse(got.out);
    assertEquals(snapshot, `${home}/hub/models--me--demo/snapshots/${main.commit}`);
    assertEquals(
      await Deno.readFile(`${snapshot}/model.safetensors`),
      await Deno.readFile(`${folder}/model.safetensors`),
    );
    const gguf = await run(["download", "--model", "me/demo", "--include", "*.gguf"]);
    assertMatch(gguf.error, /a file like "\*\.gguf" is required, received none/);

    const out = await run(["logout"]);
    assertMatch(out.out, /is removed/);
    assertMatch((await run(["logout"])).out, /there is no token/);
    const none = await run(["push", "--folder", folder, "--repo", "demo"]);
    assertEquals(none.code, 1);
    assertMatch(none.error, /an access token is required, received none; log in/);
  });
});

Deno.test("cache lists models with their sizes and branches, and deletes one", async () => {
  await withHome(async (run, _hub, home) => {
    assertMatch((await run(["cache"])).out, /^0 models, 0\.0 MB/);
    const commit = "a".repeat(40);
    for (const [name, bytes] of [["models--org--name", 3_000_000], ["models--gpt2", 1000]] as const) {
      const folder = `${home}/hub/${name}`;
      await Deno.mkdir(`${folder}/blobs`, { recursive: true });
      await Deno.mkdir(`${folder}/snapshots/${commit}`, { recursive: true });
      await Deno.mkdir(`${folder}/refs/refs/pr`, { recursive: true });
      await Deno.writeFile(`${folder}/blobs/x`, new Uint8Array(bytes));
      await Deno.symlink("../../blobs/x", `${folder}/snapshots/${commit}/model.safetensors`);
      await Deno.writeTextFile(`${folder}/refs/main`, commit);
      await Deno.writeTextFile(`${folder}/refs/refs/pr/1`, commit);
    }
    const { models } = JSON.parse((await run(["cache", "--json"])).out);
    assertEquals(models.map(({ id }: { id: string }) => id), ["gpt2", "org/name"]);
    assertEquals(models[1].revisions, [{ commit, refs: ["main", "refs/pr/1"] }]);
    assertEquals(models[1].byteLength, 3_000_000 + 80);
    assertMatch((await run(["cache"])).out, /org\/name +3\.0 MB {2}main/);

    const gone = await run(["cache", "--delete", "org/name"]);
    assertMatch(gone.out, /org\/name is deleted: 3\.0 MB are free/);
    assertEquals([...Deno.readDirSync(`${home}/hub`)].map(({ name }) => name), ["models--gpt2"]);
    const missing = await run(["cache", "--delete", "org/name"]);
    assertEquals(missing.code, 1);
    assertMatch(missing.error, /Cannot delete "org\/name" from the cache: a model of .* is required/);
    assertMatch((await run(["cache", "--delete", "../x"])).error, /a hub id such as/);
  });
});

import { assert, assertEquals, assertRejects } from "@std/assert";
import { lockFolder } from "../../io/folder_lock.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
const module = JSON.stringify(new URL("../../io/folder_lock.ts", import.meta.url).href);

/** A process that holds the lock of `folder` until it is killed. */
async function holder(folder: string, permissions: string[]): Promise<Deno.ChildProcess> {
  const script = `import { lockFolder } from ${module};
await lockFolder(${JSON.stringify(folder)}, "train");
console.log("held");
setInterval(() => {}, 1000);`;
  const path = `${folder}.ts`;
  await Deno.writeTextFile(path, script);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-lock", "--no-prompt", ...permissions, path],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  await Deno.remove(path);
  return child;
}

Deno.test("lockFolder() refuses a second run in this process, and lets the next in after release", async () => {
  await inFolder(async (root) => {
    const folder = `${root}/new/out`;
    const lock = await lockFolder(folder, "train");
    assertEquals(names(folder), [".in-use.json"]);
    const error = await assertRejects(
      () => lockFolder(folder, "train"),
      Error,
      `Cannot train: a folder that no other run uses is required, received "${folder}", in use by process ${Deno.pid}`,
    );
    assert((error as Error).message.includes("choose another folder"), (error as Error).message);
    await lock.release();
    assertEquals(names(folder), []);
    await (await lockFolder(folder, "train")).release();
    assertEquals(names(folder), []);
  });
});

Deno.test("lockFolder() refuses while another process holds it, and takes over when that was killed", async () => {
  await inFolder(async (folder) => {
    const child = await holder(folder, ["-A"]);
    await assertRejects(() => lockFolder(folder, "train"), Error, `in use by process ${child.pid}`);
    child.kill("SIGKILL");
    await child.status;
    assertEquals(names(folder), [".in-use.json"]);
    const begin = performance.now();
    const lock = await lockFolder(folder, "train");
    assert(performance.now() - begin < 1000);
    await lock.release();
    assertEquals(names(folder), []);
  });
});

Deno.test("lockFolder() watches for signs of life where it may not ask for processes", async () => {
  await inFolder(async (folder) => {
    const child = await holder(folder, ["-A"]);
    // As another computer's: its process is not ours to see.
    const path = `${folder}/.in-use.json`;
    const lock = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...lock, host: "elsewhere" }));
    await assertRejects(() => lockFolder(folder, "train", { patienceMs: 4000 }), Error, "on elsewhere since");
    child.kill("SIGKILL");
    await child.status;
    await (await lockFolder(folder, "train", { patienceMs: 600 })).release();
    assertEquals(names(folder), []);
    await Deno.writeTextFile(path, "{"); // of a run that was killed while it wrote this
    await (await lockFolder(folder, "train", { patienceMs: 400 })).release();
  });
});

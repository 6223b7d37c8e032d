import { assert, assertEquals, assertRejects } from "@std/assert";
import { removeFolder, removeStagedFolder, verifyFolder, writeFolderAtomic } from "../../io/staged_folder.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = (folder: string) => Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();

/** Writes files `a` and `b/c` that hold `text`. */
const fillWith = (text: string) => async (folder: string) => {
  await Deno.writeTextFile(`${folder}/a`, text);
  await Deno.mkdir(`${folder}/b`);
  await Deno.writeTextFile(`${folder}/b/c`, text);
};

Deno.test("writeFolderAtomic() writes a folder whose manifest has size and SHA-256 of every file", async () => {
  await inFolder(async (root) => {
    await writeFolderAtomic(`${root}/new/out`, fillWith("abc"), { step: 7 });
    assertEquals(names(`${root}/new`), ["out"]);
    assertEquals(names(`${root}/new/out`), ["a", "b", "manifest.json"]);
    // sha256sum of "abc", FIPS 180-2
    const sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const manifest = JSON.parse(await Deno.readTextFile(`${root}/new/out/manifest.json`));
    const record = { size: 3, sha256 };
    assertEquals(manifest, { step: 7, files: { a: record, "b/c": record } });
    assertEquals(await verifyFolder(`${root}/new/out`), { step: 7 });
  });
});

Deno.test("writeFolderAtomic() replaces a folder whole", async () => {
  await inFolder(async (root) => {
    await writeFolderAtomic(`${root}/out`, fillWith("old"));
    await writeFolderAtomic(`${root}/out`, (folder) => Deno.writeTextFile(`${folder}/d`, "new"));
    assertEquals(names(root), ["out"]);
    assertEquals(names(`${root}/out`), ["d", "manifest.json"]);
    await verifyFolder(`${root}/out`);
  });
});

/** Puts files and a link of a user into a folder. */
async function addOwn(out: string): Promise<void> {
  await Deno.writeTextFile(`${out}/notes.md`, "mine");
  await Deno.mkdir(`${out}/b/runs`, { recursive: true });
  await Deno.writeTextFile(`${out}/b/runs/log`, "mine too");
  await Deno.symlink("/nowhere", `${out}/link`);
}

/** Those files are as they were. */
async function assertOwn(out: string): Promise<void> {
  assertEquals(await Deno.readTextFile(`${out}/notes.md`), "mine");
  assertEquals(await Deno.readTextFile(`${out}/b/runs/log`), "mine too");
  assertEquals(await Deno.readLink(`${out}/link`), "/nowhere");
}

Deno.test("writeFolderAtomic() keeps what others put into the folder it replaces, also one without a manifest", async () => {
  await inFolder(async (root) => {
    await writeFolderAtomic(`${root}/out`, fillWith("old"));
    await addOwn(`${root}/out`);
    await writeFolderAtomic(`${root}/out`, (folder) => Deno.writeTextFile(`${folder}/d`, "new"));
    assertEquals(names(`${root}/out`), ["b", "d", "link", "manifest.json", "notes.md"]);
    assertEquals(names(`${root}/out/b`), ["runs"]);
    await assertOwn(`${root}/out`);
    await verifyFolder(`${root}/out`);
    await Deno.mkdir(`${root}/theirs`);
    await addOwn(`${root}/theirs`);
    await writeFolderAtomic(`${root}/theirs`, fillWith("new"));
    await assertOwn(`${root}/theirs`);
    assertEquals(await Deno.readTextFile(`${root}/theirs/b/c`), "new");
    await writeFolderAtomic(`${root}/theirs`, (folder) => Deno.writeTextFile(`${folder}/notes.md`, "ours"));
    assertEquals(
      await Deno.readTextFile(`${root}/theirs/notes.md`),
      "ours",
      "a file of the same name is written",
    );
  });
});

Deno.test("removeStagedFolder() removes what its manifest lists alone, and nothing of a folder without one", async () => {
  await inFolder(async (root) => {
    await writeFolderAtomic(`${root}/out`, fillWith("x"));
    await addOwn(`${root}/out`);
    assertEquals(await removeStagedFolder(`${root}/out`), false);
    await assertOwn(`${root}/out`);
    assertEquals(names(`${root}/out`), ["b", "link", "notes.md"]);
    assertEquals(await removeStagedFolder(`${root}/out`), false);
    await assertOwn(`${root}/out`);
    await writeFolderAtomic(`${root}/whole`, fillWith("x"));
    assertEquals(await removeStagedFolder(`${root}/whole`), true);
    assertEquals(names(root), ["out"]);
  });
});

Deno.test("writeFolderAtomic() leaves the old folder and nothing else when filling fails", async () => {
  await inFolder(async (root) => {
    await writeFolderAtomic(`${root}/out`, fillWith("old"));
    const fill = async (folder: string) => {
      await Deno.writeTextFile(`${folder}/a`, "new");
      throw new Error("no space left");
    };
    await assertRejects(
      () => writeFolderAtomic(`${root}/out`, fill),
      Error,
      `Cannot write folder "${root}/out": no space left`,
    );
    assertEquals(names(root), ["out"]);
    assertEquals(await Deno.readTextFile(`${root}/out/a`), "old");
    await verifyFolder(`${root}/out`);
  });
});

Deno.test("writeFolderAtomic() refuses links, which may lead out of the folder", async () => {
  await inFolder(async (root) => {
    const fill = (folder: string) => Deno.symlink("/etc/hostname", `${folder}/link`);
    await assertRejects(() => writeFolderAtomic(`${root}/out`, fill), Error, "received a link or device");
    assertEquals(names(root), []);
  });
});

Deno.test("writeFolderAtomic() removes what writers killed an hour ago left, and no younger folder", async () => {
  await inFolder(async (root) => {
    const [stale, young] = [1, 2].map(() => `${root}/.tmp-${crypto.randomUUID()}`);
    for (const folder of [stale, young, `${root}/.tmp-mine`]) await Deno.mkdir(folder);
    const hoursAgo = Date.now() / 1000 - 2 * 3600;
    for (const folder of [stale, `${root}/.tmp-mine`]) await Deno.utime(folder, hoursAgo, hoursAgo);
    await writeFolderAtomic(`${root}/out`, fillWith("x"));
    assertEquals(names(root), [young.slice(root.length + 1), ".tmp-mine", "out"].sort());
  });
});

Deno.test("verifyFolder() names what is missing, short or altered", async () => {
  await inFolder(async (root) => {
    const out = `${root}/out`;
    await writeFolderAtomic(out, fillWith("abc"));
    const refused = (message: string) =>
      assertRejects(() => verifyFolder(out), Error, `Cannot trust folder "${out}": ${message}`);
    await Deno.writeTextFile(`${out}/b/c`, "abd");
    await refused(`"b/c" has another SHA-256 than the manifest`);
    await Deno.writeTextFile(`${out}/b/c`, "ab");
    await refused(`"b/c" must have 3 bytes, received 2`);
    await Deno.remove(`${out}/b/c`);
    await refused(`"b/c" is missing or unreadable`);
    await Deno.writeTextFile(`${out}/manifest.json`, `{"files": {"../a": {"size": 3, "sha256": ""}}}`);
    await refused(`manifest.json names "../a"`);
    await Deno.writeTextFile(`${out}/manifest.json`, `{"files`);
    await refused(`a readable manifest.json is required`);
    await removeFolder(out);
    await refused(`a readable manifest.json is required`);
    await removeFolder(out);
  });
});

Deno.test("writeFolderAtomic() leaves a whole folder or none when the writer is killed at any moment", async () => {
  await inFolder(async (root) => {
    const script = `
      import { writeFolderAtomic } from ${
      JSON.stringify(new URL("../../io/staged_folder.ts", import.meta.url).href)
    };
      const bytes = new Uint8Array(200_000);
      for (let i = 0; ; i++) {
        await writeFolderAtomic(${JSON.stringify(`${root}/out`)}, async (folder) => {
          for (const name of ["a", "b", "c"]) await Deno.writeFile(folder + "/" + name, bytes.fill(i));
        }, { i });
        console.log(i);
      }`;
    await Deno.writeTextFile(`${root}/writer.ts`, script);
    let found = 0;
    for (let round = 0; round < 8; round++) {
      const writer = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--no-lock", `${root}/writer.ts`],
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = writer.stdout.getReader();
      await reader.read(); // it is at work
      await new Promise((resolve) => setTimeout(resolve, 3 * round + round ** 2 % 5));
      writer.kill("SIGKILL");
      await writer.status;
      await reader.cancel();
      const there = names(root).includes("out");
      if (!there) continue; // between the two renames of a replacement: the old folder is a temporary one
      await verifyFolder(`${root}/out`);
      const [a, b, c] = ["a", "b", "c"].map((name) => Deno.readFileSync(`${root}/out/${name}`));
      assertEquals([b, c], [a, a]);
      found++;
    }
    assert(found > 0);
  });
});

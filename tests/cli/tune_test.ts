/**
 * `./run tune`: what it times, where the picks go, and its mistakes.
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";

const root = new URL("../../", import.meta.url).pathname;
const LLAMA = `${root}tests/fixtures/llama/mistral`;

async function tune(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, "tune", ...args],
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: decode(stdout), err: decode(stderr) };
}

Deno.test("./run tune times a model's own shapes, and adds its picks to those that are kept", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/picks.json`;
  const kept = async () => Object.keys(JSON.parse(await Deno.readTextFile(file)).picks);
  const args = ["--model", LLAMA, "--tokens", "12", "--rounds", "1", "--file", file];
  const first = await tune(...args, "--only", "attention");
  assertEquals(first.code, 0, first.err);
  assertMatch(
    first.out,
    /^attention D8 Tq3 G2 window +attention 4x8 over 2, 12 queries, 12 keys, window 7$/m,
  );
  assertEquals((await kept()).sort(), ["attention D8 Tq0 G2 window", "attention D8 Tq3 G2 window"]);
  const second = await tune(...args, "--only", "adapter nt f32 12", "--lora", "4");
  assertEquals(second.code, 0, second.err);
  const classes = await kept();
  assert(classes.length > 2 && classes.includes("attention D8 Tq3 G2 window"), `${classes}`);
  assertMatch(second.out, /adapter nt f32 12x32x4/);
  assertMatch(second.out, /kept in .*picks\.json/);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("./run tune refuses a missing model, strange tokens and an --only that fits nothing", async () => {
  const refused: [string[], RegExp][] = [
    [[], /Cannot run tune: --model or --adapter is required/],
    [
      ["--model", LLAMA, "--tokens", "64,x"],
      /--tokens must be positive integers with commas between, received "64,x"/,
    ],
    [
      ["--model", LLAMA, "--tokens", "4", "--only", "nonsense"],
      /--only must be part of a shape's description, such as .*self_attn\.q_proj/,
    ],
    [["--model", LLAMA, "--rounds", "0"], /--rounds must be an integer from 1 to 1000, received 0/],
  ];
  for (const [args, message] of refused) {
    const { code, err } = await tune(...args);
    assertEquals(code, 1, err);
    assertMatch(err, message);
    assert(!/^\s+at /m.test(err), err);
  }
});

/**
 * The examples of the README, run as they stand there.
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Device, GPT2Config, GPT2LMHeadModel } from "@peft/webgpu";

const root = new URL("../", import.meta.url).pathname;

/** The TypeScript blocks of the README, in order. */
async function readmeBlocks(): Promise<string[]> {
  const text = await Deno.readTextFile(`${root}README.md`);
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]);
}

/** Runs a block in a folder of its own, which sees the repository's `examples`. */
async function runBlock(
  block: string,
  folder: string,
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  await Deno.writeTextFile(`${folder}/block.ts`, block);
  await Deno.symlink(`${root}examples`, `${folder}/examples`);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${folder}/block.ts`],
    cwd: folder,
    env,
  });
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

/** A cache of Hugging Face's layout in which "gpt2" is a GPT-2 of full size with random weights. */
async function cacheWithGpt2(cache: string): Promise<void> {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const repository = `${cache}/models--gpt2`;
  await Deno.mkdir(`${repository}/refs`, { recursive: true });
  await Deno.writeTextFile(`${repository}/refs/main`, commit);
  const device = await Device.create();
  const model = new GPT2LMHeadModel(new GPT2Config(), { device, seed: 1 });
  await model.savePretrained(`${repository}/snapshots/${commit}`);
  device.destroy();
}

Deno.test("the README's first example loads gpt2, wraps it with LoRA and gives logits [1, 5, 50257]", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const cache = `${folder}/hub`;
    await cacheWithGpt2(cache);
    const [block] = await readmeBlocks();
    const { code, stdout, stderr } = await runBlock(block, folder, {
      HF_HUB_CACHE: cache,
      HF_HUB_OFFLINE: "1",
    });
    assertEquals(code, 0, stderr);
    const lines = stdout.trim().split("\n");
    assertEquals(lines.filter((line) => line.endsWith(": true")).length, 24);
    assertEquals(lines.filter((line) => line.endsWith(": false")).length, 148);
    assertStringIncludes(
      stdout,
      "base_model.model.transformer.h.0.attn.c_attn.lora_A.default.weight: true\n",
    );
    assertStringIncludes(
      stdout,
      "trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364\n",
    );
    assertEquals(lines.at(-1), "[ 1, 5, 50257 ]");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the README's second example trains, saves, loads, merges and generates", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const block = (await readmeBlocks())[1];
    const { code, stdout, stderr } = await runBlock(block, folder);
    assertEquals(code, 0, stderr);
    const text = stdout.trim().split("\n").at(-1)!;
    assert(text.startsWith("Ahoy") && text.length > 20, stdout);
    const config = JSON.parse(await Deno.readTextFile(`${folder}/out/adapter/adapter_config.json`));
    assertEquals(config.peft_type, "LORA");
    assert((await Deno.stat(`${folder}/out/adapter/adapter_model.safetensors`)).size > 1000);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the README's example of several adapters mixes, combines, saves, loads and swaps them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const block = (await readmeBlocks()).find((text) => text.includes("addWeightedAdapter"))!;
    const { code, stdout, stderr } = await runBlock(block, folder);
    assertEquals(code, 0, stderr);
    const lines = stdout.trim().split("\n");
    assertStringIncludes(stdout, "Ahoy");
    assertStringIncludes(stdout, '[ "coast", "land", "sea" ]');
    assert(/^\[ 3, \d+, \d+ \]$/.test(lines.at(-1)!), stdout);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

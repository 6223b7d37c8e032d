/**
 * The command line as a user runs it: flags, exit codes, files, and errors without stacks.
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseFlags, UsageError } from "../../cli/command.ts";
import { finetune } from "../../cli/finetune.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;

async function run(args: string[], env: Record<string, string> = {}) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, ...args],
    env,
  });
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

/** Runs a command that must fail with one line and no stack. */
async function fails(args: string[], code: number, message: RegExp, env: Record<string, string> = {}) {
  const result = await run(args, env);
  assertEquals(result.code, code, result.stderr);
  assertMatch(result.stderr, message);
  const lines = result.stderr.trim().split("\n").filter((line) => line.startsWith("error: Cannot "));
  assertEquals(lines.length, 1, result.stderr);
  assert(!/^\s+at /m.test(result.stderr), result.stderr);
}

Deno.test("main() prints every command, and every flag of a command with --help", async () => {
  const all = await run(["--help"]);
  assertEquals(all.code, 0);
  for (const name of ["finetune", "generate", "info"]) {
    assertStringIncludes(all.stdout, name);
    const { code, stdout } = await run([name, "--help"]);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "--model");
    assertStringIncludes(stdout, "Examples:");
  }
});

Deno.test("parseFlags() checks names, types, ranges, choices and required flags", () => {
  const required = ["--model", "m", "--data", "d", "--output", "o"];
  const values = parseFlags(finetune, [...required, "--rank", "4", "--rslora"])!;
  assertEquals([values.rank, values.rslora, values.alpha, values["eval-data"]], [4, true, 16, undefined]);
  assertEquals(parseFlags(finetune, ["--help"]), null);
  const cases: [string[], RegExp][] = [
    [["--ranks", "4"], /^Cannot run finetune: Unknown option '--ranks'; see finetune --help$/],
    [[], /--model is required/],
    [[...required, "--rank", "four"], /--rank must be an integer, received "four"/],
    [[...required, "--rank", "1.5"], /--rank must be an integer, received "1.5"/],
    [[...required, "--rank", "0"], /--rank must be from 1 to 4096, received 0/],
    [[...required, "--dropout", "1.5"], /--dropout must be from 0 to 1, received 1.5/],
    [[...required, "--schedule", "steps"], /--schedule must be one of linear, cosine/],
    [[...required, "extra"], /Unexpected argument 'extra'/],
  ];
  for (const [args, message] of cases) {
    let caught: unknown;
    try {
      parseFlags(finetune, args);
    } catch (error) {
      caught = error;
    }
    assert(caught instanceof UsageError, `${args}`);
    assertMatch(caught.message, message);
  }
});

Deno.test("main() exits with 1 and one line for a mistake of the user", async () => {
  await fails(["fly"], 1, /Cannot run "fly": the commands are finetune, generate, info/);
  await fails(["generate", "--model", "./no/such/folder", "--prompt", "a"], 1, /Cannot find model folder/);
  const folder = await Deno.makeTempDir();
  const common = ["finetune", "--model", MODEL, "--output", `${folder}/adapter`, "--max-steps", "1"];
  await Deno.writeTextFile(`${folder}/empty.txt`, "");
  await Deno.writeTextFile(`${folder}/bad.jsonl`, '{"text": "one"}\n{"txt": 1}\n');
  await fails([...common, "--data", `${folder}/empty.txt`], 1, /Cannot /);
  await fails([...common, "--data", `${folder}/bad.jsonl`], 1, /line 2/);
  await fails(
    [...common, "--data", `${root}examples/demo/data/pirate.jsonl`, "--targets", "q_proj"],
    1,
    /targetModules \["q_proj"\] match no module; .*"c_proj"/,
  );
  await assertEmpty(`${folder}/adapter`);
  await Deno.remove(folder, { recursive: true });
});

/** Fails if a folder was written. */
async function assertEmpty(folder: string): Promise<void> {
  const entry = await Deno.stat(folder).catch(() => null);
  assertEquals(entry, null, `${folder} was written`);
}

Deno.test("main() exits with 2 and says what to install without an adapter", async () => {
  const none = {
    VK_ICD_FILENAMES: "/nonexistent",
    VK_DRIVER_FILES: "/nonexistent",
    DENO_WEBGPU_BACKEND: "vulkan",
  };
  await fails(["info"], 2, /Cannot find a WebGPU adapter: .*mesa-vulkan-drivers/, none);
});

Deno.test("finetune, info and generate work together on the demo's model", async () => {
  const folder = await Deno.makeTempDir();
  const adapter = `${folder}/adapter`;
  const trained = await run([
    ...["finetune", "--model", MODEL, "--data", `${root}examples/demo/data/pirate.jsonl`],
    ...["--eval-data", `${root}examples/demo/data/pirate_held_out.jsonl`, "--output", adapter],
    ...[
      "--max-steps",
      "6",
      "--batch-size",
      "2",
      "--block-size",
      "64",
      "--lr",
      "4e-3",
      "--targets",
      "all-linear",
    ],
  ]);
  assertEquals(trained.code, 0, trained.stderr);
  assertStringIncludes(trained.stdout, "trainable params: ");
  const [, before, after] = /held-out loss ([\d.]+) -> ([\d.]+)/.exec(trained.stdout)!;
  assert(Number(after) < Number(before), trained.stdout);
  const config = JSON.parse(await Deno.readTextFile(`${adapter}/adapter_config.json`));
  assertEquals([config.peft_type, config.r, config.lora_alpha], ["LORA", 8, 16]);

  const shown = await run(["info", "--model", MODEL, "--adapter", adapter, "--parameters"]);
  assertEquals(shown.code, 0, shown.stderr);
  assertStringIncludes(shown.stdout, "GPT-2, 4 layers, 4 heads, 128 wide");
  assertStringIncludes(shown.stdout, "lora_A.default.weight [8, 128] float32 trains");

  const args = [
    "generate",
    "--model",
    MODEL,
    "--adapter",
    adapter,
    "--prompt",
    "Ahoy",
    "--max-new-tokens",
    "8",
  ];
  const first = await run([...args, "--sample", "--seed", "3"]);
  assertEquals(first.code, 0, first.stderr);
  assert(first.stdout.startsWith("Ahoy") && first.stdout.length > 10, first.stdout);
  assertEquals((await run([...args, "--sample", "--seed", "3"])).stdout, first.stdout);
  await Deno.remove(folder, { recursive: true });
});

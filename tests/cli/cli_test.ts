/**
 * The command line as a user runs it: flags, exit codes, files, and errors without stacks.
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseFlags, UsageError } from "../../cli/command.ts";
import { finetune } from "../../cli/training/finetune.ts";
import { isUserError } from "../../jobs/user_errors.ts";

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
  for (const name of ["chat", "finetune", "generate", "info", "tune", "evaluate", "merge", "convert"]) {
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
  assertEquals([values.rank, values.rslora, values.alpha, values["eval-data"]], [
    4,
    true,
    undefined,
    undefined,
  ]);
  assertEquals(parseFlags(finetune, ["--help"]), null);
  const cases: [string[], RegExp][] = [
    [
      ["--ranks", "4"],
      /^Cannot run finetune: Unknown option '--ranks', did you mean '--rank'\?; see finetune --help$/,
    ],
    [[], /--model is required/],
    [[...required, "--rank", "four"], /--rank must be an integer from 1 to 4096, received "four"/],
    [[...required, "--rank", "1.5"], /--rank must be an integer from 1 to 4096, received 1.5/],
    [[...required, "--rank", "0"], /--rank must be an integer from 1 to 4096, received 0/],
    [[...required, "--dropout", "1.5"], /--dropout must be a number from 0 to 1, received 1.5/],
    [
      [...required, "--schedule", "steps"],
      /--schedule must be "linear", "cosine", .* or "constant_with_warmup", received "steps"/,
    ],
    [
      [...required, "--nodes", "-1"],
      /^Cannot run finetune: --nodes must have a value; one that begins with a dash follows "=", as in --nodes=-1; see finetune --help$/,
    ],
    [[...required, "--nodes=-1"], /--nodes must be an integer from 1 to 1024, received -1/],
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
  await fails(
    ["fly"],
    1,
    /Cannot run "fly": the commands are chat, finetune, sweep, worker, generate, serve, info/,
  );
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

Deno.test("isUserError() tells mistakes of the user from defects, whatever the class", () => {
  const caught = (body: () => unknown): unknown => {
    try {
      body();
    } catch (error) {
      return error;
    }
  };
  const nothing = JSON.parse("null");
  const defects = [
    caught(() => nothing.length),
    caught(() => nothing["a: b"]),
    caught(() => (nothing.a = 1)),
    caught(() => {
      const { a } = nothing;
      return a;
    }),
    caught(() => Object.defineProperty(Object.freeze({}), "a", { value: 1 })),
    caught(() => Object.defineProperty(Object.defineProperty({}, "a", { value: 1 }), "a", { value: 2 })),
    caught(() => 1n + (1 as unknown as bigint)),
    new Error("no such thing"),
    "text",
  ];
  for (const defect of defects) assertEquals(isUserError(defect), false, String(defect));
  for (
    const mistake of [
      new TypeError('Cannot apply lora: targetModules ["a"] match no module'),
      new Error('Cannot open "C:\\x": no such file or folder'),
      new Deno.errors.NotCapable("Requires env access"),
      new UsageError("anything"),
    ]
  ) assertEquals(isUserError(mistake), true, String(mistake));
});

Deno.test("the command line without permissions prints help, and one line that names what is missing", async () => {
  const plain = async (args: string[]) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--no-check",
        "--config",
        `${root}deno.json`,
        `${root}cli/main.ts`,
        ...args,
      ],
    });
    const { code, stdout, stderr } = await child.output();
    return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
  };
  const help = await plain(["--help"]);
  assertEquals([help.code, help.out.includes("./run <command> --help")], [0, true], help.err);
  const info = await plain(["info", "--model", MODEL]);
  assertEquals(info.code, 1, info.err);
  const lines = info.err.trim().split("\n").filter((line) => line.startsWith("error: "));
  assertEquals(lines.length, 1, info.err);
  assertMatch(lines[0], /--allow-read/);
  assert(!/^\s+at /m.test(info.err), info.err);
});

Deno.test("finetune checks --output before it loads anything", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/file`, "kept");
  for (const output of [`${folder}/file`, `${folder}/file/below`, ""]) {
    await fails(
      ["finetune", "--model", `${folder}/none`, "--data", `${folder}/none`, "--output", output],
      1,
      /Cannot run finetune: --output: a folder that can be written to is required, received/,
    );
  }
  assertEquals(await Deno.readTextFile(`${folder}/file`), "kept");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Ctrl-C saves a checkpoint and says how to go on; --resume does, or says that there is none", async () => {
  const folder = await Deno.makeTempDir();
  const args = [
    ...["finetune", "--model", MODEL, "--data", `${root}examples/demo/data/pirate.jsonl`],
    ...["--output", `${folder}/out`, "--batch-size", "1", "--block-size", "32"],
  ];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, ...args]
      .concat("--max-steps", "100000"),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reading = new Response(child.stdout).text();
  let errorText = "";
  const decoder = new TextDecoder();
  let asked = false;
  for await (const chunk of child.stderr) {
    errorText += decoder.decode(chunk, { stream: true });
    if (!asked && /step [1-9]/.test(errorText)) { // the first step is done: the kernels are compiled
      asked = true;
      child.kill("SIGINT");
    }
  }
  const text = await reading;
  const { code } = await child.status;
  assertEquals(code, 130, text + errorText);
  assertMatch(
    errorText,
    /stopping after this step, to save a checkpoint; press Ctrl-C again to stop at once/,
  );
  const [, step, path] =
    /stopped after step (\d+); checkpoint written to (\S+); give the same command with --resume/
      .exec(text)!;
  assertEquals(path, `${folder}/out/checkpoint-${step}`);
  const steps = String(Number(step) + 2);
  const resumed = await run([...args, "--max-steps", steps, "--resume"]);
  assertEquals(resumed.code, 0, resumed.stderr);
  assertStringIncludes(resumed.stdout, `continuing from ${path}`);
  assertStringIncludes(resumed.stdout, `${steps} steps, mean loss`);

  const fresh = await run([
    ...args.map((arg) => arg === `${folder}/out` ? `${folder}/new` : arg),
    "--max-steps",
    "1",
    "--resume",
  ]);
  assertEquals(fresh.code, 0, fresh.stderr);
  assertStringIncludes(fresh.stdout, `no checkpoint in ${folder}/new: training starts from the beginning`);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("info and generate take a GGUF file of a folder by --gguf-file, and say which there are", async () => {
  const folder = await Deno.makeTempDir();
  const fixtures = `${root}tests/fixtures/gguf`;
  await Deno.copyFile(`${fixtures}/gpt2_f32.gguf`, `${folder}/f32.gguf`);
  await Deno.copyFile(`${fixtures}/gpt2_f16.gguf`, `${folder}/f16.gguf`);
  await fails(["info", "--model", folder], 1, /must name one of its 2 GGUF files, "f16.gguf", "f32.gguf"/);
  const { code, stdout, stderr } = await run(["info", "--model", folder, "--gguf-file", "f16.gguf"]);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "GPT-2, 3 layers");
  await fails(
    ["generate", "--model", folder, "--gguf-file", "f8.gguf", "--prompt", "a"],
    1,
    /"f8.gguf" is required, received a folder without it/,
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("generate --no-repeat-ngram-size and --presence-penalty change the text, and refuse what is out of range", async () => {
  const args = ["generate", "--model", MODEL, "--prompt", "Once upon a time", "--max-new-tokens", "40"];
  const plain = await run(args);
  for (const [flag, value, wrong] of [["no-repeat-ngram-size", "1", "-1"], ["presence-penalty", "3", "x"]]) {
    const other = await run([...args, `--${flag}`, value]);
    assertEquals(other.code, 0, other.stderr);
    assert(other.stdout !== plain.stdout, `${flag}: ${other.stdout}`);
    await fails([...args, `--${flag}=${wrong}`], 1, new RegExp(`Cannot run generate: --${flag} must be`));
  }
});

Deno.test("generate refuses what --sample alone makes use of, and names a missing adapter as one", async () => {
  for (const flag of ["--temperature", "--top-k", "--top-p", "--seed"]) {
    await fails(
      ["generate", "--model", MODEL, "--prompt", "a", flag, "1"],
      1,
      new RegExp(`Cannot run generate: ${flag} needs --sample, without which it has no effect`),
    );
  }
  await fails(
    ["generate", "--model", MODEL, "--prompt", ""],
    1,
    /--prompt must have at least one token, received ""/,
  );
  await fails(["generate", "--prompt", "a"], 1, /Cannot run generate: --model or --adapter is required/);
  await fails(
    ["generate", "--adapter", "./none", "--prompt", "a"],
    1,
    /Cannot find adapter folder "\.\/none"/,
  );
  await fails(["info", "--adapter", "./none"], 1, /Cannot find adapter folder "\.\/none"/);
});

Deno.test("info describes adapters of every kind, and finds the base by the adapter's file", async () => {
  const tiny = `${root}tests/fixtures/gpt2_tiny`;
  for (
    const [folder, lines] of [
      ["bottleneck/seq_bn", ["method", "reduction_factor"]],
      ["adapters/first", ["method           LoRA", "r                "]],
    ] as const
  ) {
    const { code, stdout, stderr } = await run([
      ...["info", "--model", tiny, "--adapter", `${root}tests/fixtures/${folder}`],
    ]);
    assertEquals(code, 0, stderr);
    assert(!stdout.includes("undefined") && !stdout.includes("null"), stdout);
    for (const line of lines) assertStringIncludes(stdout, line);
  }
  const copy = await Deno.makeTempDir();
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    await Deno.copyFile(`${root}tests/fixtures/adapters/first/${name}`, `${copy}/${name}`);
  }
  const config = JSON.parse(await Deno.readTextFile(`${copy}/adapter_config.json`));
  const write = (base: string | null) =>
    Deno.writeTextFile(
      `${copy}/adapter_config.json`,
      JSON.stringify({ ...config, base_model_name_or_path: base }),
    );
  await write(tiny);
  const alone = await run(["info", "--adapter", copy]);
  assertEquals(alone.code, 0, alone.stderr);
  assertStringIncludes(alone.stdout, `model       ${tiny}: GPT-2`);
  assertStringIncludes(alone.stdout, `adapter     ${copy}`);
  await write(null);
  await fails(
    ["info", "--adapter", copy],
    1,
    /--model is required, since the adapter ".*" does not name its base/,
  );
  await Deno.remove(copy, { recursive: true });
});

/**
 * Memory on the command line: `info --plan`, `--quantization`, and `finetune --memory`.
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = ["--model", `${root}examples/demo/model`];

async function run(args: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, ...args],
  });
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

Deno.test("info --plan shows what finetune needs, and the batch that a budget holds", async () => {
  const { code, stdout, stderr } = await run([
    "info",
    ...MODEL,
    "--plan",
    "--memory",
    "20",
    "--optim",
    "adamw_8bit",
  ]);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "plan        LoRA of rank 8, batches of 8 x 128 tokens, adamw_8bit");
  assertMatch(stdout, /without +with gradient checkpointing/);
  for (const row of ["weights", "adapter", "optimizer", "activations", "head and loss", "total"]) {
    assertMatch(stdout, new RegExp(`^  ${row} +[\\d.]+ MB +[\\d.]+ MB$`, "m"));
  }
  assertMatch(stdout, /20\.0 MB hold batches of up to [1-7] without gradient checkpointing/);
  const missing = await run(["info", "--plan"]);
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.stderr, "Cannot run info: --plan needs --model or --adapter");
});

Deno.test("info --quantization plans with weights in few bits, and refuses what does not go together", async () => {
  const weights = async (...flags: string[]) => {
    const { code, stdout, stderr } = await run(["info", ...MODEL, "--plan", ...flags]);
    assertEquals(code, 0, stderr);
    return Number(/^ {2}weights +([\d.]+) MB/m.exec(stdout)![1]);
  };
  const [plain, int8, nf4] = [
    await weights(),
    await weights("--quantization", "int8"),
    await weights("--quantization", "nf4", "--double-quant"),
  ];
  assert(nf4 < int8 && int8 < plain / 2, `${nf4}, ${int8}, ${plain}`);
  const refused = await run(["info", ...MODEL, "--double-quant"]);
  assertEquals(refused.code, 1);
  const whole = await run(["info", ...MODEL, "--plan", "--method", "full", "--quantization", "nf4"]);
  assertEquals(whole.code, 1, whole.stdout);
  assertStringIncludes(whole.stderr, "--method full trains weights of 32 bits, received --quantization nf4");
  assertStringIncludes(refused.stderr, 'doubleQuant is for quantization "nf4" and "fp4"');
});

Deno.test("finetune --memory refuses before training what does not fit, and trains what does with the same losses", async () => {
  const folder = await Deno.makeTempDir();
  const data = ["--data", `${root}examples/demo/data/pirate.jsonl`, "--max-steps", "2"];
  const train = (name: string, ...flags: string[]) =>
    run(["finetune", ...MODEL, ...data, "--output", `${folder}/${name}`, ...flags]);
  const refused = await train("refused", "--memory", "30");
  assertEquals(refused.code, 1);
  assertMatch(
    refused.stderr,
    /error: Cannot train within 30\.0 MB: [\d.]+ MB are required \(weights 3\.6 MB\); what would fit: gradient checkpointing/,
  );
  assert(!refused.stdout.includes("step"), refused.stdout);
  const fits = await train("fits", "--memory", "30", "--gradient-checkpointing");
  assertEquals(fits.code, 0, fits.stderr);
  const [, bytes] = /memory: at most ([\d.]+) MB on the device/.exec(fits.stdout)!;
  assert(Number(bytes) <= 30);
  const options = await train(
    "options",
    "--memory",
    "30",
    "--training-options",
    `{"gradient_checkpointing": true}`,
  );
  assertEquals(options.code, 0, options.stderr);
  assertStringIncludes(options.stdout, `memory: at most ${bytes} MB`);
  const plain = await train("plain");
  const loss = (text: string) => /2 steps, mean loss ([\d.]+)/.exec(text)![1];
  assertEquals(loss(fits.stdout), loss(plain.stdout));
  const weights = (name: string) => Deno.readFile(`${folder}/${name}/adapter_model.safetensors`);
  assertEquals(await weights("fits"), await weights("plain"));
  await Deno.remove(folder, { recursive: true });
});

/**
 * Commands beside `finetune` and `chat`, what all of them share, and every method of `finetune`.
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AutoModelForCausalLM, getPeftModel, safetensors } from "@peft/webgpu";
import { toFloat32 } from "../../io/safetensors.ts";
import { convert } from "../../cli/convert.ts";
import { evaluate } from "../../cli/evaluate.ts";
import { finetune } from "../../cli/training/finetune.ts";
import { generate } from "../../cli/generate.ts";
import { merge } from "../../cli/merge.ts";
import { type Command, parseFlags, readFlags, UsageError } from "../../cli/command.ts";
import { methodConfig, METHODS, type MethodValues } from "../../jobs/finetune/methods.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A command as a user runs it, with exactly these permissions. */
async function runWith(permissions: readonly string[], args: readonly string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--quiet", "--no-prompt", ...permissions, ...PROGRAM, ...args],
    stdin: "null",
  }).output();
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}
const PROGRAM = ["--config", `${root}deno.json`, `${root}cli/main.ts`];

/** The result that `--json` prints, of a command that is given the permissions that its help text names. */
async function result(command: unknown, ...args: string[]): Promise<Record<string, unknown>> {
  const { name, permissions } = command as Command;
  const { code, stdout, stderr } = await runWith(permissions, [name, ...args, "--json"]);
  assertEquals(code, 0, stderr);
  assertEquals(stdout.trim().split("\n").length, 1, stdout); // one object, and nothing else
  return JSON.parse(stdout);
}

const flagsFor = (...args: string[]) =>
  parseFlags(finetune, ["--model", "m", "--data", "d", "--output", "o", ...args])! as unknown as MethodValues;

Deno.test("finetune, generate, evaluate, merge and convert work with the permissions that their help names, and print JSON", async () => {
  const folder = await Deno.makeTempDir();
  const adapter = `${folder}/adapter`;
  try {
    const flags = ["--data", DATA, "--max-steps", "2", "--batch-size", "2", "--block-size", "32"];
    const options = `{"init_lora_weights": "pissa", "exclude_modules": ["c_fc"]}`;
    const method = ["--method", "lora", "--rank", "4", "--method-options", options];
    const trained = await result(finetune, "--model", MODEL, "--output", adapter, ...flags, ...method);
    assertEquals([trained.steps, trained.method, trained.output], [2, "lora", adapter]);
    const config = JSON.parse(await Deno.readTextFile(`${adapter}/adapter_config.json`));
    assertEquals([config.r, config.lora_alpha, config.init_lora_weights], [4, 8, "pissa"]);
    assertEquals(config.exclude_modules, ["c_fc"]);

    const said = await result(generate, "--adapter", adapter, "--prompt", "Once", "--max-new-tokens", "3");
    assertEquals([said.prompt, (said.tokens as number[]).length], ["Once", 3]);
    const before = await result(evaluate, "--adapter", adapter, "--data", DATA, "--block-size", "32");

    const merged = `${folder}/merged`;
    assertEquals((await result(merge, "--adapter", adapter, "--output", merged)).type, "float32");
    const after = await result(evaluate, "--model", merged, "--data", DATA, "--block-size", "32");
    assertAlmostEquals(after.loss as number, before.loss as number, 1e-5);
    assertEquals(after.tokens, before.tokens);

    const half = `${folder}/half`;
    await result(convert, "--model", merged, "--output", half, "--type", "bfloat16");
    assertEquals(JSON.parse(await Deno.readTextFile(`${half}/config.json`)).dtype, "bfloat16");
    const file = await safetensors.load(`${half}/model.safetensors`);
    const whole = await safetensors.load(`${merged}/model.safetensors`);
    assertEquals([...file.keys()].sort(), [...whole.keys()].sort());
    for (const [name, tensor] of file) {
      const [rounded, exact] = [tensor, whole.get(name)!].map(({ dtype, data }) => toFloat32(dtype, data));
      const worst = exact.reduce(
        (most, x, i) => Math.max(most, Math.abs(x - rounded[i]) / Math.abs(x || 1)),
        0,
      );
      assert(worst <= 2 ** -8, `${name}: ${worst}`); // 8 bits of precision
    }

    const gguf = `${folder}/merged.gguf`;
    await result(convert, "--model", merged, "--output", gguf, "--format", "gguf", "--type", "f16");
    const fromGguf = await result(evaluate, "--model", gguf, "--data", DATA, "--block-size", "32");
    assertAlmostEquals(fromGguf.loss as number, before.loss as number, 2e-3);

    const plain = `${folder}/plain`;
    await result(convert, "--adapter", adapter, "--output", plain, "--to-lora");
    const lora = JSON.parse(await Deno.readTextFile(`${plain}/adapter_config.json`));
    assertEquals([lora.init_lora_weights, lora.r], [true, 8]);
    const same = await result(
      evaluate,
      "--model",
      MODEL,
      "--adapter",
      plain,
      "--data",
      DATA,
      "--block-size",
      "32",
    );
    assertAlmostEquals(same.loss as number, before.loss as number, 1e-5);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("doctor names adapter, limits and what fits; completion makes scripts that shells accept; errors are JSON too", async () => {
  const doctor = await runWith(["--allow-read", "--allow-sys=systemMemoryInfo"], [
    "doctor",
    "--json",
    "--memory",
    "420",
  ]);
  assertEquals(doctor.code, 0, doctor.stderr);
  const { adapter, gflops, models } = JSON.parse(doctor.stdout);
  assert(adapter.length > 0 && gflops > 0);
  const fits = Object.fromEntries(models.map(({ name, fits }: Record<string, string>) => [name, fits]));
  assertEquals([fits["SmolLM2-135M"], fits["Mistral-7B"]], ["fits in NF4", "does not fit"]);

  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout } = await runWith([], ["completion", "--shell", shell]);
    assertEquals(code, 0);
    for (const word of ["finetune", "method", "boft", "doctor"]) {
      assert(stdout.includes(word), `${shell}: ${word}`);
    }
  }
  const script = (await runWith([], ["completion", "--shell", "bash"])).stdout;
  const words = (line: string[]) =>
    `COMP_WORDS=(${line.join(" ")}); COMP_CWORD=${line.length - 1}; _peft_webgpu; echo "\${COMPREPLY[@]}"`;
  const asked = [["run", "fine"], ["run", "finetune", "--virt"], ["run", "finetune", "--method", "dor"]];
  const { stdout, stderr } = await new Deno.Command("bash", {
    args: ["--noprofile", "--norc", "-c", [script, ...asked.map(words)].join("\n")],
  }).output();
  assertEquals(decode(stdout).trim().split("\n"), ["finetune", "--virtual-tokens", "dora"], decode(stderr));

  const failed = await runWith(["--allow-read"], [
    "generate",
    "--model",
    "./none",
    "--prompt",
    "a",
    "--json",
  ]);
  assertEquals(failed.code, 1);
  assertMatch(JSON.parse(failed.stdout).error, /^Cannot find model folder/);
});

Deno.test("--config reads YAML and JSON by names of flags, flags come first, and what is not right is refused by name", async () => {
  const folder = await Deno.makeTempDir();
  const read = async (text: string, ...args: string[]) => {
    await Deno.writeTextFile(`${folder}/run.yaml`, text);
    const given = ["--config", `${folder}/run.yaml`, ...args];
    return await readFlags(finetune as unknown as Command, given) as unknown as
      & Record<string, unknown>
      & MethodValues;
  };
  const base = "model: m\ndata: d\noutput: 5\n";
  try {
    const values = await read(
      `${base}targets: [c_attn, c_fc]\nmaxSteps: 7\nlr: 1e-3\nrslora: true\nmethod_options: {init_lora_weights: olora}\nseed: null\n`,
      ...["--max-steps", "9", "--no-rslora"],
    );
    assertEquals([values.output, values["max-steps"], values.lr, values.rslora], ["5", 9, 1e-3, false]);
    assertEquals([values.targets, values.seed], ["c_attn,c_fc", 42]);
    assertEquals((methodConfig(values, 10) as { initLoraWeights: unknown }).initLoraWeights, "olora");
    assertEquals(
      (await read(`{"model": "m", "data": "d", "output": "o", "batch_size": 3}`))["batch-size"],
      3,
    );
    const refused: [string, RegExp][] = [
      [`${base}epoch: 3`, /unknown option "epoch", did you mean "epochs"/],
      [`${base}rank: many`, /--rank must be an integer from 1 to 4096, received "many"/],
      [`${base}rank: 1.5`, /--rank must be an integer/],
      [`${base}packing: "yes"`, /--packing must be true or false, received "yes"/],
      ["- a\n- b", /run\.yaml": names of flags with their values are required, received a list/],
      ["a: [1", /run\.yaml": YAML or JSON is required/],
      ["", /received nothing/],
    ];
    for (const [text, message] of refused) {
      assertMatch((await assertRejects(() => read(text), Error)).message, message);
    }
    await assertRejects(
      () => readFlags(finetune as unknown as Command, ["--config", `${folder}/none.yaml`]),
      UsageError,
      "there is no such file",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

for (const method of Object.keys(METHODS) as (keyof typeof METHODS)[]) {
  Deno.test(`--method ${method} makes an adapter that trains`, async () => {
    const { uses } = METHODS[method];
    const sizes = [
      ...uses.includes("rank") ? ["--rank", "4"] : [],
      ...uses.includes("virtual-tokens") ? ["--virtual-tokens", "3"] : [],
    ];
    const config = methodConfig(flagsFor("--method", method, ...sizes), 100)!;
    const base = await AutoModelForCausalLM.fromPretrained(MODEL);
    const model = getPeftModel(base, config);
    const [trainable, all] = model.getNbTrainableParameters();
    assert(trainable > 0 && trainable < all / 3, `${trainable} of ${all}`);
    const ids = [[5, 6, 7, 8]];
    const { loss } = model.forward({ inputIds: ids, labels: ids });
    loss!.backward();
    const trained = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    assert(trained.length > 0 && trained.some(([, { grad }]) => grad !== null));
    model.dispose();
  });
}

Deno.test("methodConfig() sets what the flags say, and refuses flags that a method does not know", () => {
  const lora = methodConfig(flagsFor("--rank", "6"), 10)!.toJSON();
  assertEquals([lora.r, lora.lora_alpha, lora.target_modules, lora.use_dora], [6, 12, "all-linear", false]);
  assertEquals(methodConfig(flagsFor("--targets", "default"), 10)!.toJSON().target_modules, null);
  assertEquals(methodConfig(flagsFor("--method", "dora", "--alpha", "3"), 10)!.toJSON().lora_alpha, 3);
  const { total_step, tinit, tfinal, target_r } = methodConfig(flagsFor("--method", "adalora"), 50)!.toJSON();
  assertEquals([total_step, tinit, tfinal, target_r], [50, 5, 15, 8]);
  assertEquals(methodConfig(flagsFor("--method", "full"), 10), null);
  const refused: [string[], RegExp][] = [
    [["--method", "prompt", "--targets", "c_attn"], /--targets means nothing to --method prompt/],
    [["--method", "ia3", "--alpha", "3"], /--alpha means nothing to --method ia3/],
    [["--method", "ln", "--rslora"], /--rslora means nothing/],
    [["--method", "full", "--method-options", "{}"], /--method-options means nothing to --method full/],
    [["--method-options", "[1]"], /--method-options must be a JSON object, received \[1\]/],
    [
      ["--method-options", `{"lora_alfa": 1}`],
      /^Cannot configure lora: fields are taskType, .+, received loraAlfa, did you mean "loraAlpha"\?$/,
    ],
    [["--method", "ia3", "--rank", "4"], /--rank means nothing to --method ia3/],
    [["--method", "ia3", "--virtual-tokens", "7"], /--virtual-tokens means nothing to --method ia3/],
    [["--method", "full", "--targets", "all-linear"], /--targets means nothing to --method full/],
  ];
  for (const [args, message] of refused) {
    let caught: unknown;
    try {
      methodConfig(flagsFor(...args), 10);
    } catch (error) {
      caught = error;
    }
    assert(caught instanceof Error, `${args}`);
    assertMatch(caught.message, message);
  }
});

/** Runs finetune in this process; returns its result and what it said. */
async function finetuned(...args: string[]) {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(String(line));
  try {
    const found = await finetune.run(parseFlags(finetune, ["--model", MODEL, ...args])!);
    return { lines, result: found as Record<string, unknown> };
  } finally {
    console.log = log;
  }
}

Deno.test("finetune --task trains on preferences by every trainer, reports them, and refuses rows and flags of other tasks", async () => {
  const folder = await Deno.makeTempDir();
  const write = (name: string, rows: unknown[]) =>
    Deno.writeTextFile(`${folder}/${name}`, rows.map((row) => JSON.stringify(row)).join("\n"));
  const [good, bad] = [" The sun was warm.", " arr arr arr arr."];
  const prompts = Array.from(
    { length: 6 },
    (_, i) => `Once upon a time there was a ${["dog", "cat", "fox"][i % 3]}.`,
  );
  await write("pairs.jsonl", prompts.map((prompt) => ({ prompt, chosen: good, rejected: bad })));
  await write(
    "judged.jsonl",
    prompts.map((prompt, i) => ({ prompt, completion: i % 2 ? good : bad, label: i % 2 === 1 })),
  );
  const flags = "--max-steps 3 --batch-size 2 --eval-split 0.34 --block-size 48 --lr 5e-3".split(" ");
  const run = (task: string, ...more: string[]) => {
    const data = `${folder}/${task === "kto" ? "judged" : "pairs"}.jsonl`;
    return finetuned("--data", data, "--output", `${folder}/${task}`, "--task", task, ...flags, ...more);
  };
  try {
    for (const task of ["dpo", "orpo", "simpo", "kto"]) {
      const { result, lines } = await run(
        task,
        ...task === "dpo"
          ? ["--report", "--training-options", `{"optim": "lion_32bit", "weight_decay": 0.1}`]
          : [],
      );
      const [before, after] = [result.before, result.after] as Record<string, number>[];
      assert(after.evalLoss < before.evalLoss, `${task}: ${before.evalLoss} -> ${after.evalLoss}`);
      assert(after["evalRewards/chosen"] > before["evalRewards/chosen"], task);
      assert(lines.some((line) => line.startsWith("evalRewards/margins ")), lines.join("\n"));
      const card = await Deno.readTextFile(`${folder}/${task}/README.md`);
      assertMatch(card, new RegExp(`\\| task \\| ${task} \\|`));
    }
    const logOf = async (name: string) => {
      const lines = await Deno.readTextFile(`${folder}/${name}/run_log.jsonl`);
      return Object.fromEntries(
        lines.trim().split("\n").map((line) => JSON.parse(line)).map((e) => [e.event, e]),
      );
    };
    // rows for KTO have answers to learn, too
    const judged = ["--data", `${folder}/judged.jsonl`, "--output", `${folder}/sft`];
    const { lines } = await finetuned(...judged, ...flags, "--report");
    assertMatch(lines.join(), /held-out token accuracy [01]\.\d{4} -> [01]\.\d{4}/);
    assertMatch(await Deno.readTextFile(`${folder}/sft/README.md`), /\| method \| lora, r 8, /);
    const { log, evaluate } = await logOf("sft");
    assert(log.meanTokenAccuracy >= 0 && log.entropy > 0 && evaluate.evalMeanTokenAccuracy >= 0);
    const page = await Deno.readTextFile(`${folder}/dpo/report.html`);
    assert(page.includes("<figcaption>rewards/margins</figcaption>"));
    const { arguments: args } = (await logOf("dpo")).begin;
    assertEquals([args.optim, args.weight_decay], ["lion_32bit", 0.1]);
    const refused: [() => Promise<unknown>, RegExp][] = [
      [() => run("dpo", "--method", "full"), /--task dpo compares with the model without its adapter/],
      [() => run("dpo", "--packing"), /--packing is for --task sft/],
      [
        () => run("sft"),
        /Cannot train on "[^"]*pairs\.jsonl", line \d: a text or an answer to learn is required/,
      ],
      [() => run("sft", "--beta", "1"), /--beta is for tasks of preferences/],
      [
        () => finetuned("--data", DATA, "--output", `${folder}/x`, "--task", "dpo", ...flags),
        /with "chosen" and "rejected"/,
      ],
      [
        () => run("kto", "--training-options", `{"max_step": 3}`),
        /unknown option "maxStep", did you mean "maxSteps"/,
      ],
    ];
    for (const [run, message] of refused) {
      assertMatch((await assertRejects(run, Error)).message, message);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("evaluate --stride reads texts as one, each token from more context, and refuses rows that are none", async () => {
  const { log } = console;
  console.log = () => {};
  const folder = await Deno.makeTempDir();
  const measure = async (...args: string[]) =>
    await evaluate.run(parseFlags(evaluate, ["--model", MODEL, "--block-size", "64", ...args])!) as Record<
      string,
      number
    >;
  try {
    const [far, near] = [
      await measure("--data", DATA, "--stride", "16"),
      await measure("--data", DATA, "--stride", "63"),
    ];
    assert(far.tokens > 1000 && far.tokens === near.tokens);
    assert(far.loss !== near.loss && Math.abs(far.loss - near.loss) < 1, `${far.loss}, ${near.loss}`);
    assertAlmostEquals(Math.exp(far.loss), far.perplexity, 1e-6 * far.perplexity);
    await Deno.writeTextFile(`${folder}/a.jsonl`, `{"text": "Once"}\n{"prompt": "a", "completion": "b"}\n`);
    const message = /--stride reads texts, "[^"]*a\.jsonl", line 2 is a row of another form/;
    assertMatch(
      (await assertRejects(() => measure("--data", `${folder}/a.jsonl`, "--stride", "8"), UsageError))
        .message,
      message,
    );
    assertMatch(
      (await assertRejects(() => measure("--data", DATA, "--stride", "64"), UsageError)).message,
      /--stride must be below --block-size/,
    );
  } finally {
    console.log = log;
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("finetune says why a run ended early, and saves what was trained", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const flags = [
      "--data",
      DATA,
      "--output",
      folder,
      "--max-steps",
      "12",
      "--batch-size",
      "2",
      "--block-size",
      "16",
    ];
    const options = `{"loss_watchdog_threshold": 0.001, "loss_watchdog_patience": 2}`;
    const { result, lines } = await finetuned(...flags, "--training-options", options);
    assertEquals(result.steps, 5); // logs at steps 1 and 5
    assertMatch(String(result.stopReason), /lossWatchdogThreshold/);
    assert(lines.includes(`stopped after step 5: ${result.stopReason}`), lines.join("\n"));
    assert((await Deno.stat(`${folder}/adapter_model.safetensors`)).size > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

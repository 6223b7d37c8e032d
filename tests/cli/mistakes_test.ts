/**
 * What the command line refuses, by name and before anything is lost, and what it says of a run.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { convert } from "../../cli/convert.ts";
import { finetune } from "../../cli/training/finetune.ts";
import { InterruptedError } from "../../cli/interrupt.ts";
import { merge } from "../../cli/merge.ts";
import { tokenize } from "../../cli/tokenize.ts";
import { type Command, parseFlags, readFlags } from "../../cli/command.ts";
import { isUserError } from "../../cli/user_errors.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;

/** Runs a command in this process; returns its result and what it said. */
async function ran(command: unknown, ...args: string[]) {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(String(line));
  try {
    const plain = command as Command;
    return { result: await plain.run(parseFlags(plain, args)!) as Record<string, unknown>, lines };
  } finally {
    console.log = log;
  }
}

/** The message of a command line that is refused as a mistake of the user. */
async function refused(command: unknown, ...args: string[]): Promise<string> {
  const error = await assertRejects(() => ran(command, ...args), Error);
  assert(isUserError(error), String(error.stack));
  return error.message;
}

/** A folder that is removed after the test. */
async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const small = ["--max-steps", "1", "--batch-size", "2", "--block-size", "16"];

Deno.test("an --output that is one of the inputs, by any path or link, is refused and stays as it is", () =>
  withFolder(async (folder) => {
    const data = `${folder}/a.jsonl`;
    await Deno.copyFile(DATA, data);
    await Deno.symlink(data, `${folder}/link.jsonl`);
    await Deno.symlink(MODEL, `${folder}/model`);
    const before = await Deno.readTextFile(data);
    const tokens = ["--model", MODEL, "--data"];
    for (const output of [data, `${folder}/../${folder.split("/").at(-1)}/a.jsonl`, `${folder}/link.jsonl`]) {
      assertMatch(
        await refused(tokenize, ...tokens, data, "--output", output),
        /--output must be another place/,
      );
    }
    assertMatch(await refused(tokenize, ...tokens, folder, "--output", data), /another place than --data/);
    assertEquals(await Deno.readTextFile(data), before);
    assertMatch(
      await refused(tokenize, ...tokens, data, "--output", `${folder}/none/x.jsonl`),
      /--output cannot be written/,
    );
    const link = `${folder}/model`;
    assertMatch(await refused(convert, "--model", MODEL, "--output", link), /another place than --model/);
    const train = ["--data", data, ...small, "--output"];
    assertMatch(await refused(finetune, "--model", MODEL, ...train, link), /another place than --model/);
    const adapter = `${folder}/adapter`;
    await ran(finetune, "--model", MODEL, ...train, adapter);
    assertMatch(
      await refused(merge, "--adapter", adapter, "--output", link),
      /another place than the base model/,
    );
    assertMatch(
      await refused(merge, "--adapter", adapter, "--output", adapter),
      /another place than --adapter/,
    );
    const plain = await refused(convert, "--adapter", adapter, "--to-lora", "--output", `${folder}/plain`);
    assertMatch(plain, /Cannot convert adapter "default" to plain LoRA/);
  }));

Deno.test("the card tells the settings that were used, and settings that a flag owns are refused", () =>
  withFolder(async (folder) => {
    const args = [
      "--model",
      MODEL,
      "--data",
      DATA,
      "--output",
      `${folder}/a`,
      ...small,
      "--training-options",
    ];
    const options = {
      ...{ learning_rate: 0.5, lr_scheduler_type: "constant", warmup_steps: 1, seed: 7, max_steps: 2 },
      ...{ per_device_train_batch_size: 1, gradient_accumulation_steps: 3, optim: "lion_32bit" },
    };
    const { result } = await ran(finetune, ...args, JSON.stringify(options), "--report");
    assertEquals(result.steps, 2);
    const card = await Deno.readTextFile(`${folder}/a/README.md`);
    for (
      const row of [
        "| steps | 2 of 3 rows of up to 16 tokens |",
        "| learning rate | 0.5, constant, warmup 1 steps |",
        "| optimizer | lion_32bit |",
        "| seed | 7 |",
        `| mean training loss | ${(result.trainLoss as number).toFixed(4)} |`,
      ]
    ) assert(card.includes(row), `${row}\n${card}`);
    const page = await Deno.readTextFile(`${folder}/a/report.html`);
    assertMatch(page, /<span>last training loss<\/span>/);
    const mean = (result.trainLoss as number).toPrecision(5);
    assert(page.includes(`<b>${mean}</b><span>mean training loss</span>`), mean);
    assertMatch(
      await refused(finetune, ...args, `{"output_dir": "x"}`),
      /cannot set outputDir, which is --output/,
    );
    assertMatch(
      await refused(finetune, ...args, `{"reportTo": "jsonl"}`),
      /cannot set reportTo, which is --report/,
    );
  }));

Deno.test("--task simpo: --training-options come before its defaults, but do not make it another task", () =>
  withFolder(async (folder) => {
    const row = JSON.stringify({ prompt: "Once upon", chosen: " a time", rejected: " arr" });
    await Deno.writeTextFile(`${folder}/p.jsonl`, `${row}\n${row}\n`);
    const args = [
      "--model",
      MODEL,
      "--data",
      `${folder}/p.jsonl`,
      "--task",
      "simpo",
      ...small,
      "--training-options",
    ];
    const run = (name: string, options: string) =>
      ran(finetune, ...args, options, "--report", "--output", `${folder}/${name}`);
    const settings = async (name: string) => {
      const [line] = (await Deno.readTextFile(`${folder}/${name}/run_log.jsonl`)).split("\n");
      const { beta, max_length, loss_type, cpo_alpha } = JSON.parse(line).arguments;
      return [beta, max_length, loss_type, cpo_alpha];
    };
    await run("given", `{"beta": 3, "max_length": 12}`);
    assertEquals(await settings("given"), [3, 12, "simpo", 0]);
    await run("default", "{}");
    assertEquals(await settings("default"), [2, 16, "simpo", 0]);
    for (const options of [`{"loss_type": "hinge"}`, `{"cpo_alpha": 1}`]) {
      const message = await refused(finetune, ...args, options, "--output", `${folder}/x`);
      assertMatch(message, /--task simpo is lossType simpo with cpoAlpha 0/);
    }
  }));

Deno.test("an interrupted finetune says with --json where it can go on", () =>
  withFolder(async (folder) => {
    const args = [
      "--model",
      MODEL,
      "--data",
      DATA,
      "--output",
      `${folder}/a`,
      "--max-steps",
      "500",
      "--json",
    ];
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--quiet",
        "--config",
        `${root}deno.json`,
        `${root}cli/main.ts`,
        "finetune",
        ...args,
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const output = child.stdout.pipeThrough(new TextDecoderStream());
    let isAsked = false;
    const said = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        if (isAsked || !text.includes("trainable")) continue;
        isAsked = true;
        setTimeout(() => child.kill("SIGINT"), 1500);
      }
    })();
    const found = JSON.parse((await Array.fromAsync(output)).join(""));
    await said;
    assertEquals((await child.status).code, 130);
    assertEquals(found.interrupted, true);
    assert(found.steps > 0 && found.steps < 500, String(found.steps));
    assert((await Deno.stat(found.checkpoint)).isDirectory);
    assertEquals(new InterruptedError().result, { interrupted: true });
  }));

Deno.test("--config that is a folder is a mistake; JSON needs no permission beside reading, YAML what the help names", () =>
  withFolder(async (folder) => {
    const plain = finetune as unknown as Command;
    const error = await assertRejects(() => readFlags(plain, ["--config", folder]), Error);
    assert(isUserError(error), error.message);
    assertMatch(error.message, /Cannot read the configuration "[^"]+": /);
    const named = { model: MODEL, data: DATA, row: 1 };
    const run = async (name: string, text: string, ...permissions: string[]) => {
      await Deno.writeTextFile(`${folder}/${name}`, text);
      const program = ["--config", `${root}deno.json`, `${root}cli/main.ts`, "tokenize", "--json"];
      return await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--no-check", "--quiet", "--no-prompt", "--allow-read", ...permissions, ...program],
          ...["--config", `${folder}/${name}`],
        ],
        stdin: "null",
      }).output();
    };
    const text = ({ stderr }: Deno.CommandOutput) => new TextDecoder().decode(stderr);
    const json = await run("a.json", JSON.stringify(named));
    assertEquals(json.code, 0, text(json));
    const yaml = `model: ${MODEL}\ndata: ${DATA}\n`;
    const allowed = await run("a.yaml", yaml, "--allow-env=LOG_TOKENS,LOG_STREAM");
    assertEquals(allowed.code, 0, text(allowed));
    const denied = await run("a.yaml", yaml);
    assertEquals(denied.code, 1);
    assertMatch(text(denied), /error: Cannot go on: Requires env access to "LOG_TOKENS"/);
  }));

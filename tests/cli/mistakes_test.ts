/**
 * What the command line refuses, by name and before anything is lost, and what it says of a run.
 * @module
 */

import { existsSync } from "node:fs";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AutoTokenizer } from "@peft/webgpu";
import { completion } from "../../cli/completion.ts";
import { convert } from "../../cli/convert.ts";
import { finetune } from "../../cli/training/finetune.ts";
import { previewAnswers } from "../../cli/training/preview.ts";
import { merge } from "../../cli/merge.ts";
import { report } from "../../cli/report/report.ts";
import { tokenize } from "../../cli/tokenize.ts";
import { type Command, parseFlags, readFlags } from "../../cli/command.ts";
import { isUserError } from "../../jobs/user_errors.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;

/** A training of the demo's model whose output goes into a folder. */
const into = (folder: string) => ["--model", MODEL, "--data", DATA, "--output", `${folder}/a`];

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
      ...into(folder),
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
      ...into(folder),
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

Deno.test("finetune refuses flags without effect, prints samples that nothing keeps, and says what --resume finds", () =>
  withFolder(async (folder) => {
    const args = ["--model", MODEL, "--data", DATA, "--output", `${folder}/a`, "--batch-size", "2"];
    const common = [...args, "--block-size", "16"];
    assertMatch(await refused(finetune, ...common, "--method", "ia3", "--rank", "4"), /--rank means nothing/);
    assertMatch(await refused(finetune, ...common, "--eval-steps", "2"), /--eval-steps needs --eval-data/);
    for (const name of ["alpha", "epochs"]) {
      const message = new RegExp(`--${name} must be a number above 0 and at most 1000000, received 0`);
      let caught: unknown;
      try {
        parseFlags(finetune, [...common, `--${name}`, "0"]);
      } catch (error) {
        caught = error;
      }
      assertMatch((caught as Error).message, message);
    }
    const sample = ["--sample-prompt", "Once", "--max-steps", "2", "--save-steps", "2"];
    const { lines } = await ran(finetune, ...common, ...sample);
    for (const step of [0, 1, 2]) {
      assert(lines.some((line) => line.includes(`step ${step}: Once → `)), lines.join("\n"));
    }
    const again = await ran(finetune, ...common, "--max-steps", "1", "--resume");
    assert(
      again.lines.includes("the checkpoint is of step 2, and --max-steps is 1: no step is left to train"),
    );
  }));

Deno.test("finetune --preview shows preference rows: prompt, chosen and rejected, or a judged answer", () =>
  withFolder(async (folder) => {
    const pair = JSON.stringify({ prompt: "Once upon", chosen: " a time", rejected: " arr" });
    const judged = JSON.stringify({ prompt: "Once upon", completion: " arr", label: false });
    await Deno.writeTextFile(`${folder}/pairs.jsonl`, `${pair}\n${pair}\n`);
    await Deno.writeTextFile(`${folder}/judged.jsonl`, `${judged}\n`);
    const show = async (task: string, file: string, ...more: string[]) => {
      const data = ["--data", `${folder}/${file}.jsonl`, "--output", `${folder}/out`];
      return (await ran(finetune, "--model", MODEL, ...data, "--task", task, "--preview", ...more)).lines
        .join("\n");
    };
    for (const task of ["dpo", "orpo", "simpo"]) {
      const text = await show(task, "pairs");
      assertMatch(text, /^Once upon\n\nchosen: ⟦ a time<\|endoftext\|>⟧ \(\d+ tokens with the prompt\)\n/);
      assertMatch(text, /\nrejected: ⟦ arr<\|endoftext\|>⟧ \(\d+ tokens with the prompt\)\n2 rows in /);
    }
    assertMatch(await show("kto", "judged"), /^Once upon\n\nnot wanted: ⟦ arr<\|endoftext\|>⟧/);
    assertMatch(
      await show("dpo", "pairs", "--block-size", "2"),
      /the first row is left out: its prompt fills/,
    );
    const wrong = ["--data", DATA, "--output", `${folder}/out`, "--task", "dpo", "--preview"];
    assertMatch(
      await refused(finetune, "--model", MODEL, ...wrong),
      /Cannot preview ".+" as rows of --task dpo: .*"chosen"/,
    );
    const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
    const [prompt, answer] = [tokenizer.encode("a"), tokenizer.encode("b")];
    const example = { inputIds: [...prompt, ...answer], labels: [...prompt.map(() => -100), ...answer] };
    const both = [{ example, isWanted: true }, { example, isWanted: false }];
    const coloured = previewAnswers(tokenizer, both, ["chosen", "rejected"], true);
    assert(coloured.includes("chosen: \x1b[32mb\x1b[0m") && coloured.includes("rejected: \x1b[31mb\x1b[0m"));
  }));

Deno.test("--config refuses items with commas and a flag by two spellings, and knows the names that others use", () =>
  withFolder(async (folder) => {
    const base = { model: "m", data: "d", output: "o" };
    const said = async (more: object, ...args: string[]) => {
      await Deno.writeTextFile(`${folder}/a.json`, JSON.stringify({ ...base, ...more }));
      const plain = finetune as unknown as Command;
      const error = await assertRejects(
        () => readFlags(plain, ["--config", `${folder}/a.json`, ...args]),
        Error,
      );
      assert(isUserError(error), error.message);
      return error.message;
    };
    assertMatch(
      await said({ data: ["a,b.jsonl"] }),
      /items of "data" must be .* without commas, .*"a,b\.jsonl"/,
    );
    assertMatch(
      await said({ batch_size: 1, batchSize: 2 }),
      /"batch_size" and "batchSize" are both --batch-size/,
    );
    for (
      const [name, flag] of [
        ...[["learning_rate", "lr"], ["learning-rate", "lr"], ["batch", "batch-size"], [
          "max_length",
          "block-size",
        ]],
        ...[["per_device_train_batch_size", "batch-size"], ["numTrainEpochs", "epochs"], [
          "output_dir",
          "output",
        ]],
      ]
    ) {
      assertMatch(
        await said({ [name]: 1 }),
        new RegExp(`unknown option "${name}", did you mean "${flag}"\\?`),
      );
    }
    assertMatch(
      await said({}, "--learning-rate", "1"),
      /Unknown option '--learning-rate', did you mean '--lr'\?/,
    );
    assertMatch(await said({}, "--epoch", "1"), /Unknown option '--epoch', did you mean '--epochs'\?/);
  }));

Deno.test("report names the line of an event without a time", () =>
  withFolder(async (folder) => {
    const said = () => refused(report, "--run", folder);
    assertMatch(await said(), /^Cannot make a report of ".+": run_log\.jsonl is required, which finetune/);
    const begin = { event: "begin", step: 0, time: 1 };
    const lines = [begin, { event: "end", step: 1 }].map((event) => `${JSON.stringify(event)}\n`);
    await Deno.writeTextFile(`${folder}/run_log.jsonl`, lines.join(""));
    assertMatch(await said(), /line 2 must be an event of a run log, with .*"time"/);
  }));

Deno.test("./run tells commands that do not exist, and lists those that do", async () => {
  for (const name of ["nosuchcmd", "fine", 'fmt": "deno']) {
    const { code, stdout, stderr } = await new Deno.Command("sh", { args: [`${root}run`, name] }).output();
    const text = new TextDecoder().decode(stderr);
    assertEquals([code, stdout.length], [2, 0]);
    assert(text.startsWith(`run: there is no command "${name}"`), text);
    assertMatch(text, /\n {2}finetune /);
  }
});

for (const shell of ["bash", "zsh", "fish"]) {
  const isThere = (Deno.env.get("PATH") ?? "").split(":").some((folder) => existsSync(`${folder}/${shell}`));
  Deno.test({
    name: `${shell} reads its completion script`,
    ignore: !isThere,
    fn: () =>
      withFolder(async (folder) => {
        const { lines } = await ran(completion([report, tokenize] as unknown as Command[]), "--shell", shell);
        await Deno.writeTextFile(`${folder}/script`, lines.join("\n"));
        const { success } = await new Deno.Command(shell, { args: ["-n", `${folder}/script`] }).output();
        assert(success);
      }),
  });
}

Deno.test("bash completes folders of report, names with spaces, and the tasks that are no commands of the program", () =>
  withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/my run`);
    await Deno.writeTextFile(`${folder}/my data.jsonl`, "");
    const others = [report, tokenize] as unknown as Command[];
    const script = (await ran(completion(others), "--shell", "bash")).lines.join("\n");
    const asked = [
      ["run", "report", "--run", `'${folder}/my\\ '`],
      ["run", "tokenize", "--data", `'${folder}/my\\ '`],
      ["run", "te"],
    ];
    const ask = (line: string[]) =>
      `COMP_WORDS=(${line.join(" ")}); COMP_CWORD=${
        line.length - 1
      }; _peft_webgpu; printf '%s|' "\${COMPREPLY[@]}"; echo`;
    const { stdout, stderr } = await new Deno.Command("bash", {
      args: ["--noprofile", "--norc", "-c", [script, ...asked.map(ask)].join("\n")],
    }).output();
    const found = new TextDecoder().decode(stdout).trim().replaceAll(`${folder}/`, "").split("\n");
    assertEquals(
      found.map((line) => line.split("|").filter((name) => name !== "").toSorted()),
      [["my run"], ["my data.jsonl", "my run"], ["teach", "test"]],
      new TextDecoder().decode(stderr),
    );
  }));

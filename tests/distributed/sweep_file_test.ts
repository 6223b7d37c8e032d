/**
 * The file of a sweep: every mistake in one error, and what its methods try.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HubError } from "@peft/webgpu/hub";
import { findBase } from "../../cli/sweep/files.ts";
import { randomChoices, ranked, rungsOf, survivorsOf } from "../../cli/sweep/search.ts";
import { planSweep, readSweep } from "../../cli/sweep/sweep_file.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { inFolder } from "../train/tiny_run.ts";

const FINETUNE = { model: "m", data: "d.jsonl" };
const lr = (spec: Record<string, unknown>) => ({ lr: spec });

/** What is wrong with a sweep. */
const problemsOf = (object: Record<string, unknown>) => planSweep(object, "name").problems;

Deno.test("readSweep() names every mistake of a file in one error", () =>
  inFolder(async (folder) => {
    const path = `${folder}/s.yaml`;
    await Deno.writeTextFile(
      path,
      `method: gird
metric: {name: eval_los, gaol: minimize}
trials: 0
finetune: {modle: x, data: d.jsonl, epochs: -3, rank: 4, training_options: {hub_token: abc}}
parameters:
  lr: {min: 0, max: 1.0e-2, distribution: log_uniform_values}
  rnak: {values: [1]}
  rank: {values: [4, 0]}
  alpha: 3
  dropout: {values: []}
  beta: {min: 2, max: 1}
`,
    );
    const { message } = await assertRejects(() => readSweep(path), UsageError);
    assertEquals(message.split("\n"), [
      `Cannot read the sweep "${path}": 16 mistakes must be corrected:`,
      '  method must be "grid", "random" or "successive_halving", received "gird"',
      "  trials must be an integer from 1 to 10000, received 0",
      '  finetune: unknown option "modle", did you mean "model"?',
      "  finetune: --epochs must be a number above 0 and at most 1000000, received -3",
      "  finetune: --training-options of a trial cannot set hubToken",
      "  finetune.model is required",
      "  parameters.lr.min must be above 0 with log_uniform_values, received 0",
      '  parameters: unknown option "rnak", did you mean "rank"?',
      "  parameters.rank: --rank must be an integer from 1 to 4096, received 0",
      "  parameters.alpha must have values, or min and max, received 3",
      "  parameters.dropout.values must be a list of at least one value, received []",
      "  parameters.beta must have min below max, received 2 and 1",
      '  "rank" must be in finetune or in parameters, received it in both',
      '  metric: unknown field "gaol", did you mean "goal"?',
      '  metric.name must be train_loss without eval-data or eval-split, received "eval_los"',
      '  finetune.data must be files of this machine, received "d.jsonl"',
    ]);
    const grid = { method: "grid", parameters: { lr: { values: [1e-3] } } };
    const absent = { model: `${folder}/none`, data: path, "eval-data": `${path},${folder}/held_out.jsonl` };
    await Deno.writeTextFile(path, JSON.stringify({ ...grid, finetune: absent, trials: 2 }));
    assertEquals((await assertRejects(() => readSweep(path), UsageError)).message.split("\n").slice(1), [
      "  trials has no effect with method grid",
      `  finetune.model must be a folder or file of this machine, received "${folder}/none"`,
      `  finetune.eval-data must be files of this machine, received "${folder}/held_out.jsonl"`,
    ]);
    const refused: [text: string, message: RegExp][] = [
      ["", /the fields of a sweep are required, received nothing$/],
      ["- a", /received a list$/],
      ["a: [", /YAML or JSON is required/],
      ["a: b: c", /YAML or JSON is required: .+ at line 1, column \d+$/],
    ];
    for (const [text, message] of refused) {
      await Deno.writeTextFile(path, text);
      assertMatch((await assertRejects(() => readSweep(path), UsageError)).message, message);
    }
    await assertRejects(() => readSweep(`${folder}/none.yaml`), UsageError, "there is no such file");
  }));

Deno.test("the sweep of docs/machines.md is the one in examples/, and is right", async () => {
  const path = "examples/demo/sweep.yaml";
  const [, shown] = /^```yaml\n([^]*?)^```$/m.exec(await Deno.readTextFile("docs/machines.md"))!;
  assertEquals(shown, await Deno.readTextFile(path));
  const { name, trials, metric } = await readSweep(path);
  assertEquals([name, trials.length, metric], ["pirate", 6, { name: "evalLoss", goal: "minimize" }]);
});

Deno.test("planSweep() checks flags together, each mistake once with the trial that has it", () => {
  const parameters = { ...lr({ values: [1e-3, 1e-2] }), method: { values: ["lora", "ia3"] } };
  assertEquals(problemsOf({ method: "grid", finetune: { ...FINETUNE, rank: 4 }, parameters }), [
    'with {"lr":0.001,"method":"ia3"}: --rank means nothing to --method ia3',
  ]);
  const sft = { ...FINETUNE, training_options: { weight_dcay: 1 } };
  assertEquals(problemsOf({ method: "grid", finetune: sft, parameters: lr({ values: [1, 2] }) }), [
    'with {"lr":1}: unknown option "weightDcay", did you mean "weightDecay"?',
  ]);
  const cases: [object: Record<string, unknown>, problem: RegExp][] = [
    [
      { method: "grid", parameters: lr({ min: 1e-4, max: 1 }) },
      /^parameters\.lr must have values with method grid/,
    ],
    [{ method: "random", parameters: lr({ min: 1e-4, max: 1 }) }, /^trials is required with method random$/],
    [
      { method: "random", trials: 2, parameters: lr({ min: 1, max: 2, values: [1] }) },
      /^parameters\.lr must have one of/,
    ],
    [
      { method: "grid", trials: 2, parameters: lr({ values: [1] }) },
      /^trials has no effect with method grid$/,
    ],
    [{ method: "grid", parameters: {} }, /^parameters must have at least one, received none$/],
    [{ method: "grid", min_resource: 2, parameters: lr({ values: [1] }) }, /^min_resource has no effect/],
    [
      { method: "successive_halving", trials: 4, parameters: lr({ values: [1, 2] }) },
      /^finetune\.max-steps must be above/,
    ],
    [{ method: "grid", name: "a.b", parameters: lr({ values: [1] }) }, /^name must be up to 48 letters/],
    [
      { method: "grid", parameters: { output: { values: ["x"] } } },
      /^parameters: "output" cannot be set here$/,
    ],
    [
      { method: "grid", parameters: lr({ values: [1] }), finetune: { ...FINETUNE, nodes: 2 } },
      /^finetune: "nodes" cannot be set here$/,
    ],
    [
      { method: "grid", parameters: { ouput: { values: ["x"] } } },
      /^parameters: unknown option "ouput", did you mean "output"\? That one cannot be set here$/,
    ],
    [
      {
        method: "grid",
        parameters: lr({ values: [1] }),
        finetune: { ...FINETUNE, output_dir: "x", nods: 2 },
      },
      /^finetune: unknown option "output_dir", did you mean "output"\? That one cannot be set here$/,
    ],
    [
      { method: "grid", parameters: lr({ values: [1] }), finetune: { ...FINETUNE, optm: "sgd", rpt: 1 } },
      /^finetune: unknown option "optm", did you mean "optim"\?$/,
    ],
    [{
      method: "grid",
      parameters: { rank: { values: Array(200).fill(1) }, alpha: { values: Array(200).fill(1) } },
    }, /at most 10000 combinations, received 40000/],
  ];
  for (const [object, problem] of cases) {
    const found = problemsOf({ finetune: FINETUNE, ...object });
    assert(found.some((one) => problem.test(one)), `${problem}: ${JSON.stringify(found)}`);
  }
});

Deno.test("planSweep() makes every combination, or draws different ones that the seed decides", () => {
  const parameters = { lr: { values: [1, 2] }, targets: { values: [["a", "b"], "c"] } };
  const { plan } = planSweep({ method: "grid", finetune: FINETUNE, parameters }, "name");
  assertEquals(plan!.trials.map(({ given }) => given), [
    { lr: 1, targets: "a,b" },
    { lr: 1, targets: "c" },
    { lr: 2, targets: "a,b" },
    { lr: 2, targets: "c" },
  ]);
  assertEquals([plan!.metric, plan!.rungs], [{ name: "trainLoss", goal: "minimize" }, null]);
  const heldOut = { ...FINETUNE, eval_split: 0.1 };
  assertEquals(
    planSweep({ method: "grid", finetune: heldOut, parameters }, "n").plan!.metric.name,
    "evalLoss",
  );

  const spec = {
    lr: { min: 1e-5, max: 1e-1, distribution: "log_uniform_values" },
    rank: { min: 2, max: 5 },
    dropout: { min: 0, max: 0.5 },
    method: { values: ["lora", "dora"] },
  };
  const draw = (seed: number) =>
    planSweep({ method: "random", trials: 400, seed, finetune: FINETUNE, parameters: spec }, "n").plan!.trials
      .map(
        ({ choice }) => choice as { lr: number; rank: number; dropout: number; method: string },
      );
  const drawn = draw(3);
  assertEquals(drawn, draw(3));
  assert(JSON.stringify(drawn) !== JSON.stringify(draw(4)));
  assertEquals(new Set(drawn.map(({ rank }) => rank)), new Set([2, 3, 4, 5]));
  assertEquals(new Set(drawn.map(({ method }) => method)), new Set(["lora", "dora"]));
  assert(drawn.every(({ lr, dropout }) => lr >= 1e-5 && lr <= 1e-1 && dropout >= 0 && dropout <= 0.5));
  const below = drawn.filter(({ lr }) => lr < 1e-3).length; // half of the logarithms
  assert(below > 150 && below < 250, `${below}`);
  const few = randomChoices(
    [{ name: "a", distribution: "categorical", values: [1, 2, 3], min: 0, max: 0 }],
    10,
    1,
  );
  assertEquals(few.map(({ a }) => a).sort(), [1, 2, 3]);
});

Deno.test("successive halving has Hyperband's rungs, and the best go on", () => {
  assertEquals(rungsOf(1, 3, 81), [1, 3, 9, 27, 81]); // the table of Li et al. 2018, s = 4
  assertEquals([81, 27, 9, 3, 1].map((trials) => survivorsOf(trials, 3)), [27, 9, 3, 1, 1]);
  assertEquals(rungsOf(10, 4, 100), [10, 40, 100]);
  const measures = new Map<number, number | null>([[0, 2], [1, null], [2, 1], [3, NaN], [4, 2], [
    5,
    Infinity,
  ]]);
  assertEquals(ranked(measures, "minimize"), [2, 0, 4, 1, 3, 5]);
  assertEquals(ranked(measures, "maximize"), [0, 4, 2, 1, 3, 5]);
});

Deno.test("findBase() says of a name that is none of the hub's that no folder has it either", async () => {
  Deno.env.set("HF_HUB_OFFLINE", "1");
  try {
    const { message } = await assertRejects(() => findBase("no-such"), HubError);
    assertMatch(message, /; there is no local folder or file "no-such" either$/);
  } finally {
    Deno.env.delete("HF_HUB_OFFLINE");
  }
});

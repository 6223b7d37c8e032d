/** Preference trainers follow TRL: losses, logs and gradients on gpt2_tiny with a LoRA adapter, from the same start. */
import { assert, assertAllClose, assertEquals } from "@std/assert";
import { AutoTokenizer } from "../../../model/mod.ts";
import { PeftModel } from "../../../peft/mod.ts";
import {
  CPOConfig,
  CPOTrainer,
  DPOConfig,
  DPOTrainer,
  KTOConfig,
  KTOTrainer,
  ORPOConfig,
  ORPOTrainer,
  type TrainerCallback,
} from "../../../train/mod.ts";
import { AnswerDataset } from "../../../train/preference/answer_dataset.ts";
import { readPairs } from "../../../train/preference/pairs.ts";
import { relativeL2 } from "../../assert.ts";
import { expectedOf, FIXTURES, loadFixture } from "../../reference/fixtures.ts";

interface Case {
  task: "dpo" | "cpo" | "orpo" | "kto";
  options: Record<string, unknown>;
  logs: Record<string, number>[];
}

interface Facts {
  args: Record<string, number>;
  rows: { prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[] }[];
  kto_rows: { prompt_ids: number[]; completion_ids: number[]; label: boolean }[];
  texts: { prompt: string; chosen: string; rejected: string }[];
  tokenized: { prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[] }[];
  cases: Record<string, Case>;
}

const { json, tensor, names } = await expectedOf<Facts>("preference");
const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
const camels = (object: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [camel(name), value]));

const TRAINERS = {
  dpo: [DPOTrainer, DPOConfig],
  cpo: [CPOTrainer, CPOConfig],
  orpo: [ORPOTrainer, ORPOConfig],
  kto: [KTOTrainer, KTOConfig],
} as const;

/** Logs of every step, and the gradients of the first. */
async function run({ task, options, logs }: Case) {
  const model = await PeftModel.fromPretrained(await loadFixture("gpt2_tiny"), `${FIXTURES}lora/c_attn`, {
    isTrainable: true,
  });
  const first: Record<string, Promise<ArrayLike<number>>> = {};
  const gradients: TrainerCallback = {
    onOptimizerStep: (_args, { globalStep }) => {
      if (globalStep > 0) return;
      for (const [name, { grad }] of model.namedParameters()) {
        if (grad) first[name.replace("base_model.model.", "").replace(".default", "")] = grad.data();
      }
    },
  };
  const [Trainer, Config] = TRAINERS[task];
  const args = new (Config as typeof DPOConfig)({
    ...camels(json.args),
    ...{ maxSteps: logs.length, loggingSteps: 1, lrSchedulerType: "constant", maxGradNorm: 0 },
    ...{ trainSamplingStrategy: "sequential", gradientCheckpointing: false, reportTo: "none" },
    ...camels(options),
  });
  const trainer = new (Trainer as typeof DPOTrainer)({
    ...{ model, args, callbacks: [gradients] },
    trainDataset: task === "kto" ? json.kto_rows : json.rows,
  });
  await trainer.train();
  const read = Object.fromEntries(
    await Promise.all(Object.entries(first).map(async ([name, data]) => [name, await data] as const)),
  );
  model.dispose();
  return { logs: trainer.state.logHistory, gradients: read };
}

for (const [name, test] of Object.entries(json.cases)) {
  Deno.test(`${TRAINERS[test.task][0].name} follows TRL: ${name}, ${test.logs.length} steps`, async () => {
    const { logs, gradients } = await run(test);
    const expectedNames = names.filter((key) => key.startsWith(`${name}.`));
    assert(expectedNames.length > 0);
    for (const key of expectedNames) {
      const own = gradients[key.slice(name.length + 1)];
      assert(own, key);
      assert(relativeL2(own, tensor(key)) < 1e-5, `${key}: ${relativeL2(own, tensor(key))}`);
    }
    assertEquals(logs.length, test.logs.length);
    test.logs.forEach((expected, step) => {
      for (const [key, value] of Object.entries(expected)) {
        const own = logs[step][camel(key)];
        assertAllClose([own], [value], { rtol: 1e-5, atol: 1e-5, label: `${key} of step ${step + 1}` });
      }
    });
  });
}

Deno.test("rows of texts become the ids that TRL makes of them, those with long prompts left out", async () => {
  const small = await AutoTokenizer.fromPretrained(`${FIXTURES}tokenizer/small`);
  const tokenizer = {
    encode: (text: string) => small.encode(text, { addSpecialTokens: false }),
    ...{ eosTokenId: small.eosTokenId, padTokenId: small.padTokenId },
  };
  const dataset = new AnswerDataset(json.texts, readPairs(tokenizer, { maxLength: 8 }));
  await dataset.prepare();
  const whole = new AnswerDataset(json.tokenized, readPairs(undefined, { maxLength: 8 }));
  await whole.prepare();
  assertEquals(dataset.length, json.tokenized.length);
  assert(dataset.length < json.texts.length);
  for (let i = 0; i < dataset.length; i++) assertEquals(dataset.at(i), whole.at(i));
});

/**
 * Supervised fine-tuning held to TRL's SFTTrainer: what rows become, losses of ten steps, gradients of the first.
 * @module
 */
import { assert, assertAlmostEquals, assertEquals, relativeL2 } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer } from "../../../model/mod.ts";
import { PeftModel } from "../../../peft/mod.ts";
import { load } from "../../../io/safetensors.ts";
import { type Example, SFTTrainer, type TrainerCallback } from "../../../train/mod.ts";

const FOLDER = new URL("../../fixtures/sft/", import.meta.url).pathname;
const MODEL = new URL("../../../examples/demo/model", import.meta.url).pathname;

/** A case of tests/oracle/sft_fixture.py. */
interface Case {
  readonly rows: readonly unknown[];
  readonly settings: Readonly<Record<string, unknown>>;
  readonly examples: readonly { input_ids: number[]; labels: number[]; lengths?: number[] }[];
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
  readonly num_tokens: readonly number[];
  readonly mean_token_accuracy: readonly number[];
  readonly entropy: readonly number[];
}

const expected: { template: string; cases: Record<string, Case> } = JSON.parse(
  await Deno.readTextFile(`${FOLDER}expected.json`),
);

const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Cases of which all ten steps are done; the others differ in what rows become alone. */
const TO_THE_END = ["text", "completion", "completion_dft", "assistant", "packed_bfd"];

/** Packed rows as TRL has them: its first labels are the collator's to hide. */
const asText = ({ inputIds, labels, sequenceIds }: Example) =>
  JSON.stringify([
    inputIds,
    labels!.map((label, t) => t === 0 || sequenceIds?.[t] !== sequenceIds?.[t - 1] ? -100 : label),
  ]);

/**
 * Labels that count for a loss here, as a part of those that TRL divides by: it counts the first label of a row, which
 * no token predicts, unless the row is packed and the collator has hidden it.
 */
function partOf({ examples }: Case): number {
  const isHidden = examples.every(({ lengths }) => lengths);
  const labels = examples.flatMap(({ labels }) => isHidden ? labels.slice(1) : labels).filter((label) =>
    label !== -100
  );
  const firsts = isHidden ? [] : examples.filter(({ labels }) => labels[0] !== -100);
  return 1 - firsts.length / labels.length;
}

for (const [name, wanted] of Object.entries(expected.cases)) {
  Deno.test(`SFTTrainer trains as TRL's: ${name}`, async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
    tokenizer.chatTemplate = expected.template;
    const base = await AutoModelForCausalLM.fromPretrained(MODEL);
    const model = await PeftModel.fromPretrained(base, `${FOLDER}adapter`, { isTrainable: true });
    const settings = Object.entries(wanted.settings).map(([key, value]) => [camel(key), value]);
    const gradients = new Map<string, Float32Array>();
    const steps = TO_THE_END.includes(name) ? wanted.losses.length : 2;
    const keep: TrainerCallback = {
      onStepEnd: (_args, { globalStep }, control) => void (control.shouldTrainingStop = globalStep === steps),
      async onOptimizerStep(_args, { globalStep }) {
        if (globalStep > 0) return;
        for (const [path, parameter] of model.namedParameters()) {
          if (parameter.grad) gradients.set(path, await parameter.grad.data() as Float32Array);
        }
      },
    };
    const trainer = new SFTTrainer({
      model,
      args: {
        perDeviceTrainBatchSize: 16,
        maxSteps: wanted.losses.length,
        learningRate: 1e-2,
        maxGradNorm: 1e9,
        loggingSteps: 1,
        reportTo: "none",
        ...Object.fromEntries(settings),
      },
      trainDataset: wanted.rows,
      processingClass: tokenizer,
      callbacks: [keep],
    });
    await trainer.trainDataset.prepare();
    const rows = Array.from(
      { length: trainer.trainDataset.length },
      (_, i) => trainer.trainDataset.at(i) as Example,
    );
    const theirs = wanted.examples.map(({ input_ids: inputIds, labels, lengths }) =>
      asText({
        inputIds,
        labels,
        ...lengths && { sequenceIds: lengths.flatMap((n, i) => new Array(n).fill(i)) },
      })
    );
    assertEquals(rows.map(asText).sort(), theirs.sort());
    await trainer.train();
    const part = partOf(wanted);
    const logs = trainer.state.logHistory;
    wanted.losses.slice(0, steps).forEach((loss, i) =>
      assertAlmostEquals(part * (logs[i].loss as number), loss, 1e-5 * Math.max(1, loss), `step ${i + 1}`)
    );
    wanted.grad_norms.slice(0, steps).forEach((norm, i) =>
      assertAlmostEquals(part * (logs[i].gradNorm as number), norm, 1e-4 * norm, `step ${i + 1}`)
    );
    logs.slice(0, steps).forEach(({ meanTokenAccuracy, entropy, numTokens }, i) => {
      assertAlmostEquals(meanTokenAccuracy, wanted.mean_token_accuracy[i], 1e-6, `step ${i + 1}`);
      assertAlmostEquals(entropy, wanted.entropy[i], 1e-5, `step ${i + 1}`);
      assertEquals(numTokens, wanted.num_tokens[i]);
    });
    const all = await load(`${FOLDER}gradients.safetensors`);
    for (const [path, { data }] of all) {
      if (!path.startsWith(`${name}.transformer`)) continue;
      const ours = gradients.get(`base_model.model.${path.slice(name.length + 1)}`)!;
      const theirs = new Float32Array(data.slice().buffer);
      assert(relativeL2(ours.map((value) => part * value), theirs) < 1e-5, path);
    }
    assertEquals(
      gradients.size,
      [...all.keys()].filter((path) => path.startsWith(`${name}.transformer`)).length,
    );
    model.dispose();
  });
}

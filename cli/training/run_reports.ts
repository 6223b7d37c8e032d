/**
 * What `finetune` keeps of a run for readers: its log, TensorBoard's files, the page, the model card.
 * @module
 */

import {
  type CausalLM,
  describeConfig,
  type PeftModel,
  type Tokenizer,
  type Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import {
  type EvalOutput,
  RunLog,
  SampleCallback,
  TensorBoardLog,
  TokenLossSamples,
  type TrainingFacts,
  type TrainOutput,
  writeTrainingCard,
} from "@peft/webgpu/train";
import { endTokens } from "../loading.ts";
import { numbersOf, type RunFacts } from "../../jobs/finetune/attempts.ts";
import { writeReport } from "../report/report.ts";

/** What the card says of the settings that were used. */
export function usedSettings(
  { args }: Trainer,
  steps: number,
  blockSize: number,
): (readonly [string, string | number])[] {
  const rows = args.perDeviceTrainBatchSize * args.gradientAccumulationSteps;
  const { maxLength } = args as { maxLength?: number | null }; // of tasks of preferences
  const warmup = args.warmupSteps > 0 ? `${args.warmupSteps} steps` : args.warmupRatio;
  return [
    ["steps", `${steps} of ${rows} rows of up to ${maxLength ?? blockSize} tokens`],
    ["learning rate", `${args.learningRate}, ${args.lrSchedulerType}, warmup ${warmup}`],
    ["optimizer", args.optim],
    ["seed", args.seed],
  ];
}

/** A path's last part. */
const nameOf = (path: string) => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;

/** A tokenizer whose texts are questions to a chat model, where its model is one. */
const asPrompt = (tokenizer: Tokenizer) => ({
  encode: (text: string) =>
    tokenizer.chatTemplate
      ? tokenizer.applyChatTemplate([{ role: "user", content: text }], { addGenerationPrompt: true })
      : tokenizer.encode(text),
  decode: (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecialTokens: true }),
});

/** Prints what the model wrote, where nothing else keeps it. */
const printsSamples: TrainerCallback = {
  onSample(_args, _state, _control, { samples = [] }) {
    for (const { step, prompt, text } of samples) {
      console.log(`\nstep ${step}: ${prompt} → ${text.trimStart()}`);
    }
  },
};

/** The reports of one run. */
export class RunReports {
  readonly #facts: RunFacts;
  readonly #log: RunLog | null;
  readonly #tokens: TokenLossSamples | null;
  readonly #method: Readonly<Record<string, string>>;
  /** What the Trainer is to call. */
  readonly callbacks: readonly TrainerCallback[];

  /**
   * @param isKept whether anything but the card is written
   * @param samplePrompt what the model answers on the way
   */
  constructor(facts: RunFacts, isKept: boolean, samplePrompt: string | undefined) {
    const { config, examples, heldOutExamples, tokenizer, base, steps } = facts;
    this.#facts = facts;
    this.#method = config ? Object.fromEntries(describeConfig(config)) : {};
    this.#log = isKept ? this.#makeLog() : null;
    this.#tokens = this.#log && examples && heldOutExamples
      ? new TokenLossSamples(this.#log, heldOutExamples, tokenizer)
      : null;
    const samples = samplePrompt === undefined ? null : new SampleCallback({
      prompts: [samplePrompt],
      tokenizer: asPrompt(tokenizer),
      everySteps: !facts.isEvaluated ? Math.max(1, Math.ceil(steps / 10)) : null,
      atStart: true,
      generation: { maxNewTokens: 48, doSample: false, eosTokenId: endTokens(base, tokenizer) },
    });
    const printer = samples && !isKept ? printsSamples : null;
    this.callbacks = [this.#log, this.#log && new TensorBoardLog(), this.#tokens, samples, printer]
      .filter((callback) => callback !== null);
  }

  #makeLog(): RunLog {
    const { baseName, data, heldOut, task, method, examples, tokenizer } = this.#facts;
    return new RunLog({
      about: { model: baseName, data, heldOut, task, method, ...this.#method },
      ...examples && { example: () => examples.at(0) },
      tokenizer,
    });
  }

  /** Notes an evaluation that the Trainer did not do by itself. */
  async evaluated(model: CausalLM | PeftModel<CausalLM>, step: number, found: EvalOutput): Promise<void> {
    const { meanTokenAccuracy: evalMeanTokenAccuracy, ...numbers } = numbersOf(found); // as the Trainer logs it
    await this.#log?.note("evaluate", step, { ...numbers, evalMeanTokenAccuracy });
    await this.#tokens?.note(model, step);
  }

  /** Writes the card, and the page if there is a log; says where the page is. */
  async finish(result: TrainOutput, rows: TrainingFacts["rows"]): Promise<void> {
    const { baseName, data, heldOut, task, method, output, base } = this.#facts;
    const names = data.split(",").map((file) => nameOf(file.trim())).join(", ");
    const settings = Object.entries(this.#method).filter(([name]) => name !== "method"); // its title
    await writeTrainingCard(output, {
      data: `${names} (${this.#facts.rows} rows)`,
      summary: `${baseName} trained with @peft/webgpu.`,
      rows: [
        ...heldOut === null ? [] : [["held out", nameOf(heldOut)] as const],
        ["base model", baseName],
        ["task", task],
        ["method", [method, ...settings.map((entry) => entry.join(" "))].join(", ")],
        ...rows,
        ["seconds", result.metrics.trainRuntime.toFixed(0)],
        ["device", base.device.adapterName],
      ],
    });
    if (this.#log) console.log(`report written to ${await writeReport(output)}`);
  }
}

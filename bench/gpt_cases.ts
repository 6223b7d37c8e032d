/**
 * The models that steps are timed on: the GPT that peers are measured with, and
 * GPT-2 small. Same seed, same batch everywhere.
 * @module
 */
import { captureStep, type Tensor, tidy } from "../autograd/mod.ts";
import type { Device } from "../gpu/mod.ts";
import { type CausalLM, GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig, type PeftModel } from "../peft/mod.ts";
import { AdamW } from "../train/optimizers/adamw.ts";

/** A model and a batch under the clock. */
export interface StepCase {
  readonly name: string;
  readonly config: ConstructorParameters<typeof GPT2Config>[0];
  readonly batch: number;
  readonly length: number;
  readonly lora: boolean;
  /** Weights of the base as packed float16. */
  readonly half?: boolean;
  readonly steps: number;
}

/** Learning rate of every step here and of the peers. */
export const LEARNING_RATE = 1e-3;

/** The small GPT's configuration: 2 layers, 128 wide, 4 heads, 512 tokens. */
export const SMALL: ConstructorParameters<typeof GPT2Config>[0] = {
  nLayer: 2,
  nEmbd: 128,
  nHead: 4,
  vocabSize: 512,
  nPositions: 64,
  bosTokenId: 0,
  eosTokenId: 0,
};

/** All weights trained, and LoRA r=8 on c_attn. */
export const SMALL_CASES: readonly StepCase[] = [
  { name: "small GPT, all weights, 4 x 64", config: SMALL, batch: 4, length: 64, lora: false, steps: 24 },
  { name: "small GPT, LoRA r=8 c_attn, 4 x 64", config: SMALL, batch: 4, length: 64, lora: true, steps: 24 },
];

/** GPT-2 small with LoRA. */
export const SMALL_BATCH: StepCase = {
  name: "GPT-2 small, LoRA r=8 c_attn, 1 x 64",
  config: {},
  batch: 1,
  length: 64,
  lora: true,
  steps: 4,
};

/** Token ids [batch, length], always the same; never outside the vocabulary. */
export function tokenRows(batch: number, length: number, vocabSize: number): number[][] {
  return Array.from(
    { length: batch },
    (_, b) => Array.from({ length }, (_, t) => (b * 7919 + t * t * 31 + t) % vocabSize),
  );
}

/** A base model without dropout, random weights of seed 1, and LoRA on it if asked for. */
export function buildModel(
  device: Device,
  { config, lora }: Pick<StepCase, "config" | "lora">,
): { base: CausalLM; model: CausalLM | PeftModel<CausalLM> } {
  const off = { residPdrop: 0, embdPdrop: 0, attnPdrop: 0 };
  const base = new GPT2LMHeadModel(new GPT2Config({ ...config, ...off }), { device, seed: 1 });
  const model = lora
    ? getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, targetModules: ["c_attn"] }))
    : base.train();
  return { base, model };
}

/** A training step whose loss can be read, with AdamW of torch's defaults and no weight decay, which is Adam. */
export interface TrainingStep {
  /** Records or replays one step without waiting; returns its loss. */
  launch(): Tensor;
  /** Launches one step and reads its loss. */
  run(): Promise<number>;
  dispose(): void;
}

/** The step of a case; `captured` records it once and replays it. */
export function makeStep(device: Device, test: StepCase, captured: boolean): TrainingStep {
  const { base, model } = buildModel(device, test);
  const rows = tokenRows(test.batch, test.length, base.facts.vocabSize);
  const trainable = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
  const optimizer = new AdamW(trainable, { lr: LEARNING_RATE, weightDecay: 0 });
  const body = (inputIds: number[][] | Tensor) => {
    const loss = tidy(() => {
      const { loss } = model.forward({ inputIds, labels: inputIds }) as { loss: Tensor };
      loss.backward();
      return loss;
    });
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  };
  const replay = captureStep(device, ({ inputIds }: { inputIds: Tensor }) => body(inputIds));
  const launch = captured ? () => replay({ inputIds: rows }) : () => body(rows);
  return {
    launch,
    async run() {
      const loss = launch();
      const value = await loss.item();
      if (!captured) loss.dispose();
      return value;
    },
    dispose() {
      replay.dispose();
      optimizer.dispose();
      model.dispose();
    },
  };
}

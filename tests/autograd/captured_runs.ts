/** Runs of the same training steps with `captureStep` and without it. */
import { assertEquals } from "@std/assert";
import {
  AdamW,
  captureStep,
  type Device,
  getPeftModel,
  GPT2Config,
  GPT2LMHeadModel,
  LoraConfig,
  type PeftModel,
  Tensor,
  tidy,
} from "@peft/webgpu";
import { anotherDevice } from "../reference/another_device.ts";

const CONFIG = {
  nLayer: 2,
  nEmbd: 16,
  nHead: 2,
  vocabSize: 40,
  nPositions: 16,
  bosTokenId: 0,
  eosTokenId: 0,
};

/** A model under LoRA and its optimizer. */
export interface Made {
  device: Device;
  peftModel: PeftModel<GPT2LMHeadModel>;
  optimizer: AdamW;
  trained: Tensor[];
}

/** The same seeds give the same model. */
export function make(device: Device, config: Partial<typeof CONFIG> = {}, loraDropout = 0.1): Made {
  const base = new GPT2LMHeadModel(new GPT2Config({ ...CONFIG, ...config }), { device, seed: 1 });
  const peftModel = getPeftModel(base, new LoraConfig({ r: 4, loraDropout, targetModules: ["c_attn"] }));
  const trained = [...peftModel.parameters()].filter((parameter) => parameter.requiresGrad);
  return { device, peftModel, trained, optimizer: new AdamW(trained, { lr: 1e-2 }) };
}

/** The body of a step. */
export type Step = (inputs: { inputIds: Tensor }) => Tensor;

/** Forward, backward, update. */
export const wholeStep = ({ peftModel, optimizer }: Made): Step => ({ inputIds }) => {
  const loss = tidy(() => {
    const { loss } = peftModel.forward({ inputIds, labels: inputIds });
    loss!.backward();
    return loss!;
  });
  optimizer.step();
  optimizer.zeroGrad();
  return loss;
};

/** Rows of ids, other ones for each seed. */
export const batch = (seed: number, rows = 2, length = 12, vocabulary = 40) =>
  Array.from(
    { length: rows },
    (_, b) => Array.from({ length }, (_, t) => (b * 7 + t * t * 3 + seed * 5) % vocabulary),
  );

/** What `bothRuns` runs. */
export interface Trial {
  body?: (made: Made) => Step;
  config?: Partial<typeof CONFIG>;
  loraDropout?: number;
  /** Done after step `i`, which counts from 0. */
  between?: (made: Made, i: number) => unknown;
  steps?: number;
}

/** Losses and trained values of an eager and of a captured run of the same steps. */
export async function bothRuns(
  { body = wholeStep, config, loraDropout, between, steps = 7 }: Trial,
  device?: Device,
) {
  device ??= await anotherDevice();
  const runs: { losses: number[]; values: Float32Array[]; replays: number }[] = [];
  for (const captured of [false, true]) {
    const made = make(device, config, loraDropout);
    const eager = body(made);
    let calls = 0;
    const step = captureStep(device, (inputs: { inputIds: Tensor }) => (calls++, eager(inputs)));
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) {
      if (captured) losses.push(await step({ inputIds: batch(i) }).item());
      else {
        using inputIds = Tensor.from(batch(i), { dtype: "int32", device });
        using loss = eager({ inputIds });
        losses.push(await loss.item());
      }
      await between?.(made, i);
    }
    const values = await Promise.all(made.trained.filter((t) => !t.isDisposed).map((t) => t.data()));
    runs.push({ losses, values: values as Float32Array[], replays: captured ? steps - calls : 0 });
    step.dispose();
    made.optimizer.dispose();
    made.peftModel.dispose();
  }
  const [eager, captured] = runs;
  assertEquals(captured.losses, eager.losses);
  assertEquals(captured.values, eager.values);
  return captured;
}

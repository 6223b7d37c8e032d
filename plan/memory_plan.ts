/**
 * Memory of a training run before it starts. The run's own code is run on a device without memory or arithmetic
 * (`Device.rehearsal`): its ledger fills as the real one would, for every model, method and optimizer.
 * @module
 */

import { headChunk } from "../autograd/mod.ts";
import type { CausalLM } from "../model/mod.ts";
import { checkOptions } from "../options/names.ts";
import { type AdapterConfig, PeftModel } from "../peft/mod.ts";
import { defaultDataCollator, TrainingArguments } from "../train/mod.ts";
import { TrainingRun } from "../train/training_run.ts";
import { copyModel, copyWithAdapter, type PlannedModel } from "./copy_model.ts";

/**
 * What is trained, as far as memory depends on it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, LoraConfig, planMemory, type PlanOptions } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const run: PlanOptions = { batch: 4, length: 64, args: { optim: "adamw_8bit" } };
 * for (const r of [8, 64]) {
 *   const adapter = new LoraConfig({ r, targetModules: ["c_attn"] }); // the model need not have it yet
 *   console.log(r, planMemory(model, { ...run, adapter }).total);
 * }
 * ```
 */
export interface PlanOptions {
  /** Rows of a batch; default 1. */
  batch?: number;
  /** Tokens of a row; default the longest that the model takes. */
  length?: number;
  /** Tokens of a row that are predicted, the last ones; default all. */
  labelled?: number;
  /** Whether rows are padded, and have a mask; default false. */
  padded?: boolean;
  /** Settings of the run: `gradientCheckpointing`, `optim`, `gradientAccumulationSteps` count. Default the Trainer's. */
  args?: Partial<TrainingArguments>;
  /** The same as `args.gradientCheckpointing`. */
  gradientCheckpointing?: boolean;
  /** An adapter that the model does not have yet: the plan is for the model with it alone. Default: for the model as it is. */
  adapter?: AdapterConfig;
  /** Most bytes that the device may hold; default the limit of its ledger, which is none at first. */
  budget?: number;
}

const OPTION_NAMES = [
  "batch",
  "length",
  "labelled",
  "padded",
  "args",
  "gradientCheckpointing",
  "adapter",
  "budget",
] as const satisfies readonly (keyof PlanOptions)[];

/**
 * Bytes on the device. The parts add up to `total`, the peak of a run of the Trainer.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, LoraConfig, type MemoryBytes, planMemory } from "@peft/webgpu";
 *
 * const part = (bytes: number, { total }: MemoryBytes) => `${Math.round(100 * bytes / total)}%`;
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const plan = planMemory(model, { batch: 4, length: 128, adapter: new LoraConfig({ targetModules: ["c_attn"] }) });
 * console.log(`weights ${part(plan.weights, plan)}, activations ${part(plan.activations, plan)}`);
 * ```
 */
export interface MemoryBytes {
  /** Parameters of the base model, as they are stored. */
  readonly weights: number;
  /** What the adapters add. */
  readonly adapter: number;
  /** State of the optimizer. */
  readonly optimizer: number;
  /** What backward keeps, gradients and temporary results. */
  readonly activations: number;
  /** Logits of a chunk of rows, and the gradient of the hidden states. */
  readonly head: number;
  /** The highest that the device holds at any time, buffers kept for reuse included. */
  readonly total: number;
}

/**
 * A plan.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, LoraConfig, type MemoryPlan, planMemory } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const adapter = new LoraConfig({ targetModules: ["c_attn"] });
 * const plan: MemoryPlan = planMemory(model, { batch: 8, length: 128, adapter });
 * const saved = plan.withoutCheckpointing.total - plan.withCheckpointing.total;
 * console.log(`${plan.trainableParameters} parameters; checkpointing saves ${Math.round(saved / 1e6)} MB`);
 * ```
 */
export interface MemoryPlan extends MemoryBytes {
  /** How many parameters train. */
  readonly trainableParameters: number;
  /** Whether it is with gradient checkpointing. */
  readonly gradientCheckpointing: boolean;
  /** The same run with gradient checkpointing. */
  readonly withCheckpointing: MemoryBytes;
  /** The same run without it. */
  readonly withoutCheckpointing: MemoryBytes;
}

/**
 * The run needs more memory than there is.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, MemoryBudgetError, planMemory } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * try {
 *   planMemory(model, { length: 64, budget: 1_000_000 });
 * } catch (error) {
 *   console.log(error instanceof MemoryBudgetError, (error as Error).message); // what would make it fit
 * }
 * ```
 */
export class MemoryBudgetError extends RangeError {
  /** For those who tell errors by their names. */
  override name = "MemoryBudgetError";
  /** What it needs. */
  readonly plan: MemoryPlan;

  /** @internal */
  constructor(message: string, plan: MemoryPlan) {
    super(message);
    this.plan = plan;
  }
}

/** Steps until buffers are reused as in all later steps: plain, recorded twice, replayed. */
const STEPS = 4;

interface Checked {
  readonly batch: number;
  readonly length: number;
  readonly labelled: number;
  readonly padded: boolean;
  readonly args: TrainingArguments;
  readonly newAdapter: AdapterConfig | undefined;
}

const baseOf = (model: PlannedModel): CausalLM => model instanceof PeftModel ? model.getBaseModel() : model;

function check(model: PlannedModel, options: PlanOptions): Checked {
  checkOptions("plan memory", options, OPTION_NAMES);
  const { maxPositions } = baseOf(model).facts;
  const { batch = 1, length = maxPositions, padded = false } = options;
  const { labelled = length, args = {}, gradientCheckpointing } = options;
  const integer = (name: string, value: number, low: number, high: number) => {
    if (Number.isInteger(value) && value >= low && value <= high) return;
    throw new RangeError(
      `Cannot plan memory: ${name} must be an integer from ${low} to ${high}, received ${value}`,
    );
  };
  integer("batch", batch, 1, 2 ** 20);
  integer("length", length, 2, maxPositions);
  integer("labelled", labelled, 1, length);
  const given = args instanceof TrainingArguments ? args : new TrainingArguments(args);
  return {
    ...{ batch, length, labelled, padded, newAdapter: options.adapter },
    args: new TrainingArguments({
      ...given,
      ...{ perDeviceTrainBatchSize: batch, maxSteps: STEPS, outputDir: null, reportTo: "none" },
      ...gradientCheckpointing !== undefined && { gradientCheckpointing },
    }),
  };
}

/** How many parameters train. */
const countTrainable = (model: PlannedModel): number =>
  [...model.parameters()].reduce((sum, { requiresGrad, size }) => requiresGrad ? sum + size : sum, 0);

/** Runs the steps without arithmetic: their bytes, and how many parameters train. */
function rehearse(
  model: PlannedModel,
  { batch, length, labelled, padded, args, newAdapter }: Checked,
): { readonly bytes: MemoryBytes; readonly trainableParameters: number } {
  const device = baseOf(model).device.rehearsal();
  const { model: copy, weights, adapter } = newAdapter
    ? copyWithAdapter(model, newAdapter, device)
    : copyModel(model, device);
  const trainableParameters = countTrainable(copy);
  if (args.gradientCheckpointing) copy.gradientCheckpointingEnable();
  if (args.neftuneNoiseAlpha !== null) copy.neftuneNoiseAlpha = args.neftuneNoiseAlpha;
  const labels = Array.from({ length }, (_, t) => t >= length - labelled ? 1 : -100);
  const example = {
    inputIds: labels.map(() => 1),
    labels,
    ...padded && { attentionMask: labels.map((_, t) => t === length - 1 ? 0 : 1) },
  };
  const steps = args.gradientAccumulationSteps;
  const dataset = { length: batch * steps * STEPS, at: () => example };
  const collate = defaultDataCollator(0);
  const run = new TrainingRun({
    ...{ model: copy, args, dataset, collate, optimizer: null, scheduler: null, callbacks: [] },
  });
  copy.train();
  device.trim();
  device.resetPeakMemory();
  const rows = Array.from({ length: batch }, () => example);
  const batches = Array.from({ length: steps }, () => collate(rows));
  run.start();
  let optimizer = 0;
  try {
    for (let n = 0; n < STEPS; n++) {
      run.step(batches);
      run.finishStep(batches);
      if (n === 0) optimizer = device.memory.liveBytes - weights - adapter;
    }
    const total = device.memory.peakBytes;
    const { hiddenSize, vocabSize } = baseOf(model).facts;
    const counted = labelled < length ? batch * labelled : batch * length;
    const { chunk, stride } = headChunk(device, counted, vocabSize);
    const head = 4 * (chunk * stride + counted * hiddenSize);
    const activations = total - weights - adapter - optimizer - head;
    return { bytes: { weights, adapter, optimizer, activations, head, total }, trainableParameters };
  } finally {
    run.dispose();
    copy.dispose();
    device.destroy();
  }
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** What would fit a budget, as words. */
function whatFits(model: PlannedModel, options: PlanOptions, plan: MemoryPlan, budget: number): string {
  const words: string[] = [];
  if (!plan.gradientCheckpointing && plan.withCheckpointing.total <= budget) {
    words.push(`gradient checkpointing (${megabytes(plan.withCheckpointing.total)})`);
  }
  const checkpointed = { ...options, gradientCheckpointing: true, budget: Infinity };
  const { batch } = check(model, options);
  const rows = largest(batch - 1, (batch) => planMemory(model, { ...checkpointed, batch }).total <= budget);
  if (rows > 0) words.push(`gradient checkpointing and batches of ${rows}`);
  if (words.length === 0) {
    const { length } = check(model, options);
    const one = { ...checkpointed, batch: 1, labelled: undefined };
    const tokens = largest(length - 1, (length) => {
      return length < 2 || planMemory(model, { ...one, length }).total <= budget;
    });
    if (tokens >= 2) words.push(`gradient checkpointing, batches of 1 and rows of ${tokens} tokens`);
  }
  if (words.length > 0) return words.join(", or ");
  return "nothing but weights in fewer bits (dtype, quantization) or a smaller model";
}

/** The largest n from 0 to `most` with `fits(n)`, which holds for all below it. */
function largest(most: number, fits: (n: number) => boolean): number {
  let [low, high] = [0, most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The device memory that training `model` takes, before any of it is spent. Nothing is computed, and the model stays as
 * it is.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, planMemory } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("gpt2"), new LoraConfig({ r: 8 }));
 * const { total, withCheckpointing } = planMemory(model, { batch: 4, length: 64 });
 * console.log(`${total / 1e6} MB, ${withCheckpointing.total / 1e6} MB with gradient checkpointing`);
 * ```
 *
 * @throws {MemoryBudgetError} if `budget`, or the limit of the device's ledger, is less: it says what would fit
 * @throws {RangeError} for sizes that the model does not take   @throws {TypeError} if no parameter trains
 */
export function planMemory(model: PlannedModel, options: PlanOptions = {}): MemoryPlan {
  const checked = check(model, options);
  const [withCheckpointing, withoutCheckpointing] = [true, false].map((gradientCheckpointing) =>
    rehearse(model, { ...checked, args: new TrainingArguments({ ...checked.args, gradientCheckpointing }) })
  );
  const { gradientCheckpointing } = checked.args;
  const { bytes, trainableParameters } = gradientCheckpointing ? withCheckpointing : withoutCheckpointing;
  const plan = {
    ...{ ...bytes, trainableParameters, gradientCheckpointing },
    ...{ withCheckpointing: withCheckpointing.bytes, withoutCheckpointing: withoutCheckpointing.bytes },
  };
  const budget = options.budget ?? baseOf(model).device.memory.limitBytes;
  if (bytes.total <= budget) return plan;
  throw new MemoryBudgetError(
    `Cannot train within ${megabytes(budget)}: ${megabytes(bytes.total)} are required (weights ${
      megabytes(bytes.weights)
    }); what would fit: ${whatFits(model, options, plan, budget)}`,
    plan,
  );
}

/**
 * What an adapter adds to a model.
 *
 * @example
 * ```ts
 * import { type AdapterSize, AutoModelForCausalLM, LoraConfig, planAdapter } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const sizeOfRank = (r: number): AdapterSize => planAdapter(model, new LoraConfig({ r, targetModules: ["c_attn"] }));
 * const ranks = [64, 32, 16, 8].filter((r) => sizeOfRank(r).trainableParameters < 50_000);
 * console.log(ranks); // [ 16, 8 ]
 * ```
 */
export interface AdapterSize {
  /** How many parameters train. */
  readonly trainableParameters: number;
  /** Bytes that they and what else the adapter keeps take on the device. */
  readonly bytes: number;
}

/**
 * What an adapter that is not made yet would add to a model. Nothing is computed, and unlike in `planMemory` no step is run.
 * @example
 * ```ts
 * import { AutoModelForCausalLM, LoraConfig, planAdapter } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("gpt2");
 * const { trainableParameters, bytes } = planAdapter(model, new LoraConfig({ r: 8 }));
 * console.log(`${trainableParameters} parameters, ${bytes} bytes`);
 * ```
 * @throws {TypeError} where the configuration does not fit the model
 */
export function planAdapter(model: PlannedModel, config: AdapterConfig): AdapterSize {
  const device = baseOf(model).device.rehearsal();
  try {
    const { model: copy, adapter: bytes } = copyWithAdapter(model, config, device);
    const trainableParameters = countTrainable(copy);
    copy.dispose();
    return { trainableParameters, bytes };
  } finally {
    device.destroy();
  }
}

/**
 * The largest batch that trains within `budget` bytes (default: the limit of the device's ledger); 0 if not even one row
 * does.
 * @throws {RangeError} without a limit, and for sizes that the model does not take
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, findLargestBatch, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * console.log(findLargestBatch(model, { length: 64, budget: 256e6 }));
 * ```
 */
export function findLargestBatch(model: PlannedModel, options: Omit<PlanOptions, "batch"> = {}): number {
  const budget = options.budget ?? baseOf(model).device.memory.limitBytes;
  if (!(budget < Infinity)) {
    throw new RangeError(
      "Cannot find the largest batch: a budget, or a device with memoryLimitBytes, is required, received neither",
    );
  }
  const fits = (batch: number) => {
    return rehearse(model, check(model, { ...options, batch })).bytes.total <= budget;
  };
  if (!fits(1)) return 0;
  let high = 2;
  while (high < 2 ** 16 && fits(high)) high *= 2;
  return largest(high - 1, (batch) => batch <= high / 2 || fits(batch));
}

/**
 * The shapes of a model: a training step and a generation of it are run, and what they launch is recorded.
 * @module
 */
import type { Device } from "../gpu/mod.ts";
import { type ChosenShape, observeChoices } from "../autograd/picks.ts";
import { tidy } from "../autograd/scope.ts";
import type { Tensor } from "../autograd/tensor.ts";
import type { TuningShape } from "./shapes.ts";

/**
 * What is run of a model.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { modelShapes, type ShapeOptions } from "@peft/webgpu/tuning";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const chatOnly: ShapeOptions = { training: false, tokens: [32] };
 * console.log((await modelShapes(model, chatOnly)).map(({ name }) => name)); // [ "attn.c_attn", "attention", … ]
 * ```
 */
export interface ShapeOptions {
  /** Tokens of a step, one after the other; those over the model's positions are left out. Default 64 and 256. */
  readonly tokens?: readonly number[];
  /** Run training steps: forward, and backward if anything trains; default true. */
  readonly training?: boolean;
  /** Run a generation: a prompt of the most tokens, and two new ones; default true. */
  readonly generation?: boolean;
}

/**
 * Sizes of a model that names and prompts are made from.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { ModelSizes } from "@peft/webgpu/tuning";
 *
 * const { facts } = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const { vocabSize, maxPositions }: ModelSizes = facts;
 * console.log(vocabSize, maxPositions); // 768 128
 * ```
 */
export interface ModelSizes {
  /** V, rows of the head. */
  readonly vocabSize: number;
  /** Longest sequence in tokens. */
  readonly maxPositions: number;
}

/**
 * A model that can be run to record its shapes: any causal language model, before or after adapters are added.
 *
 * @example
 * ```ts
 * import { loadTuning, readTuning, saveTuning, type TunableModel, tuneKernels, writeTuning } from "@peft/webgpu/tuning";
 *
 * // uses the picks of an earlier run; tunes for this model where there are none
 * async function tuneOnce(model: TunableModel) {
 *   const { device } = model;
 *   if (loadTuning(device, await readTuning(device.adapterName)).ignored === null) return;
 *   await tuneKernels(device, { model });
 *   await writeTuning(device.adapterName, saveTuning(device));
 * }
 * ```
 */
export interface TunableModel {
  /** Its sizes. */
  readonly facts: ModelSizes;
  /** Where it is. */
  readonly device: Device;
  /** Its modules with their paths: linear layers give the shapes their names. */
  namedModules(): Iterable<[path: string, module: object]>;
  /** Its parameters, whose gradients are put back. */
  parameters(): Iterable<Tensor>;
  /** Logits, and with labels the loss. */
  forward(inputs: { inputIds: number[][]; labels?: number[][] }): { readonly loss?: Tensor };
  /** Continues rows of ids. */
  generate(
    inputs: number[][],
    options: { maxNewTokens: number; eosTokenId: null },
  ): Promise<number[][]>;
}

/** Names of linear layers by their sizes, [out, in]. */
type LayerNames = ReadonlyMap<string, { readonly name: string; readonly forward: "nn" | "nt" }>;

function layerNames(model: TunableModel): LayerNames {
  const names = new Map<string, { name: string; forward: "nn" | "nt" }>();
  for (const [path, module] of model.namedModules()) {
    const { inFeatures: K, outFeatures: N, layout } = module as {
      inFeatures?: number;
      outFeatures?: number;
      layout?: "conv1d" | "linear";
    };
    if (!K || !N || !layout || /(^|\.)lora_/.test(path)) continue;
    const name = path.replace(/\.base_layer$/, "").split(".").slice(-2).join(".");
    if (!names.has(`${N} ${K}`)) names.set(`${N} ${K}`, { name, forward: layout === "conv1d" ? "nn" : "nt" });
  }
  return names;
}

/** What a product is in the model, as far as its sizes tell. */
function nameOf(names: LayerNames, layout: string, M: number, N: number, K: number): string {
  const forward = names.get(`${N} ${K}`);
  if (forward && layout === forward.forward) return forward.name;
  const back = names.get(`${K} ${N}`);
  if (back && layout !== "tn") return `${back.name} dx`;
  const weight = layout === "tn" ? names.get(`${M} ${N}`) ?? names.get(`${N} ${M}`) : undefined;
  return weight ? `${weight.name} dW` : "adapter";
}

/**
 * Runs `body`, and lists each shape that it launched on the device once, in the order of their first launches.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { recordShapes } from "@peft/webgpu/tuning";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const shapes = await recordShapes(model.device, () => void model.forward({ inputIds: [[1, 2]] }));
 * console.log(shapes.length > 0); // true
 * ```
 * @throws {TypeError} inside another recording
 */
export function recordShapes(device: Device, body: () => unknown): Promise<TuningShape[]> {
  return recordNamed(device, body, new Map());
}

async function recordNamed(
  device: Device,
  body: () => unknown,
  names: LayerNames,
): Promise<TuningShape[]> {
  const found = new Map<string, TuningShape>();
  const note = ({ kind, shape }: ChosenShape) => {
    if (kind === "matmul" && shape.batch !== 1) return; // batched products have no picks
    const key = JSON.stringify(shape);
    if (found.has(key)) return;
    if (kind === "attention") {
      const cached = shape.Tq < shape.Tk ? ", cached" : "";
      found.set(key, { kind, name: `attention${cached}`, ...shape });
    } else {
      const { layout, M, N, K, weight = "f32" } = shape;
      found.set(key, { kind, name: nameOf(names, layout, M, N, K), layout, weight, M, N, K });
    }
  };
  await observeChoices(device, note, body);
  await device.sync();
  return [...found.values()];
}

/** Runs `body`, after which every parameter has the gradient that it had. */
async function keepingGradients(parameters: readonly Tensor[], body: () => Promise<void>): Promise<void> {
  const before = parameters.map(({ grad }) => grad);
  for (const parameter of parameters) parameter.grad = null;
  try {
    await body();
  } finally {
    parameters.forEach((parameter, i) => {
      parameter.grad?.dispose();
      parameter.grad = before[i];
    });
  }
}

/**
 * The products and attentions that training a model and generating with it launch, each once. The model is run: a
 * forward and a backward for every number of tokens, and a short generation, with the adapters that act and the weights
 * that train at the time. Weights and gradients stay as they are.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { modelShapes } from "@peft/webgpu/tuning";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * console.log((await modelShapes(model, { tokens: [8] })).length > 0); // true
 * ```
 * @throws what running the model throws, such as a lack of memory
 */
export async function modelShapes(model: TunableModel, options: ShapeOptions = {}): Promise<TuningShape[]> {
  const { tokens = [64, 256], training = true, generation = true } = options;
  const { vocabSize, maxPositions } = model.facts;
  const strange = tokens.find((count) => !Number.isInteger(count) || count < 1);
  if (strange !== undefined || tokens.length === 0) {
    throw new RangeError(
      `Cannot record shapes: tokens must be positive integers, received ${strange ?? "none"}`,
    );
  }
  const rowOf = (length: number) => [Array.from({ length }, (_, i) => (7 * i + 1) % vocabSize)];
  const fitting = tokens.filter((count) => count <= maxPositions);
  const body = async () => {
    for (const count of training ? fitting : []) {
      if (count === 1) continue; // no token predicts another
      const inputIds = rowOf(count);
      tidy(() => {
        const { loss } = model.forward({ inputIds, labels: inputIds });
        if (loss!.requiresGrad) loss!.backward();
      });
    }
    if (!generation) return;
    const prompt = Math.min(Math.max(1, ...fitting), maxPositions - 2);
    await model.generate(rowOf(prompt), { maxNewTokens: 2, eosTokenId: null });
  };
  let shapes: TuningShape[] = [];
  await keepingGradients([...model.parameters()], async () => {
    shapes = await recordNamed(model.device, body, layerNames(model));
  });
  return shapes;
}

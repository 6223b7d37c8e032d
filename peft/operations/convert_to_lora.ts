/**
 * A trained adapter that started from the weight (PiSSA, OLoRA) as plain LoRA over the untouched base:
 *   W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]
 * so A' = [A; A0], B' = [B, -B0], and rank and alpha twice what they were (with rsLoRA alpha times sqrt 2). Python's
 * `peft` writes the same with `path_initial_model_for_weight_conversion`, and loses what is not lora_A or lora_B.
 * @module
 */

import { concat, full, negate, sameShape, showShape, Tensor, tidy, untracked } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import { readAdapterConfig, readAdapterValues } from "../files/adapter_files.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import { lowRankLayers } from "../lora/low_rank.ts";
import { KEY_PREFIX } from "../methods/adapter_format.ts";

/** An adapter as it is written. */
export interface WrittenAdapter {
  readonly config: PeftConfig;
  /** By keys on disk; the caller disposes the tensors that are not parameters. */
  readonly tensors: Map<string, Tensor>;
}

/** A0 [r, in] and -B0 [out, r] by the keys on disk of the A and B they belong to. */
type Starts = Map<string, Tensor>;

const doubled = (table: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(table).map(([key, value]) => [key, 2 * value]));

function plainConfig(config: LoraConfig): LoraConfig {
  return withFields(config, {
    initLoraWeights: true,
    r: 2 * config.r,
    loraAlpha: config.loraAlpha * (config.useRslora ? Math.SQRT2 : 2),
    rankPattern: doubled(config.rankPattern),
    alphaPattern: doubled(config.alphaPattern),
  });
}

/** What the layers subtracted from their weights. */
function ownStarts(model: Module, name: string): Starts {
  const starts: Starts = new Map();
  for (const [path, layer] of lowRankLayers(model)) {
    const offset = layer.lowRank(name)?.offset;
    if (!offset) continue;
    starts.set(`${KEY_PREFIX}${path}.lora_A.weight`, offset.A);
    starts.set(`${KEY_PREFIX}${path}.lora_B.weight`, offset.B);
  }
  return starts;
}

/** The A and B of an adapter that was saved before training; the caller disposes them. */
async function savedStarts(folder: string, tensors: ReadonlyMap<string, Tensor>): Promise<Starts> {
  const config = await readAdapterConfig(folder);
  const { name, values } = await readAdapterValues(folder, config);
  const starts: Starts = new Map();
  for (const [key, tensor] of tensors) {
    if (!/\.lora_[AB]\.weight$/.test(key)) continue;
    const value = values.get(key);
    if (!value || !sameShape(value.shape, tensor.shape)) {
      for (const made of starts.values()) made.dispose();
      const [wanted, received] = [showShape(tensor.shape), value ? showShape(value.shape) : "none"];
      throw new TypeError(
        `Cannot convert the adapter to plain LoRA: "${name}" must hold "${key}" of shape ${wanted}, received ${received}`,
      );
    }
    const start = untracked(() => Tensor.from(value.data, { shape: value.shape, device: tensor.device }));
    starts.set(key, key.endsWith("lora_B.weight") ? untracked(() => tidy(() => negate(start))) : start);
    if (key.endsWith("lora_B.weight")) start.dispose();
  }
  return starts;
}

/** Axis of the rank in each kind of factor; others are left as they are. */
const RANK_AXES: readonly [ending: RegExp, axis: 0 | 1][] = [
  [/\.lora_(embedding_)?A(\.weight)?$/, 0],
  [/\.lora_(embedding_)?B(\.weight)?$/, 1],
];

/**
 * The adapter as plain LoRA. Layers that subtracted nothing from their weight get zeros in place of A0 and B0.
 * @param initialFolder an adapter saved before training, as `peft` wants it; default: what the layers remember
 * @throws {TypeError} if it is no LoRA, or the folder's tensors do not fit   @throws {RangeError} if it is plain
 * already, or for rsLoRA with patterns
 */
export async function convertToLora(
  model: Module,
  name: string,
  { config, tensors }: WrittenAdapter,
  initialFolder?: string,
): Promise<WrittenAdapter> {
  const action = `Cannot convert adapter "${name}" to plain LoRA`;
  if (!(config instanceof LoraConfig)) {
    throw new TypeError(`${action}: a LoRA adapter is required, received ${config.peftType}`);
  }
  const patterns = [config.rankPattern, config.alphaPattern].some((table) => Object.keys(table).length > 0);
  if (config.useRslora && patterns) {
    throw new RangeError(
      `${action}: it is not supported when using \`rank_pattern\` or \`alpha_pattern\` at the same time as \`use_rslora=True\``,
    );
  }
  const starts = initialFolder ? await savedStarts(initialFolder, tensors) : ownStarts(model, name);
  if (starts.size === 0) {
    throw new RangeError(
      `${action}: an adapter that starts from the weight is required, received one that does not`,
    );
  }
  const joined = new Map<string, Tensor>();
  for (const [key, tensor] of tensors) {
    const axis = RANK_AXES.find(([ending]) => ending.test(key))?.[1];
    if (axis === undefined) {
      joined.set(key, tensor);
      continue;
    }
    const make = () =>
      tidy(() => concat([tensor.detach(), starts.get(key) ?? full(tensor.device, tensor.shape, 0)], axis));
    joined.set(key, untracked(make));
  }
  if (initialFolder) { for (const start of starts.values()) start.dispose(); }
  return { config: plainConfig(config), tensors: joined };
}

/**
 * EVA (Paischer et al. 2024, arXiv:2410.07170): LoRA's A starts as the principal components of the layer's inputs, and
 * ranks move to the layers where they explain more of them.
 *
 * `peft` finds the components batch by batch with random projections, until they no longer change. Here the covariance
 * of the inputs is summed over the batches on the device, each batch once, and its components are those of all batches
 * together.
 * @module
 */

import {
  add,
  matmul,
  multiply,
  noGrad,
  reshape,
  scale,
  slice,
  square,
  subtract,
  sum,
  svdLowrank,
  Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";
import type { AdaptableModel } from "../adaptable_model.ts";
import { findHost } from "../adapters/find_adapters.ts";
import { GradientFlags } from "../adapters/gradient_flags.ts";
import { Tuner } from "../adapters/tuner.ts";
import { withFields } from "../config/peft_config.ts";
import { AdaptedLinear } from "../layers/adapted_linear.ts";
import { completeEva, type EvaConfig } from "../lora/eva_config.ts";
import { LoraConfig } from "../lora/lora_config.ts";
import { patternValue } from "../targets/targets.ts";
import { inEvalMode, type Module } from "../../nn/mod.ts";

/** Subspace iterations for the components: on a covariance each counts twice. */
const ITERATIONS = 8;

/**
 * A batch of token ids.
 *
 * @example
 * ```ts
 * import type { EvaBatch } from "@peft/webgpu/peft";
 *
 * const batches: EvaBatch[] = [
 *   { inputIds: [[5, 6, 7], [8, 9, 0]], attentionMask: [[1, 1, 1], [1, 1, 0]] },
 *   { inputIds: [[5, 6, 7, 8]], labels: [[-100, -100, 7, 8]] }, // the answer alone counts
 * ];
 * console.log(batches.length); // initializeLoraEvaWeights(peftModel, batches) takes them, or a DataLoader
 * ```
 */
export interface EvaBatch {
  /** [B, T] */
  readonly inputIds: readonly (readonly number[])[];
  /** [B, T], 1 for tokens and 0 for padding; default all tokens. */
  readonly attentionMask?: readonly (readonly number[])[];
  /** [B, T]; tokens with the label -100 are left out. */
  readonly labels?: readonly (readonly number[])[];
}

/** Components of one layer's inputs. */
interface Components {
  /** [max rank, in] */
  readonly rows: Tensor;
  /** Singular values of the centred inputs. */
  readonly values: number[];
  /** Fraction of the variance that each explains. */
  readonly ratios: number[];
}

/** Sums over the inputs of one layer, minus the mean of the first batch, so that small numbers keep their precision. */
interface Sums {
  /** [in] */
  readonly first: Tensor;
  /** [in, in] */
  readonly second: Tensor;
  /** [1]: the trace of `second`. */
  readonly trace: Tensor;
}

/** Statistics of the inputs of one layer. */
class InputStatistics {
  #shift: Tensor | null = null;
  #sums: Sums | null = null;
  #count = 0;

  /** Adds the rows of x [..., in] whose weight is 1; `weights` [rows, 1], `kept` of them are 1. */
  add(x: Tensor, weights: Tensor, kept: number): void {
    const width = x.shape.at(-1)!;
    const before = this.#sums;
    const { shift, ...sums } = untracked(() =>
      tidy(() => {
        const rows = multiply(reshape(x, [x.size / width, width]), weights);
        const shift = this.#shift ?? scale(sum(rows, { axis: 0 }), 1 / kept);
        const moved = subtract(rows, multiply(shift, weights));
        const fresh: Sums = {
          first: sum(moved, { axis: 0 }),
          second: matmul(moved, moved, { transposeA: true }),
          trace: sum(square(moved)),
        };
        if (!before) return { shift, ...fresh };
        return {
          shift,
          first: add(before.first, fresh.first),
          second: add(before.second, fresh.second),
          trace: add(before.trace, fresh.trace),
        };
      })
    );
    for (const tensor of before ? Object.values(before) : []) tensor.dispose();
    this.#shift = shift;
    this.#sums = sums;
    this.#count += kept;
  }

  /** Rows added so far. */
  get count(): number {
    return this.#count;
  }

  /** The `rank` components of the largest variance; the caller disposes `rows`. */
  async components(rank: number): Promise<Components> {
    const { first, second, trace } = this.#sums!;
    const { rows, squares, variance } = untracked(() =>
      tidy(() => {
        const [n, part] = [first.size, 1 / this.#count];
        const mean = matmul(reshape(first, [n, 1]), reshape(first, [1, n]));
        const scatter = subtract(second, scale(mean, part)); // [in, in]
        const { s, vT } = svdLowrank(scatter, Math.min(2 * rank, n), { iterations: ITERATIONS });
        return { rows: vT, squares: s, variance: subtract(trace, scale(sum(square(first)), part)) };
      })
    );
    const [values, total] = [await squares.data(), await variance.item()];
    for (const tensor of [squares, variance]) tensor.dispose();
    const largest = [...values].slice(0, rank);
    return { rows, values: largest.map(Math.sqrt), ratios: largest.map((value) => value / total) };
  }

  /** Frees its memory. */
  dispose(): void {
    this.#shift?.dispose();
    for (const tensor of this.#sums ? Object.values(this.#sums) : []) tensor.dispose();
  }
}

/** Which positions of a batch count, row by row. */
function keptPositions({ inputIds, attentionMask, labels }: EvaBatch, eva: EvaConfig): number[] {
  return inputIds.flatMap((row, b) =>
    row.map((_, t) => {
      const masked = eva.useLabelMask && labels?.[b][t] === eva.labelMaskValue;
      return (attentionMask?.[b][t] ?? 1) !== 0 && !masked ? 1 : 0;
    })
  );
}

/** Round half to even, as Python's round(). */
function roundEven(x: number): number {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + low % 2 : Math.round(x);
}

/** Runs the batches through the base model and collects the inputs of each layer. */
async function gather(
  tuner: Tuner<Module>,
  layers: ReadonlyMap<AdaptedLinear, string>,
  batches: Iterable<EvaBatch> | AsyncIterable<EvaBatch>,
  eva: EvaConfig,
): Promise<Map<AdaptedLinear, InputStatistics>> {
  const found = new Map([...layers.keys()].map((layer) => [layer, new InputStatistics()]));
  const { model, state } = tuner;
  try {
    for await (const batch of batches) {
      const kept = keptPositions(batch, eva);
      const count = kept.reduce((total, one) => total + one, 0);
      if (count === 0) continue;
      const { device } = [...layers.keys()][0].weight;
      const weights = untracked(() =>
        Tensor.from(Float32Array.from(kept), { shape: [kept.length, 1], device })
      );
      const { inputIds, attentionMask } = batch;
      state.observer = (layer, x) => found.get(layer as AdaptedLinear)?.add(x, weights, count);
      try {
        inEvalMode(() =>
          noGrad(() =>
            tidy(() => {
              tuner.switch.during(() => (model as AdaptableModel).forward({ inputIds, attentionMask }));
            })
          )
        );
      } finally {
        state.observer = null; // other forwards may run before the next batch
        weights.dispose();
      }
    }
    return found;
  } catch (error) {
    for (const statistics of found.values()) statistics.dispose();
    throw error;
  }
}

/** Ranks of the layers: as many components in all as before, those that explain most. */
function shareRanks(
  layers: readonly string[],
  ratios: readonly (readonly number[])[],
  budget: number,
): number[] {
  const all = ratios.flatMap((own, i) => own.map((ratio) => ({ ratio, i })));
  const chosen = all.sort((a, b) => b.ratio - a.ratio).slice(0, budget);
  return layers.map((_, i) => chosen.filter((component) => component.i === i).length);
}

/**
 * Sets A of a fresh `initLoraWeights: "eva"` adapter to the components of its layers' inputs, and gives each layer its
 * rank; layers with none leave the adapter. Call it before training; B is zero, so that the model computes the same.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, initializeLoraEvaWeights, LoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const config = new LoraConfig({ r: 2, initLoraWeights: "eva", targetModules: ["h.1.attn.c_proj", "h.3.attn.c_proj"] });
 * const peftModel = getPeftModel(base, config);
 * await initializeLoraEvaWeights(peftModel, [{ inputIds: [[1, 2, 3, 4, 5, 6, 7, 8]] }]); // in earnest, hundreds of rows
 * console.log((peftModel.peftConfig.default as LoraConfig).rankPattern); // the ranks that layers have got
 * ```
 * @param batches a few hundred sequences of the data to train on
 * @throws {TypeError} if the adapter is no LoRA that asks for EVA   @throws {RangeError} if the batches hold fewer
 * tokens than a layer may get components; the adapter is then unchanged
 */
export async function initializeLoraEvaWeights(
  peftModel: Module,
  batches: Iterable<EvaBatch> | AsyncIterable<EvaBatch>,
  options: { adapterName?: string } = {},
): Promise<void> {
  const { adapterName = "default" } = options;
  const tuner = findHost(peftModel);
  const config = tuner?.configs.get(adapterName);
  const action = `Cannot initialize adapter "${adapterName}" with EVA`;
  if (!(tuner instanceof Tuner && config instanceof LoraConfig && config.initLoraWeights === "eva")) {
    throw new TypeError(`${action}: a LoRA adapter with initLoraWeights "eva" is required`);
  }
  const eva = config.evaConfig ?? completeEva({});
  const layers = new Map<AdaptedLinear, string>();
  const others: string[] = [];
  for (const [path, layer] of tuner.layers()) {
    if (!layer.adapterNames().includes(adapterName)) continue;
    if (layer instanceof AdaptedLinear) layers.set(layer, path);
    else others.push(path);
  }
  const paths = [...layers.values()];
  const ranks = paths.map((path) => patternValue(config.rankPattern, path, config.r));
  const most = [...layers.keys()].map(({ inFeatures }, i) =>
    Math.min(inFeatures, roundEven(ranks[i] * eva.rho))
  );
  const statistics = [...(await gather(tuner, layers, batches, eva)).values()];
  const parts: Components[] = [];
  try {
    const seen = statistics[0]?.count ?? 0;
    if (seen < Math.max(...most)) {
      throw new RangeError(
        `${action}: at least ${Math.max(...most)} tokens that are not masked are required, received ${seen}`,
      );
    }
    for (const [i, own] of statistics.entries()) parts.push(await own.components(most[i]));
    const budget = ranks.reduce((total, rank) => total + rank, 0);
    const shared = shareRanks(paths, parts.map(({ ratios }) => ratios), budget);
    const rankPattern: Record<string, number> = {};
    const alphaPattern: Record<string, number> = {};
    paths.forEach((path, i) => {
      if (shared[i] === 0) return;
      const alpha = patternValue(config.alphaPattern, path, config.loraAlpha);
      const own = eva.adjustScalingFactors ? alpha * shared[i] / ranks[i] : alpha;
      if (shared[i] !== config.r) rankPattern[path] = shared[i];
      if (own !== config.loraAlpha) alphaPattern[path] = own;
    });
    const targetModules = [...paths.filter((_, i) => shared[i] > 0), ...others];
    restart(tuner, adapterName, withFields(config, { targetModules, rankPattern, alphaPattern }));
    const made = new Map(tuner.layers());
    paths.forEach((path, i) => {
      if (shared[i] === 0) return;
      setRows((made.get(path) as AdaptedLinear).lowRank(adapterName)!.A, parts[i], eva.whiten);
    });
  } finally {
    for (const own of statistics) own.dispose();
    for (const { rows } of parts) rows.dispose();
  }
}

/** Makes a fresh adapter again under its name, as active and trainable as before. */
function restart(tuner: Tuner<Module>, name: string, config: LoraConfig): void {
  tuner.switch.change(() => {
    const active = [...tuner.state.active];
    const trained = [...tuner.adapterState(name).values()].some((parameter) => parameter.requiresGrad);
    const flags = new GradientFlags(tuner.model.parameters());
    tuner.remove(name);
    tuner.inject(config, name);
    tuner.state.active = active;
    flags.restore();
    for (const parameter of tuner.adapterState(name).values()) parameter.requiresGrad = trained;
  });
}

/** A [r, in] = the first r components, whitened if asked. */
function setRows(weight: Tensor, { rows, values }: Components, whiten: boolean): void {
  const [rank] = weight.shape;
  noGrad(() =>
    tidy(() => {
      const own = slice(rows, 0, 0, rank);
      const factors = values.slice(0, rank).map((value) => [whiten ? 1 / Math.sqrt(value) : 1]);
      const scaled = multiply(own, Tensor.from(factors, { device: weight.device }));
      weight.device.copy(scaled.view, weight.view);
    })
  );
}

/**
 * AdaLoRA's budget: how many singular values are left after a step, and which (Zhang et al. 2023, arXiv:2303.10512).
 * Importance is smoothed on the device; an allocation reads back one number per singular value.
 * @module
 */

import {
  add,
  addDiagonal,
  concat,
  embedding,
  full,
  type Importance,
  matmul,
  mean,
  multiply,
  noGrad,
  readAndDispose,
  reshape,
  scale,
  sqrt,
  square,
  sum,
  Tensor,
  type TensorData,
  tidy,
  transpose,
  untracked,
  updateImportance,
} from "../../autograd/mod.ts";
import type { SharedPart, TrainingState } from "../layers/tuner_layer.ts";
import type { AdaLoraConfig, RankPattern } from "./adalora_config.ts";
import { KEY_PREFIX } from "./adapter_format.ts";
import type { Parameter } from "../../nn/mod.ts";

/** The quantities that are smoothed, for each parameter. */
const SMOOTHED = ["sensitivity", "uncertainty"] as const;

/** Singular vectors A [r, in] and B [out, r] and singular values E [r, 1] of one layer. */
export interface SingularFactors {
  readonly A: Parameter;
  readonly B: Parameter;
  readonly E: Parameter;
  /** The three by their keys on disk. */
  readonly parameters: Readonly<Record<string, Parameter>>;
}

/** Distributes the rank of one adapter over its layers. */
export class RankAllocator implements SharedPart {
  readonly #config: AdaLoraConfig;
  readonly #layers = new Map<string, SingularFactors>();
  readonly #importance = new Map<Parameter, Importance>();
  #pattern: RankPattern | null;

  /** Layers are registered as they are made. */
  constructor(config: AdaLoraConfig) {
    this.#config = config;
    this.#pattern = config.rankPattern;
  }

  /** Registers a layer. */
  register(path: string, adapter: SingularFactors): void {
    this.#layers.set(path, adapter);
  }

  /** orth_reg_weight times the mean of |A A^T - I| and |B^T B - I| over all A and B, a scalar. */
  extraLoss(): Tensor {
    return tidy(() => {
      const layers = [...this.#layers.values()];
      const norms = [
        ...byShape(layers.map(({ A }) => A)).map((group) => sumOfNorms(group, false)),
        ...byShape(layers.map(({ B }) => B)).map((group) => sumOfNorms(group, true)),
      ];
      if (norms.length === 0) return full(layers[0].A.device, [], 0);
      return scale(norms.reduce((a, b) => add(a, b)), this.#config.orthRegWeight / (2 * layers.length));
    });
  }

  /** Singular values the schedule leaves at a step, and whether this step allocates. */
  #budget(step: number): { budget: number; allocates: boolean } {
    const { tinit, tfinal, deltaT, targetR } = this.#config;
    const totalStep = this.#config.totalStep!;
    const initial = [...this.#layers.values()].reduce((total, { E }) => total + E.size, 0);
    const target = targetR * this.#layers.size;
    if (step <= tinit) return { budget: initial, allocates: false };
    if (step > totalStep - tfinal) return { budget: target, allocates: true };
    const left = 1 - (step - tinit) / (totalStep - tfinal - tinit);
    const budget = Math.trunc((initial - target) * left ** 3 + target);
    return { budget, allocates: step % deltaT === 0 };
  }

  /**
   * Smooths importance, and sets the singular values beyond the budget of this step to 0.
   * @throws {RangeError} without gradients, or if the allocation comes before any of them
   */
  async updateAndAllocate(step: number): Promise<Partial<AdaLoraConfig>> {
    const last = this.#config.totalStep! - this.#config.tfinal;
    if (step > last) {
      if (this.#pattern) this.#mask(this.#pattern);
      return {};
    }
    if (step < last) this.#updateImportance();
    const { budget, allocates } = this.#budget(step);
    if (!allocates && step < last) return {};
    const masks = await this.#allocate(budget);
    this.#mask(masks);
    if (step === last) this.#forgetImportance();
    const spreadMasks = Object.entries(masks).map(([key, mask]) => [key, spread(mask, this.#pattern?.[key])]);
    this.#pattern = { ...this.#pattern, ...Object.fromEntries(spreadMasks) };
    return { rankPattern: this.#pattern };
  }

  #updateImportance(): void {
    const { beta1, beta2 } = this.#config;
    for (const { A, B, E } of this.#layers.values()) {
      for (const parameter of [A, B, E]) {
        if (parameter.size === 0) continue;
        if (!parameter.grad) {
          throw new RangeError(
            "Cannot update AdaLoRA's importance: gradients are required, call updateAndAllocate() after backward() and before zeroGrad()",
          );
        }
        updateImportance(parameter, parameter.grad, this.#importanceOf(parameter), beta1, beta2);
      }
    }
  }

  /** The smoothed quantities of a parameter; zeros at first. */
  #importanceOf(parameter: Parameter): Importance {
    let importance = this.#importance.get(parameter);
    if (!importance) {
      const zeros = () => untracked(() => full(parameter.device, parameter.shape, 0));
      this.#importance.set(parameter, importance = { sensitivity: zeros(), uncertainty: zeros() });
    }
    return importance;
  }

  /** The score of every singular value of a layer, [r]. */
  #scores({ A, B, E }: SingularFactors): Tensor {
    const score = (parameter: Parameter) => {
      const importance = this.#importance.get(parameter);
      if (importance) return multiply(importance.sensitivity, importance.uncertainty);
      throw new RangeError(
        "Cannot allocate AdaLoRA's ranks: updateAndAllocate() is required after every step",
      );
    };
    const vectors = add(mean(score(A), { axis: 1 }), mean(score(B), { axis: 0 })); // [r]
    return add(reshape(score(E), [E.size]), vectors);
  }

  /** Which singular values stay: those above the smallest `initial - budget` scores. */
  async #allocate(budget: number): Promise<Record<string, boolean[]>> {
    const layers = [...this.#layers].filter(([, { E }]) => E.size > 0);
    if (layers.length === 0) return {};
    const joined = untracked(() =>
      noGrad(() => tidy(() => concat(layers.map(([, adapter]) => this.#scores(adapter)), 0)))
    );
    const scores = await readAndDispose(joined) as Float32Array;
    const cut = scores.length - budget;
    const threshold = cut > 0 ? scores.toSorted()[Math.min(cut, scores.length) - 1] : -Infinity;
    let from = 0;
    return Object.fromEntries(layers.map(([path, { E }]) => {
      const own = scores.subarray(from, from += E.size);
      return [`${path}.lora_E`, Array.from(own, (score) => score > threshold)];
    }));
  }

  /** Sets the singular values that a pattern leaves out to 0. */
  #mask(pattern: RankPattern): void {
    for (const [path, { E }] of this.#layers) {
      const mask = pattern[`${path}.lora_E`];
      if (!mask || mask.length !== E.size || E.size === 0) continue; // a layer that was cut has them no longer
      noGrad(() =>
        tidy(() => {
          const keep = Tensor.from(Float32Array.from(mask, Number), { shape: E.shape, device: E.device });
          E.device.copy(multiply(E, keep).view, E.view);
        })
      );
    }
  }

  /** The parameters without the singular vectors and values that were pruned. */
  savedTensors(state: ReadonlyMap<string, Parameter>): Map<string, Tensor> {
    const saved = new Map<string, Tensor>(state);
    for (const [path, { A, B, E }] of this.#layers) {
      const mask = this.#pattern?.[`${path}.lora_E`];
      if (!mask || mask.length !== E.size || mask.every((left) => left)) continue;
      const rows = mask.flatMap((left, i) => left ? [i] : []);
      const prefix = `${KEY_PREFIX}${path}`;
      saved.set(`${prefix}.lora_A`, selectRows(A, rows));
      saved.set(`${prefix}.lora_E`, selectRows(E, rows));
      saved.set(`${prefix}.lora_B`, selectColumns(B, rows));
    }
    return saved;
  }

  /** Importance of every parameter, and which singular values are left. */
  async trainingState(): Promise<TrainingState> {
    const entries: [string, Promise<TensorData>][] = [];
    for (const [path, { parameters }] of this.#layers) {
      for (const [key, parameter] of Object.entries(parameters)) {
        const importance = this.#importance.get(parameter);
        if (!importance) continue;
        for (const name of SMOOTHED) entries.push([`${path}.${key}.${name}`, importance[name].data()]);
      }
    }
    const state = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [name, data] of entries) state.set(name, await data as Float32Array<ArrayBuffer>);
    for (const [key, mask] of Object.entries(this.#pattern ?? {})) {
      state.set(`${key}.left`, Float32Array.from(mask, Number));
    }
    return state;
  }

  /** Restores that state. */
  loadTrainingState(state: TrainingState): Partial<AdaLoraConfig> {
    this.#forgetImportance();
    const pattern: Record<string, boolean[]> = {};
    for (const [path, { parameters }] of this.#layers) {
      for (const [key, parameter] of Object.entries(parameters)) {
        for (const name of SMOOTHED) {
          const data = state.get(`${path}.${key}.${name}`);
          if (data) this.#importanceOf(parameter)[name].write(data);
        }
      }
      const left = state.get(`${path}.lora_E.left`);
      if (left) pattern[`${path}.lora_E`] = Array.from(left, (value) => value === 1);
    }
    if (Object.keys(pattern).length > 0) this.#pattern = pattern;
    return { rankPattern: this.#pattern };
  }

  #forgetImportance(): void {
    for (const { sensitivity, uncertainty } of this.#importance.values()) {
      sensitivity.dispose();
      uncertainty.dispose();
    }
    this.#importance.clear();
  }

  /** Frees the memory of importance. */
  dispose(): void {
    this.#forgetImportance();
  }
}

/** A mask over what is left of an earlier mask, as a mask over all. */
function spread(mask: readonly boolean[], earlier: readonly boolean[] | undefined): readonly boolean[] {
  if (!earlier || earlier.length === mask.length) return mask;
  let i = 0;
  return earlier.map((left) => left && mask[i++]);
}

/** Tensors of equal shapes together; empty ones are left out. */
function byShape(tensors: readonly Tensor[]): Tensor[][] {
  const groups = new Map<string, Tensor[]>();
  for (const tensor of tensors.filter(({ size }) => size > 0)) {
    const key = tensor.shape.join();
    groups.set(key, [...groups.get(key) ?? [], tensor]);
  }
  return [...groups.values()];
}

/** The sum of |P P^T - I| (or of |P^T P - I|) over matrices of one shape, a scalar. */
function sumOfNorms(group: readonly Tensor[], columns: boolean): Tensor {
  const [rows, cols] = group[0].shape;
  const stacked = reshape(concat(group, 0), [group.length, rows, cols]);
  const gram = matmul(stacked, stacked, columns ? { transposeA: true } : { transposeB: true }); // [n, r, r]
  return sum(sqrt(sum(square(addDiagonal(gram, -1)), { axis: [1, 2] })));
}

/** Rows of a matrix as a new tensor, outside the graph. */
function selectRows(matrix: Tensor, rows: readonly number[]): Tensor {
  return untracked(() => noGrad(() => tidy(() => rowsOf(matrix, rows))));
}

/** Columns of a matrix as a new tensor, outside the graph. */
function selectColumns(matrix: Tensor, cols: readonly number[]): Tensor {
  return untracked(() => noGrad(() => tidy(() => transpose(rowsOf(transpose(matrix), cols)))));
}

function rowsOf(matrix: Tensor, rows: readonly number[]): Tensor {
  const { device, shape: [, cols] } = matrix;
  if (rows.length === 0) return Tensor.from(new Float32Array(0), { shape: [0, cols], device });
  return embedding(Tensor.from(Int32Array.from(rows), { device }), matrix);
}

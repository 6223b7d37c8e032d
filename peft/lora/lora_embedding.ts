/**
 * An embedding with LoRA adapters beside it: y = E[x] + s A[:, x]^T B^T, A [r, V] and B [C, r]. With DoRA, y is
 * multiplied by m / n, n the column norms of E + s (B A)^T. Dropout is not applied here, as in `peft`.
 * @module
 */

import {
  add,
  cast,
  divide,
  embedding,
  linear,
  multiply,
  noGrad,
  reshape,
  scale,
  Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";
import { type Embedding, Module, ModuleDict, Parameter, ParameterDict } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { LoraScaling } from "../state/lora_scaling.ts";
import type { LowRankFactors } from "../state/low_rank_factors.ts";
import { patternValue } from "../targets/targets.ts";
import { columnNorms, DoraMagnitude } from "./dora.ts";
import type { LoraConfig } from "./lora_config.ts";
import { changedWeight, type LoraFactors } from "./lora_factors.ts";
import { loraScaling } from "./lora_linear.ts";
import type { LowRankLayer } from "./low_rank.ts";

/**
 * Replaces an Embedding. Properties carry `peft`'s names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { LoraEmbedding } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["wte"] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof LoraEmbedding) console.log(path);
 * ```
 */
export class LoraEmbedding extends Module implements LowRankLayer {
  /** The layer it replaced. */
  base_layer: Embedding;
  /** A of each adapter, [r, V]. */
  lora_embedding_A: ParameterDict = new ParameterDict();
  /** B of each adapter, [C, r]. */
  lora_embedding_B: ParameterDict = new ParameterDict();
  /** Lengths of the table's columns, of each DoRA adapter. */
  lora_magnitude_vector: ModuleDict<DoraMagnitude> = new ModuleDict();
  /** Scaling of each adapter. */
  readonly scaling: LoraScaling;
  readonly #state: AdapterState;

  /** Wraps a layer; adapters are added after. */
  constructor(base: Embedding, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
    this.scaling = new LoraScaling(state);
  }

  /** The base table [V, C], merged or not. */
  get weight(): Parameter {
    return this.base_layer.weight;
  }

  /** What all adapters of the model share. */
  get adapterState(): AdapterState {
    return this.#state;
  }

  /** Adapters that act on this layer and are not merged into it. */
  #acting(): string[] {
    return this.#state.acting((name) => this.lora_embedding_A.has(name));
  }

  /** The table as a Conv1D's weight from ids to channels. */
  #factors(name: string): LoraFactors {
    const [A, B] = [this.lora_embedding_A.get(name)!, this.lora_embedding_B.get(name)!];
    return { weight: this.weight, layout: "conv1d", A, B, s: this.scaling.get(name)! };
  }

  /** ids int32 [...] -> [..., C]. */
  forward(ids: Tensor): Tensor {
    let y = this.base_layer.forward(ids);
    const { rows } = this.#state;
    if (rows) return this.#mixed(ids, y, rows.names);
    for (const name of this.#acting()) {
      const { A, B, s } = this.#factors(name);
      y = linear(scale(embedding(ids, A, { transposed: true }), s), B, null, { residual: y });
      const magnitude = this.lora_magnitude_vector.get(name)?.weight;
      if (magnitude) y = multiply(y, divide(magnitude, columnNorms(this.#factors(name))));
    }
    return y;
  }

  /** y with the change of each row's own adapter; names [B], ids [B, ...]. */
  #mixed(ids: Tensor, y: Tensor, names: readonly string[]): Tensor {
    for (const name of new Set(names)) {
      if (!this.lora_embedding_A.has(name)) continue;
      const { A, B, s } = this.#factors(name);
      const u = scale(embedding(ids, A, { transposed: true }), s); // [..., r]
      const here = names.map((row) => row === name ? 1 : 0);
      const rows = Tensor.from(here, { device: ids.device });
      y = add(y, multiply(linear(u, B, null), reshape(rows, [names.length, ...ids.shape.map(() => 1)])));
    }
    return y;
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.lora_embedding_A.keys();
  }

  /** @internal Makes an adapter's A (zero) and B (normal). @throws {RangeError} with loraBias */
  addAdapter(name: string, config: LoraConfig, path: string, { init }: InjectionContext): void {
    if (config.loraBias) refuseConfig("lora", `lora_bias=True is not supported for the embedding "${path}"`);
    const rank = patternValue(config.rankPattern, path, config.r);
    const [rows, cols] = this.weight.shape;
    const A = config.initLoraWeights ? init.constant([rank, rows], 0) : init.normal([rank, rows], 1);
    this.lora_embedding_A.set(name, A);
    this.lora_embedding_B.set(name, init.normal([cols, rank], 1));
    this.scaling.start(name, loraScaling(config, path));
    if (config.useDora) {
      const norms = untracked(() => columnNorms(this.#factors(name)));
      this.lora_magnitude_vector.set(name, new DoraMagnitude(new Parameter(norms)));
    }
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    for (const parts of [this.lora_embedding_A, this.lora_embedding_B, this.lora_magnitude_vector]) {
      parts.delete(name);
    }
    this.scaling.delete(name);
  }

  /** A, B and DoRA's lengths by their keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const [A, B] = [this.lora_embedding_A.get(name), this.lora_embedding_B.get(name)];
    if (!A || !B) return [];
    const magnitude = this.lora_magnitude_vector.get(name);
    return [
      ["lora_embedding_A", A],
      ["lora_embedding_B", B],
      ...(magnitude ? [["lora_magnitude_vector", magnitude.weight] as [string, Parameter]] : []),
    ];
  }

  /** An adapter's A and B. */
  lowRank(name: string): LowRankFactors | null {
    const [A, B] = [this.lora_embedding_A.get(name), this.lora_embedding_B.get(name)];
    return A && B ? { A, B, bias: null, hasMagnitude: this.lora_magnitude_vector.has(name) } : null;
  }

  /** The table with an adapter's change, [V, C]. */
  #changed(name: string): Tensor {
    const table = changedWeight(this.#factors(name));
    const magnitude = this.lora_magnitude_vector.get(name)?.weight;
    return magnitude ? multiply(table, divide(magnitude, columnNorms(this.#factors(name)))) : table;
  }

  /** Adds an adapter's change to the table. */
  merge(name: string): void {
    if (!this.lora_embedding_A.has(name)) return;
    const { weight } = this;
    noGrad(() => tidy(() => weight.device.copy(cast(this.#changed(name), weight.dtype).view, weight.view)));
  }

  /** The table. */
  mergedWeights(): Parameter[] {
    return [this.weight];
  }
}

/**
 * Rows of an embedding that train while the others stay: the adapter holds the whole rows, not differences, so that
 * they do not depend on how a base initialised its rows for new tokens. A head that is tied to the embedding uses the
 * same rows.
 * @module
 */

import {
  add,
  cast,
  concat,
  embedding,
  full,
  linear,
  multiply,
  noGrad,
  replaceRows,
  reshape,
  slice,
  Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";
import { Embedding, type Linear, Module, Parameter, ParameterDict } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { renameIn, renameKey } from "../layers/rename_adapter.ts";
import type { InjectionContext, TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";

/**
 * The tokens that an adapter trains.
 *
 * @example
 * ```ts
 * import { TrainableTokensConfig } from "@peft/webgpu";
 * import type { TokenChoice } from "@peft/webgpu/peft";
 *
 * const { tokenIndices, initWeights }: TokenChoice = new TrainableTokensConfig({ tokenIndices: [5, 6, 7] });
 * console.log(tokenIndices.length, initWeights); // 3 true: the rows start as the base's
 * ```
 */
export interface TokenChoice {
  /** Ids of the rows. */
  readonly tokenIndices: readonly number[];
  /** Start from the base's rows; otherwise from normal numbers. */
  readonly initWeights: boolean;
}

/** The tokens of one adapter. */
interface Tokens {
  readonly ids: readonly number[];
  /** [V, 2]: 1 where the base's row stays, and else the place of the adapter's row, counted from 1. */
  readonly places: Tensor;
}

/**
 * Replaces an Embedding, or the Linear that is tied to it. Properties carry `peft`'s names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { TrainableTokensLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], trainableTokenIndices: [5, 6] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof TrainableTokensLayer) console.log(path);
 * ```
 */
export class TrainableTokensLayer extends Module implements TunerLayer {
  /** The layer it replaced. */
  base_layer: Embedding | Linear;
  /** Rows of each adapter, [n, C]. */
  trainable_tokens_delta: ParameterDict;
  /** Merging changes the weight for every module that shares it: they all use these rows. */
  readonly keepsTies = true;
  readonly peftClass = "TrainableTokensLayer";
  readonly #state: AdapterState;
  readonly #leader: TrainableTokensLayer | null;
  /** Whether a file holds the rows under this layer's name too. */
  readonly #declares: boolean;
  readonly #tokens: Map<string, Tokens>;
  /** The base's rows of merged adapters, in the base's dtype. */
  readonly #replaced = new Map<string, Tensor>();

  /**
   * Wraps a layer; with `leader`, one that is tied to that layer's base and uses its rows, under its own name too if it
   * `declares` them.
   */
  constructor(
    base: Embedding | Linear,
    state: AdapterState,
    leader: TrainableTokensLayer | null = null,
    declares = true,
  ) {
    super();
    this.base_layer = base;
    this.trainable_tokens_delta = leader?.trainable_tokens_delta ?? new ParameterDict();
    this.training = base.training;
    this.#state = state;
    this.#leader = leader;
    this.#declares = declares;
    this.#tokens = leader ? leader.#tokens : new Map();
  }

  /** The base table [V, C], merged or not. */
  get weight(): Parameter {
    return this.base_layer.weight;
  }

  /**
   * Adapters that act here and are not merged.
   * @throws {RangeError} if two of them have a token in common
   */
  #acting(): string[] {
    const acting = this.#state.acting((name) => this.#tokens.has(name));
    const clash = this.#overlap(acting);
    if (clash) throw new RangeError(`Cannot use the adapters together: ${clash}`);
    return acting;
  }

  /** Why these adapters cannot act together, or null. */
  #overlap(names: readonly string[]): string | null {
    const seen = new Set<number>();
    for (const name of names) {
      const ids = this.#tokens.get(name)?.ids ?? [];
      if (ids.some((id) => seen.has(id))) {
        return `Token indices of adapter ${name} are already defined and would result in undefined merging behavior. Only disjunct token indices are currently supported.`;
      }
      for (const id of ids) seen.add(id);
    }
    return null;
  }

  /** ids int32 [...] -> [..., C] for an embedding; x [..., C] -> [..., V] for a tied head. */
  forward(x: Tensor): Tensor {
    if (!this.#state.rows) return tidy(() => this.#forward(x, this.#acting()));
    const has = (name: string) => this.#tokens.has(name);
    return this.#state.forRows(x, has, (acting, part) => tidy(() => this.#forward(part(x), acting)));
  }

  #forward(x: Tensor, acting: readonly string[]): Tensor {
    if (!(this.base_layer instanceof Embedding)) {
      return acting.length === 0 ? this.base_layer.forward(x) : linear(x, this.#table(acting), null);
    }
    let y = this.base_layer.forward(x);
    for (const name of acting) {
      const rows = this.trainable_tokens_delta.get(name)!;
      const picked = embedding(x, this.#tokens.get(name)!.places); // [..., 2]
      const last = picked.shape.length - 1;
      const place = cast(reshape(slice(picked, last, 1, 2), x.shape), "int32");
      const own = embedding(place, concat([full(x.device, [1, rows.shape[1]], 0), rows], 0)); // 0 for other tokens
      y = add(multiply(y, slice(picked, last, 0, 1)), own);
    }
    return y;
  }

  /** The table with the rows of these adapters, [V, C], part of the gradient graph. */
  #table(acting: readonly string[]): Tensor {
    const ids = acting.flatMap((name) => this.#tokens.get(name)!.ids);
    const rows = acting.map((name) => this.trainable_tokens_delta.get(name)!);
    return replaceRows(cast(this.weight, "float32"), ids, rows.length === 1 ? rows[0] : concat(rows, 0));
  }

  /** The weight of a tied head with its trained rows (see `Projection`). */
  headWeight(): Tensor | null {
    const { base_layer: base } = this;
    if (base instanceof Embedding || base.bias) return null;
    if (this.#state.rows) return null; // rows differ
    const acting = this.#acting();
    return acting.length === 0 ? base.headWeight() : this.#table(acting);
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return [...this.#tokens.keys()];
  }

  /** @internal Makes an adapter's rows. @throws {RangeError} for ids outside the table */
  addAdapter(name: string, config: PeftConfig & TokenChoice, path: string, context: InjectionContext): void {
    this.addTokens(name, config, path, context);
  }

  /** @internal Makes the rows of an adapter of another method. @throws {RangeError} for ids outside the table */
  addTokens(
    name: string,
    { tokenIndices: ids, initWeights }: TokenChoice,
    path: string,
    { device, init }: InjectionContext,
  ): void {
    const [rowCount, cols] = this.weight.shape;
    const outside = ids.find((id) => id >= rowCount);
    if (outside !== undefined) {
      throw new RangeError(
        `Cannot train tokens of "${path}": ids from 0 to ${rowCount - 1} are required, received ${outside}`,
      );
    }
    const places = Float32Array.from({ length: rowCount * 2 }, (_, i) => i % 2 === 0 ? 1 : 0);
    ids.forEach((id, i) => places.set([0, i + 1], id * 2));
    this.#tokens.set(name, {
      ids: [...ids],
      places: untracked(() => Tensor.from(places, { shape: [rowCount, 2], device })),
    });
    const rows = () => {
      const wanted = Tensor.from(Int32Array.from(ids), { device });
      const found = embedding(wanted, this.weight);
      wanted.dispose();
      return found;
    };
    const delta = initWeights
      ? new Parameter(untracked(() => noGrad(rows)))
      : init.normal([ids.length, cols], 1);
    this.trainable_tokens_delta.set(name, delta);
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    this.#tokens.get(name)?.places.dispose();
    this.#tokens.delete(name);
    this.#replaced.get(name)?.dispose(); // what is merged stays
    this.#replaced.delete(name);
    this.trainable_tokens_delta.delete(name);
  }

  /** Renames an adapter. */
  renameAdapter(from: string, to: string): void {
    if (this.#leader) return; // it renames for both
    renameIn(this, from, to);
    renameKey(this.#tokens, from, to);
    renameKey(this.#replaced, from, to);
  }

  /** The rows by their key on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const delta = this.trainable_tokens_delta.get(name);
    return delta && this.#declares ? [["trainable_tokens_delta", delta]] : [];
  }

  /** Why an adapter cannot be merged with these others, or null. */
  mergeObstacle(_name: string, together: readonly string[]): string | null {
    return this.#overlap([...this.#state.merged, ...together]);
  }

  /** Copies rows between the table and a tensor of the same dtype. */
  #copyRows(ids: readonly number[], rows: Tensor, into: "table" | "rows"): void {
    const bytes = this.weight.byteLength / this.weight.shape[0];
    ids.forEach((id, i) => {
      const [table, own] = [this.weight.window(id * bytes, bytes), rows.window(i * bytes, bytes)];
      if (into === "table") this.weight.device.copy(own, table);
      else this.weight.device.copy(table, own);
    });
  }

  /** Writes an adapter's rows into the table, for every module that shares it. */
  merge(name: string): void {
    const tokens = this.#tokens.get(name);
    if (!tokens || this.#leader) return;
    const delta = this.trainable_tokens_delta.get(name)!;
    noGrad(() =>
      tidy(() => {
        const rows = cast(delta, this.weight.dtype);
        const before = untracked(() => rows.copy());
        this.#copyRows(tokens.ids, before, "rows");
        this.#replaced.set(name, before);
        this.#copyRows(tokens.ids, rows, "table");
      })
    );
  }

  /** Restores the base's rows, bit for bit. */
  unmerge(): void {
    for (const [name, rows] of [...this.#replaced].reverse()) {
      this.#copyRows(this.#tokens.get(name)!.ids, rows, "table");
      rows.dispose();
    }
    this.#replaced.clear();
  }

  /** The table. */
  mergedWeights(): Parameter[] {
    return this.#leader ? [] : [this.weight];
  }

  /** Frees the memory of base and adapters. */
  override dispose(): void {
    super.dispose();
    if (this.#leader) return;
    for (const { places } of this.#tokens.values()) places.dispose();
    for (const rows of this.#replaced.values()) rows.dispose();
  }
}

/**
 * A part of a block (attention or MLP) with bottleneck adapters after or beside it.
 * @module
 */

import { add, type Tensor } from "../../autograd/mod.ts";
import { ModuleDict, type Parameter, type StreamNorm, SubBlock } from "../../nn/mod.ts";
import type { InjectionContext, TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { BottleneckAdapter } from "./bottleneck_adapter.ts";
import type { BottleneckConfig } from "./bottleneck_config.ts";

/**
 * Replaces a part of a block. Several active adapters act one after the other, as AdapterHub's `Stack`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, BottleneckConfig, getPeftModel } from "@peft/webgpu";
 * import { BottleneckLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, BottleneckConfig.named("seq_bn"));
 * for (const [path, module] of model.namedModules()) if (module instanceof BottleneckLayer) console.log(path);
 * ```
 */
export class BottleneckLayer extends SubBlock implements TunerLayer {
  /** The part it replaced. */
  base_layer: SubBlock;
  /** The adapters by name. */
  adapters: ModuleDict<BottleneckAdapter> = new ModuleDict();
  readonly #state: AdapterState;

  /** Wraps a part; adapters are added after. */
  constructor(base: SubBlock, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.base_layer.hiddenSize;
  }

  /** x (after the block's layer norm) and the stream `residual` [B, T, C] -> the stream after this part. */
  forward(x: Tensor, residual: Tensor | null, ...rest: unknown[]): Tensor {
    const has = (name: string) => this.adapters.has(name);
    if (this.#state.rows && residual !== null) {
      const f = this.base_layer.forward(x, null, ...rest); // the part itself is the same for all rows
      return this.#state.forRows(f, has, (names, part) => this.#behind(part(f), part(residual), names));
    }
    const names = this.#state.acting(has);
    if (names.length === 0 || residual === null) return this.base_layer.forward(x, residual, ...rest);
    const acting = names.map((name) => this.adapters.get(name)!);
    const [first] = acting;
    if (acting.length === 1 && first.isPlain) { // fewer passes over [B, T, C], the same numbers up to rounding
      if (first.config.isParallel) return this.base_layer.forward(x, first.beside(residual), ...rest);
      if (first.config.originalLnBefore) {
        return first.behind(null, this.base_layer.forward(x, residual, ...rest));
      }
      const f = this.base_layer.forward(x, null, ...rest);
      return first.behind(f, add(f, residual));
    }
    return this.#behind(this.base_layer.forward(x, null, ...rest), residual, names);
  }

  /** In a block that norms what its parts give: the adapters change that, and read the stream where they are beside. */
  override forwardNormed(x: Tensor, stream: Tensor, norm: StreamNorm, ...rest: unknown[]): Tensor {
    const has = (name: string) => this.adapters.has(name);
    const f = this.base_layer.forward(x, null, ...rest);
    const changed = this.#state.forRows(
      f,
      has,
      (names, part) =>
        names.reduce((f, name) => this.adapters.get(name)!.forward(f, part(stream), norm), part(f)),
    );
    return norm.forward(changed, stream);
  }

  /** The part's output f after these adapters, the stream added; f + residual without any. */
  #behind(f: Tensor, residual: Tensor, names: readonly string[]): Tensor {
    const acting = names.map((name) => this.adapters.get(name)!);
    const changed = acting.reduce((f, adapter) => adapter.forward(f, residual), f);
    return acting.at(-1)?.config.originalLnAfter ?? true ? add(changed, residual) : changed;
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.adapters.keys();
  }

  /** @internal Makes an adapter's network. @throws {RangeError} if its reduction factors name neither this block nor a default */
  addAdapter(name: string, config: BottleneckConfig, path: string, context: InjectionContext): void {
    const block = path.split(".").find((part) => /^\d+$/.test(part)) ?? "0";
    const factors = config.reductionFactor;
    const factor = typeof factors === "number" ? factors : factors[block] ?? factors.default;
    if (factor === undefined) {
      throw new RangeError(
        `Cannot add adapter "${name}": reduction_factor must name block ${block} or a "default", received ${
          Object.keys(factors).join(", ")
        }`,
      );
    }
    const width = Math.max(1, Math.trunc(Math.floor(this.hiddenSize / factor)));
    this.adapters.set(name, new BottleneckAdapter(config, this.hiddenSize, width, context));
    this.train(this.training);
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    this.adapters.delete(name);
  }

  /** An adapter's parameters by their keys below it on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    return this.adapters.get(name)?.keys() ?? [];
  }
}

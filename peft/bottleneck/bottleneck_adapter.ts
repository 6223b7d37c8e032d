/**
 * One bottleneck adapter: u = s up(act(down(norm(z)))), and how u is added to its block part.
 * @module
 */

import { add, multiply, negate, relu, scale, subtract, type Tensor } from "../../autograd/mod.ts";
import {
  activations,
  Dropout,
  Initializer,
  LayerNorm,
  Linear,
  Module,
  Parameter,
  type StreamNorm,
} from "../../nn/mod.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import type { BottleneckConfig } from "./bottleneck_config.ts";

/** AdapterHub's own activation beside those of `transformers`: slope 0.01 below zero. */
const leakyRelu = (x: Tensor): Tensor => subtract(relu(x), scale(relu(negate(x)), 0.01));

const functions: Readonly<Record<string, (x: Tensor) => Tensor>> = { ...activations, leakyrelu: leakyRelu };

/**
 * The parameters of one adapter. Properties carry AdapterHub's names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, BottleneckConfig, getPeftModel } from "@peft/webgpu";
 * import { BottleneckAdapter } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, BottleneckConfig.named("seq_bn"));
 * for (const [, module] of model.namedModules()) if (module instanceof BottleneckAdapter) console.log(module.adapter_up.weight.shape);
 * ```
 */
export class BottleneckAdapter extends Module {
  /** On the input, [C]; null without `lnBefore`. The same module as `adapter_down.0` then. */
  adapter_norm_before: LayerNorm | null;
  /** The factor of the output: a number, or [1] or [C] that trains. */
  scaling: number | Parameter;
  /** [LayerNorm,] Linear C -> D. */
  adapter_down: Module[];
  /** Linear D -> C. */
  adapter_up: Linear;
  /** On the output, [C]; null without `lnAfter`. */
  adapter_norm_after: LayerNorm | null;
  /** Dropout of the output. */
  dropout: Dropout;
  /** The configuration that it was made from. */
  readonly config: BottleneckConfig;
  readonly #activation: (x: Tensor) => Tensor;

  /** `size` is the width C of the model, `width` that of the bottleneck, D. */
  constructor(config: BottleneckConfig, size: number, width: number, context: InjectionContext) {
    super();
    const { device, random } = context;
    const seed = config.initWeightsSeed;
    const init = seed === null ? context.init : new Initializer(device, seed, context.init.draws);
    const linear = (rows: number, columns: number, up: boolean): Linear => {
      const weight = {
        bert: () => init.normal([rows, columns], 0.02),
        mam_adapter: () =>
          up ? init.constant([rows, columns], 0) : init.uniform([rows, columns], 1 / Math.sqrt(columns)),
        houlsby: () => init.truncatedNormal([rows, columns], 0.01, 0.02),
      }[config.initWeights]();
      return new Linear(weight, init.constant([rows], 0));
    };
    const norm = () => new LayerNorm(init.constant([size], 1), init.constant([size], 0));
    this.config = config;
    this.adapter_norm_before = config.lnBefore ? norm() : null;
    const trained = { learned: 1, channel: size }[config.scaling as string];
    this.scaling = trained === undefined ? config.scaling as number : init.constant([trained], 1);
    this.adapter_down = [
      ...(this.adapter_norm_before ? [this.adapter_norm_before] : []),
      linear(width, size, false),
    ];
    this.adapter_up = linear(size, width, true);
    this.adapter_norm_after = config.lnAfter ? norm() : null;
    this.dropout = new Dropout(config.dropout, random);
    this.#activation = functions[config.nonLinearity.toLowerCase()];
  }

  /** up(act(down(norm(z)))) without factor, [B, T, C] -> [B, T, C]; `residual` is added in the product's own kernel. */
  #network(z: Tensor, residual: Tensor | null): Tensor {
    const down = this.adapter_down.at(-1) as Linear;
    const input = this.adapter_norm_before ? this.adapter_norm_before.forward(z) : z;
    return this.adapter_up.forward(this.#activation(down.forward(input)), residual ? { residual } : {});
  }

  /** residual + drop(s up(act(down(norm(z))))). */
  #update(z: Tensor, residual: Tensor | null): Tensor {
    if (this.scaling === 1 && !this.dropout.isActive) return this.#network(z, residual);
    const up = this.#network(z, null);
    const scaled = this.scaling instanceof Parameter ? multiply(up, this.scaling) : scale(up, this.scaling);
    const u = this.dropout.forward(scaled);
    return residual ? add(u, residual) : u;
  }

  /**
   * Whether the whole is `update` of one input, added to one residual: everything but an output norm and the unusual
   * residual connections.
   */
  get isPlain(): boolean {
    const { isParallel, originalLnAfter, residualBeforeLn } = this.config;
    return originalLnAfter && this.adapter_norm_after === null && (isParallel || residualBeforeLn);
  }

  /** For a plain adapter beside its block part: y + u, to which the part adds its own output. @param y the stream */
  beside(y: Tensor): Tensor {
    return this.#update(y, y);
  }

  /** For a plain adapter after its block part: h + u with h = f + y. */
  behind(f: Tensor | null, h: Tensor): Tensor {
    return this.#update(this.config.originalLnBefore ? h : f!, h);
  }

  /**
   * The part's output f with this adapter, before the stream y is added; AdapterHub's `pre_forward` and `forward`. f and
   * y [B, T, C].
   * @param blockNorm the norm of a block that has one after this part, as Gemma's; the adapter's output goes through it
   */
  forward(f: Tensor, y: Tensor, blockNorm?: StreamNorm): Tensor {
    const { isParallel, originalLnBefore, residualBeforeLn, adapterResidualBeforeLn } = this.config;
    const joined = !isParallel && originalLnBefore ? add(f, y) : null;
    const z = isParallel ? y : joined ? blockNorm ? blockNorm.forward(joined) : joined : f;
    const residual = isParallel || residualBeforeLn ? f : z;
    const norm = this.adapter_norm_after;
    if (!norm) return this.#update(z, residual);
    if (adapterResidualBeforeLn && !isParallel) return norm.forward(this.#update(z, residual));
    return add(norm.forward(this.#update(z, null)), residual);
  }

  /** The parameters by their keys on disk; a norm on the input has two keys, one for each of its names. */
  keys(): [string, Parameter][] {
    const before = [...(this.adapter_norm_before?.namedParameters("adapter_down.0") ?? [])];
    return [...this.namedParameters(), ...before];
  }
}

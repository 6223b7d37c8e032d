/**
 * A bidirectional LSTM of several layers over one sequence (`torch.nn.LSTM`), which P-tuning applies to its virtual
 * tokens. Parameters carry PyTorch's names: `weight_ih_l0`, `bias_hh_l1_reverse`.
 * @module
 */

import { concat, full, linear, lstmCell, reshape, slice, type Tensor } from "../../autograd/mod.ts";
import { type Dropout, type Initializer, Module, type Parameter } from "../../nn/mod.ts";

/**
 * What makes one: sizes, and where dropout draws from.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { BidirectionalLstm, type LstmOptions } from "@peft/webgpu/peft";
 * import { Dropout, Initializer, RandomState } from "@peft/webgpu/tensor";
 *
 * const device = await initDevice(), dropout = new Dropout(0.1, new RandomState(device, 0));
 * const options: LstmOptions = { inputSize: 8, hiddenSize: 4, numLayers: 2, dropout };
 * console.log([...new BidirectionalLstm(new Initializer(device, 0), options).parameters()].length); // 16
 * ```
 */
export interface LstmOptions {
  /** Size of an input vector. */
  readonly inputSize: number;
  /** Hidden units of one direction. */
  readonly hiddenSize: number;
  /** Number of layers. */
  readonly numLayers: number;
  /** Dropout between layers while training. */
  readonly dropout: Dropout;
}

const PARTS = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] as const;
const DIRECTIONS = ["", "_reverse"] as const;

/**
 * x [T, inputSize] -> [T, 2 hiddenSize]: the states of both directions.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PromptEncoderConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const config = new PromptEncoderConfig({ numVirtualTokens: 4, encoderReparameterizationType: "LSTM" });
 * const lstm = getPeftModel(base, config).prompt_encoder?.get("default")?.lstm_head;
 * console.log([...lstm!.namedParameters()].map(([name]) => name));
 * ```
 */
export class BidirectionalLstm extends Module {
  /** Between layers while training. */
  readonly dropout: Dropout;
  readonly #parameters = new Map<string, Parameter>();
  readonly #options: LstmOptions;

  /** Parameters uniform in 1 / sqrt(hiddenSize), as PyTorch's. */
  constructor(init: Initializer, options: LstmOptions) {
    super();
    this.#options = options;
    this.dropout = options.dropout;
    const { inputSize, hiddenSize: H, numLayers } = options;
    const bound = 1 / Math.sqrt(H);
    for (let layer = 0; layer < numLayers; layer++) {
      const width = layer === 0 ? inputSize : 2 * H;
      const shapes = { weight_ih: [4 * H, width], weight_hh: [4 * H, H], bias_ih: [4 * H], bias_hh: [4 * H] };
      for (const direction of DIRECTIONS) {
        for (const part of PARTS) {
          this.#parameters.set(`${part}_l${layer}${direction}`, init.uniform(shapes[part], bound));
        }
      }
    }
  }

  /** Its parameters by PyTorch's names. */
  override *ownParameters(): Generator<[string, Parameter]> {
    yield* this.#parameters;
  }

  /** x [T, inputSize] -> [T, 2 hiddenSize]. */
  forward(x: Tensor): Tensor {
    let states = x;
    for (let layer = 0; layer < this.#options.numLayers; layer++) {
      if (layer > 0) states = this.dropout.forward(states);
      states = concat(DIRECTIONS.map((direction) => this.#run(states, `_l${layer}${direction}`)), 1);
    }
    return states;
  }

  /** One direction of one layer: x [T, width] -> [T, hiddenSize]. */
  #run(x: Tensor, suffix: string): Tensor {
    const H = this.#options.hiddenSize;
    const of = (part: (typeof PARTS)[number]) => this.#parameters.get(part + suffix)!;
    const T = x.shape[0];
    // What does not depend on the step before it: all tokens in one product.
    const inputs = linear(x, of("weight_ih"), of("bias_ih"), { layout: "linear" }); // [T, 4 H]
    let [h, c] = [full(x.device, [1, H], 0), full(x.device, [1, H], 0)];
    const states = new Array<Tensor>(T);
    for (let step = 0; step < T; step++) {
      const t = suffix.endsWith("_reverse") ? T - 1 - step : step;
      const residual = slice(inputs, 0, t, t + 1);
      const gates = linear(h, of("weight_hh"), of("bias_hh"), { layout: "linear", residual }); // [1, 4 H]
      const next = lstmCell(gates, c); // [2, 1, H]
      [h, c] = [0, 1].map((n) => reshape(slice(next, 0, n, n + 1), [1, H]));
      states[t] = h;
    }
    return concat(states, 0);
  }
}

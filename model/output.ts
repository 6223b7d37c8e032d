/**
 * What a language model's forward returns.
 * @module
 */

import { keep, type Tensor } from "../autograd/mod.ts";
import type { KVCache } from "./generation/kv_cache.ts";

/**
 * The result of `forward`. With labels, logits are computed only if they are read.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * using output = model.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }); // freed at the end of the block
 * console.log(output.logits.shape, await output.loss!.item());
 * ```
 */
export class CausalLMOutput {
  /** The mean cross-entropy, a scalar; undefined without labels. */
  readonly loss: Tensor | undefined;
  /**
   * If asked for, float32 [B, NV + T] with NV virtual tokens: at each position the log-probability of the label that it
   * predicts (the next token's), 0 where there is none.
   */
  readonly logProbs: Tensor | undefined;
  /**
   * If asked for beside `logProbs`, float32 [B, NV + T], outside the gradient graph: the mean logit at each position that
   * predicts a label. Undefined where logits are capped, whose mean takes all of them.
   */
  readonly meanLogits: Tensor | undefined;
  /** Keys and values of every token so far, if `useCache` or a cache was given. */
  readonly pastKeyValues: KVCache | undefined;
  #logits: Tensor | null;
  #compute: (() => Tensor) | null;
  #hidden: Tensor | null;
  #weight: Tensor | null;

  /** @internal Either `logits`, or `hidden` and how to compute logits from it, with `weight` where that needs it. */
  constructor(parts: {
    loss?: Tensor;
    logProbs?: Tensor;
    meanLogits?: Tensor;
    pastKeyValues?: KVCache;
    logits?: Tensor;
    hidden?: Tensor;
    weight?: Tensor;
    compute?: (hidden: Tensor) => Tensor;
  }) {
    this.loss = parts.loss;
    this.logProbs = parts.logProbs;
    this.meanLogits = parts.meanLogits;
    this.pastKeyValues = parts.pastKeyValues;
    this.#logits = parts.logits ?? null;
    this.#hidden = parts.hidden ?? null;
    this.#weight = parts.weight ?? null;
    const { hidden, compute } = parts;
    this.#compute = hidden && compute ? () => compute(hidden) : null;
    if (hidden) parts.loss?.node?.whenFreed.push(() => this.#forget());
  }

  /**
   * Scores of the next token at every position, [B, T, V].
   * @throws {TypeError} if labels were given and `backward()` has freed the hidden states already, or log-probabilities
   * were asked for
   */
  get logits(): Tensor {
    if (!this.#logits) {
      if (this.logProbs) {
        throw new TypeError("Cannot compute logits: log-probabilities were asked for in their place");
      }
      if (!this.#compute) {
        throw new TypeError(
          "Cannot compute logits: backward() has freed the hidden states; read logits before it",
        );
      }
      this.#logits = this.#compute();
      this.#forget();
    }
    return this.#logits;
  }

  /** @internal The tensors that live as long as this output, for scopes. */
  *ownedTensors(): Generator<Tensor> {
    for (
      const tensor of [this.loss, this.logProbs, this.meanLogits, this.#logits, this.#hidden, this.#weight]
    ) {
      if (tensor) yield tensor;
    }
  }

  /** Frees its tensors, but not the cache. */
  dispose(): void {
    for (const tensor of this.ownedTensors()) tensor.dispose();
    this.#compute = null;
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #forget(): void {
    for (const tensor of [this.#hidden, this.#weight]) if (tensor) keep(tensor).dispose();
    this.#hidden = null;
    this.#weight = null;
    this.#compute = null;
  }
}

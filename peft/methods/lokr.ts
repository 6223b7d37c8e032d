/**
 * LoKr (Edalati et al. 2022, arXiv:2212.10650, as LyCORIS has it): the change of a weight is a Kronecker product.
 *   dW = alpha / r (w1 kron w2),  out = a b, in = c d,  w1 [a, c], w2 [b, d];   y = x (W + dW^T) + b
 * w2 is w2_a w2_b of rank r where r < max(b, d) / 2; with `decomposeBoth`, w1 likewise.
 * A forward never makes dW: x dW^T is x, seen as [c, d], times w2^T from the right and w1 from the left.
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21, whose own does not take GPT-2's
 * Conv1D (https://github.com/huggingface/peft/issues/3767): here it does, as if it were the Linear it stands for.
 * @module
 */

import {
  add,
  matmul,
  multiply,
  permute,
  reshape,
  scale,
  type Tensor,
  transpose,
} from "../../autograd/mod.ts";
import type { Initializer, Parameter } from "../../nn/mod.ts";
import type { LinearAdapter, LinearCall, LinearFacts } from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import { patternValue } from "../targets/targets.ts";
import { LoKrConfig } from "./lokr_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { type ChangeDropout, dropFactors } from "./weight_change.ts";

/**
 * A size as a product m n with m <= n: by `factor` if it divides the size, otherwise by divisors close to each other, m
 * at most `factor`.
 */
export function factorization(size: number, factor: number): [m: number, n: number] {
  if (factor > 0 && size % factor === 0) return [factor, size / factor];
  const most = factor === -1 ? size : factor;
  let [m, n] = [1, size];
  const sum = m + n;
  while (m < n) {
    let next = m + 1;
    while (size % next !== 0) next++;
    if (next + size / next > sum || next > most) break;
    [m, n] = [next, size / next];
  }
  return m > n ? [n, m] : [m, n];
}

/** The factors of one layer: `lokr_w1` or `lokr_w1_a` and `lokr_w1_b`; w2 likewise. */
class LoKrAdapter implements LinearAdapter {
  readonly parameters: Readonly<Record<string, Parameter>>;
  readonly #s: number;
  readonly #facts: LinearFacts;
  readonly #dropout: ChangeDropout;

  constructor(config: LoKrConfig, facts: LinearFacts, { init, random }: InjectionContext) {
    const { path, inFeatures, outFeatures } = facts;
    const r = patternValue(config.rankPattern, path, config.r);
    const [a, b] = factorization(outFeatures, config.decomposeFactor);
    const [c, d] = factorization(inFeatures, config.decomposeFactor);
    const lowFirst = config.decomposeBoth && r < Math.max(a, c) / 2;
    const lowSecond = r < Math.max(b, d) / 2;
    const { initWeights } = config;
    this.parameters = {
      ...factors(init, "lokr_w1", [a, c], lowFirst ? r : null, initWeights === true ? "a" : null),
      ...factors(init, "lokr_w2", [b, d], lowSecond ? r : null, initWeights === "lycoris" ? "b" : null),
    };
    this.#s = patternValue(config.alphaPattern, path, config.alpha) / r;
    this.#facts = facts;
    this.#dropout = {
      rank: config.rankDropout,
      rankScale: config.rankDropoutScale,
      module: config.moduleDropout,
      random,
    };
  }

  /** w1 or w2, whole. */
  #factor(key: "lokr_w1" | "lokr_w2"): Tensor {
    const parts = this.parameters;
    return parts[key] ?? matmul(parts[`${key}_a`], parts[`${key}_b`]);
  }

  /** dW, stored as the base weight. */
  #change(): Tensor {
    const { layout, inFeatures, outFeatures } = this.#facts;
    const conv1d = layout === "conv1d";
    const [w1, w2] = (["lokr_w1", "lokr_w2"] as const).map((key) =>
      conv1d ? transpose(this.#factor(key)) : this.#factor(key)
    );
    const [m, n] = w1.shape;
    const [p, q] = w2.shape;
    const product = multiply(reshape(w1, [m, 1, n, 1]), reshape(w2, [1, p, 1, q])); // [m, p, n, q]
    const shape = conv1d ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
    return scale(reshape(product, shape), this.#s);
  }

  /** x dW^T, [..., out]. */
  #changeOf(x: Tensor): Tensor {
    const [w1, w2] = [this.#factor("lokr_w1"), this.#factor("lokr_w2")]; // [a, c], [b, d]
    const [[a, c], [b, d]] = [w1.shape, w2.shape];
    const rows = x.size / (c * d);
    const right = matmul(reshape(x, [rows * c, d]), w2, { transposeB: true }); // [rows c, b]
    const turned = reshape(permute(reshape(right, [rows, c, b]), [0, 2, 1]), [rows * b, c]);
    const left = matmul(turned, scale(w1, this.#s), { transposeB: true }); // [rows b, a]
    const y = permute(reshape(left, [rows, b, a]), [0, 2, 1]); // [rows, a, b]
    return reshape(y, [...x.shape.slice(0, -1), a * b]);
  }

  apply(call: LinearCall, training: boolean): LinearCall {
    const change = this.#changeOf(call.x);
    const factors = training ? dropFactors(this.#facts.outFeatures, this.#dropout) : null;
    const own = factors ? multiply(change, factors) : change;
    return { ...call, added: call.added ? add(call.added, own) : own };
  }

  mergedWeight(weight: Tensor): Tensor {
    return add(weight, this.#change());
  }
}

/** One factor: whole, or of rank r; `zero` says which part starts at 0 (of a whole one, all of it). */
function factors(
  init: Initializer,
  key: string,
  [rows, cols]: [number, number],
  r: number | null,
  zero: "a" | "b" | null,
): Record<string, Parameter> {
  const make = (shape: [number, number], isZero: boolean) =>
    isZero ? init.constant(shape, 0) : init.uniform(shape, 1 / Math.sqrt(shape[1]));
  if (r === null) return { [key]: make([rows, cols], zero !== null) };
  return { [`${key}_a`]: make([rows, r], zero === "a"), [`${key}_b`]: make([r, cols], zero === "b") };
}

/** LoKr, for the registry. */
export const lokr: PeftMethod<LoKrConfig> = linearMethod({
  name: "lokr",
  peftClasses: { model: "LoKrModel" },
  configFromJSON: (json) => LoKrConfig.fromJSON(json),
  adapter: LoKrAdapter,
});

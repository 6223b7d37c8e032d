/**
 * FourierFT (Gao et al. 2024, arXiv:2405.03003): the change of a weight is the inverse Fourier transform of a spectrum with
 * few trained entries c_k at random places (p_k, q_k).
 *   dW[p, q] = scaling / (out in) sum_k c_k cos(2 pi (p_k p / out + q_k q / in));   y = x (W + dW^T) + b
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21. Places are not in the file: they come
 * from PyTorch's generator and `randomLocSeed`.
 * @module
 */

import {
  add,
  concat,
  type Device,
  matmul,
  multiply,
  scale,
  Tensor,
  TorchGenerator,
  untracked,
} from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import { type LinearAdapter, type LinearCall, type LinearFacts, withTerm } from "../layers/linear_call.ts";
import { type InjectionContext, type SharedPart, sharedPartOf } from "../layers/tuner_layer.ts";
import { compilePattern } from "../targets/pattern.ts";
import { FourierFTConfig } from "./fourierft_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { addToWeight } from "./weight_change.ts";

/** U and V of layers of one size. */
interface Waves {
  /** [out, 2 n] */
  readonly U: Tensor;
  /** [2 n, in] */
  readonly V: Tensor;
}

/** The waves of one adapter's layers, by their sizes. */
export class FourierTables implements SharedPart {
  readonly #seed: number;
  readonly #device: Device;
  readonly #waves = new Map<string, Waves>();

  /** Waves are made when they are first needed. */
  constructor(seed: number, device: Device) {
    this.#seed = seed;
    this.#device = device;
  }

  /** The waves of `n` entries of a spectrum [out, in]. */
  get(out: number, inputs: number, n: number): Waves {
    const key = [out, inputs, n].join();
    let waves = this.#waves.get(key);
    if (!waves) this.#waves.set(key, waves = this.#make(out, inputs, n));
    return waves;
  }

  #make(out: number, inputs: number, n: number): Waves {
    const places = new TorchGenerator(this.#seed).permutation(out * inputs, n);
    const U = new Float32Array(out * 2 * n);
    const V = new Float32Array(2 * n * inputs);
    const [outCircle, inCircle] = [circle(out), circle(inputs)];
    places.forEach((place, k) => {
      const [row, col] = [Math.floor(place / inputs), place % inputs];
      for (let p = 0; p < out; p++) {
        const at = row * p % out;
        U[p * 2 * n + k] = outCircle.cos[at];
        U[p * 2 * n + n + k] = outCircle.sin[at];
      }
      for (let q = 0; q < inputs; q++) {
        const at = col * q % inputs;
        V[k * inputs + q] = inCircle.cos[at];
        V[(n + k) * inputs + q] = -inCircle.sin[at];
      }
    });
    const device = this.#device;
    return untracked(() => ({
      U: Tensor.from(U, { shape: [out, 2 * n], device }),
      V: Tensor.from(V, { shape: [2 * n, inputs], device }),
    }));
  }

  /** Frees their memory. */
  dispose(): void {
    for (const { U, V } of this.#waves.values()) {
      U.dispose();
      V.dispose();
    }
    this.#waves.clear();
  }
}

/** cos and sin of 2 pi i / size. */
function circle(size: number): { cos: Float64Array; sin: Float64Array } {
  const angle = (i: number) => 2 * Math.PI * i / size;
  return {
    cos: Float64Array.from({ length: size }, (_, i) => Math.cos(angle(i))),
    sin: Float64Array.from({ length: size }, (_, i) => Math.sin(angle(i))),
  };
}

/** Entries of a layer's spectrum. @throws {RangeError} if the layer has fewer */
function entriesOf(config: FourierFTConfig, { path, inFeatures, outFeatures }: LinearFacts): number {
  // peft: re.match(rf".*\.{pattern}$", path)
  const named = Object.entries(config.nFrequencyPattern).find(([pattern]) =>
    compilePattern(`.*\\.${pattern}`).fullMatch(path)
  );
  const n = named?.[1] ?? config.nFrequency;
  const size = inFeatures * outFeatures;
  if (n > size) {
    refuseConfig(
      "fourierft",
      `\`n_frequency\` should be less than or equal to the product of the input and output dimensions but the value passed is ${n} and the product is ${size}`,
    );
  }
  return n;
}

/** The spectrum of one layer. */
class FourierAdapter implements LinearAdapter {
  readonly parameters: { readonly fourierft_spectrum: Parameter };
  readonly #waves: Waves;
  readonly #s: number;
  readonly #facts: LinearFacts;

  constructor(config: FourierFTConfig, facts: LinearFacts, context: InjectionContext) {
    const n = entriesOf(config, facts);
    const { init } = context;
    const { inFeatures, outFeatures } = facts;
    this.#waves = sharedPartOf(context, FourierTables).get(outFeatures, inFeatures, n);
    this.parameters = {
      fourierft_spectrum: config.initWeights ? init.constant([n], 0) : init.normal([n], 1),
    };
    this.#s = config.scaling / (inFeatures * outFeatures);
    this.#facts = facts;
  }

  /** U c, [out, 2 n]. */
  #left(): Tensor {
    const c = this.parameters.fourierft_spectrum;
    return multiply(this.#waves.U, concat([c, c], 0));
  }

  /** dW, stored as the base weight. */
  #change(): Tensor {
    const left = this.#left();
    const product = this.#facts.layout === "conv1d"
      ? matmul(this.#waves.V, left, { transposeA: true, transposeB: true }) // [in, out]
      : matmul(left, this.#waves.V); // [out, in]
    return scale(product, this.#s);
  }

  /** Few rows go through the two tables one after the other; for many it takes less work to make dW first. */
  apply(call: LinearCall): LinearCall {
    const { inFeatures, outFeatures } = this.#facts;
    const rows = call.x.size / inFeatures;
    if (rows * (inFeatures + outFeatures) > inFeatures * outFeatures) {
      return addToWeight(call, this.#change());
    }
    return withTerm(call, { A: this.#waves.V, B: this.#left(), s: this.#s, xDropped: null });
  }

  mergedWeight(weight: Tensor): Tensor {
    return add(weight, this.#change());
  }
}

/** FourierFT, for the registry. */
export const fourierft: PeftMethod<FourierFTConfig> = linearMethod({
  name: "fourierft",
  peftClasses: { model: "FourierFTModel" },
  configFromJSON: (json) => FourierFTConfig.fromJSON(json),
  sharedPart: (config, _targets, { device }) => new FourierTables(config.randomLocSeed, device),
  adapter: FourierAdapter,
});

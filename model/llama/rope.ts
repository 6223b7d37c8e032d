/**
 * Angles of rotary position embeddings, with the scalings of `transformers`' modeling_rope_utils.
 * @module
 */

import { type Device, Tensor, untracked } from "../../autograd/mod.ts";

/**
 * `rope_parameters` of config.json, snake_case as in the file.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type RopeParameters } from "@peft/webgpu/model";
 *
 * const rope_parameters: RopeParameters = { rope_type: "linear", rope_theta: 10000, factor: 4 }; // 4 times the context
 * console.log(new LlamaConfig("llama", {}, { rope_parameters }).rope.full.factor); // 4
 * ```
 */
export interface RopeParameters {
  /** "default", "linear", "dynamic", "llama3" or "yarn". */
  readonly rope_type: string;
  /** Base of the frequencies. */
  readonly rope_theta: number;
  /** What the type needs besides. */
  readonly [name: string]: unknown;
}

/** Frequencies of one kind of layer. */
interface Frequencies {
  /** [D / 2], float32. */
  readonly inverse: Float32Array;
  /** Factor of cosines and sines. */
  readonly factor: number;
}

function refuse(message: string): never {
  throw new RangeError(`Cannot configure rotary embeddings: ${message}`);
}

/** A number of the parameters. */
function numberOf(parameters: RopeParameters, name: string, fallback?: number): number {
  const value = parameters[name] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return refuse(`rope_parameters.${name} must be a number, received ${JSON.stringify(value)}`);
}

const plain = (theta: number, size: number): Float64Array =>
  Float64Array.from({ length: size / 2 }, (_, i) => theta ** (-2 * i / size));

type Scaling = (parameters: RopeParameters, size: number, positions: number, length?: number) => {
  inverse: Float64Array;
  factor?: number;
};

/** Each `rope_type`. @param positions max_position_embeddings   @param length of the sequence, where that changes them */
const SCALINGS: Readonly<Record<string, Scaling>> = {
  default: ({ rope_theta }, size) => ({ inverse: plain(rope_theta, size) }),
  linear: (parameters, size) => {
    const factor = numberOf(parameters, "factor");
    return { inverse: plain(parameters.rope_theta, size).map((f) => f / factor) };
  },
  // NTK-aware: the base grows with sequences longer than max_position_embeddings
  dynamic: (parameters, size, positions, length = positions) => {
    const factor = numberOf(parameters, "factor");
    const growth = Math.max(1, factor * length / positions - (factor - 1));
    return { inverse: plain(parameters.rope_theta * growth ** (size / (size - 2)), size) };
  },
  llama3: (parameters, size) => {
    const factor = numberOf(parameters, "factor");
    const [low, high] = [numberOf(parameters, "low_freq_factor"), numberOf(parameters, "high_freq_factor")];
    const original = numberOf(parameters, "original_max_position_embeddings");
    const inverse = plain(parameters.rope_theta, size).map((f) => {
      const wavelength = 2 * Math.PI / f;
      if (wavelength < original / high) return f;
      if (wavelength > original / low) return f / factor;
      const smooth = (original / wavelength - low) / (high - low);
      return (1 - smooth) * f / factor + smooth * f;
    });
    return { inverse };
  },
  yarn: (parameters, size, positions) => {
    const original = numberOf(parameters, "original_max_position_embeddings", positions);
    const factor = numberOf(parameters, "factor", positions / original);
    const theta = parameters.rope_theta;
    const [fast, slow] = [numberOf(parameters, "beta_fast", 32), numberOf(parameters, "beta_slow", 1)];
    const dimension = (rotations: number) =>
      size * Math.log(original / (rotations * 2 * Math.PI)) / (2 * Math.log(theta));
    const truncate = parameters.truncate !== false;
    let low = truncate ? Math.floor(dimension(fast)) : dimension(fast);
    let high = truncate ? Math.ceil(dimension(slow)) : dimension(slow);
    [low, high] = [Math.max(low, 0), Math.min(high, size - 1)];
    if (low === high) high += 0.001;
    const inverse = plain(theta, size).map((f, i) => {
      const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
      return f / factor * ramp + f * (1 - ramp);
    });
    const scaled = (by: number, mscale = 1) => by <= 1 ? 1 : 0.1 * mscale * Math.log(by) + 1;
    const { mscale, mscale_all_dim } = parameters;
    const computed = mscale && mscale_all_dim
      ? scaled(factor, numberOf(parameters, "mscale")) /
        scaled(factor, numberOf(parameters, "mscale_all_dim"))
      : scaled(factor);
    return { inverse, factor: numberOf(parameters, "attention_factor", computed) };
  },
};

/** Kinds that can be computed. */
export const ROPE_TYPES: readonly string[] = Object.keys(SCALINGS);

/** Inverse frequencies [size / 2] of parameters that need no number of positions, float64. */
export function inverseFrequencies(parameters: RopeParameters, size: number): Float64Array {
  return SCALINGS[parameters.rope_type](parameters, size, 0).inverse;
}

/** Cosines and sines of one kind of layer on the device, made for as many positions as are needed. */
export class RopeTable {
  readonly #frequencies: Frequencies;
  readonly #device: Device;
  /** Frequencies of sequences longer than `positions`; null where they are those of all. */
  readonly #longer: ((length: number) => Frequencies) | null;
  readonly #positions: number;
  #table: Tensor | null = null;
  /** Length of the sequence whose frequencies the table has; 0: those of every length. */
  #tableOf = 0;

  /**
   * @param size of a head   @param positions max_position_embeddings
   * @throws {RangeError} for a `rope_type` or parameters that cannot be computed
   */
  constructor(parameters: RopeParameters, size: number, positions: number, device: Device) {
    const scaling = SCALINGS[parameters.rope_type];
    if (!Object.hasOwn(SCALINGS, parameters.rope_type)) {
      refuse(
        `rope_type must be one of ${ROPE_TYPES.map((name) => `"${name}"`).join(", ")}, received ${
          JSON.stringify(parameters.rope_type)
        }`,
      );
    }
    if (!(parameters.rope_theta > 0)) {
      refuse(`rope_theta must be positive, received ${parameters.rope_theta}`);
    }
    const frequencies = (length?: number): Frequencies => {
      const { inverse, factor = 1 } = scaling(parameters, size, positions, length);
      return { inverse: Float32Array.from(inverse), factor };
    };
    this.#frequencies = frequencies();
    this.#longer = parameters.rope_type === "dynamic" ? frequencies : null;
    this.#positions = positions;
    this.#device = device;
  }

  /**
   * [length, 2, D / 2] with a length of at least `end`: the sequence's, if this is the longest of the step. Frequencies of
   * dynamic embeddings follow it, as those of a new model of `transformers` do; keys in a cache keep what they had.
   */
  upTo(end: number): Tensor {
    const of = this.#longer && end > this.#positions ? end : 0;
    if (this.#table === null || this.#tableOf !== of || this.#table.shape[0] < end) {
      this.#device.recording?.spoil(); // a replay would use the other table
      const table = of > 0
        ? this.#compute(end, this.#longer!(end))
        : this.#compute(2 ** Math.ceil(Math.log2(Math.max(end, 64))), this.#frequencies);
      this.#table?.dispose();
      this.#table = table;
      this.#tableOf = of;
    }
    return this.#table;
  }

  #compute(length: number, { inverse, factor }: Frequencies): Tensor {
    const half = inverse.length;
    const values = new Float32Array(length * 2 * half);
    for (let position = 0; position < length; position++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround(position * inverse[i]); // torch multiplies in float32
        values[2 * position * half + i] = Math.fround(Math.cos(angle)) * factor;
        values[(2 * position + 1) * half + i] = Math.fround(Math.sin(angle)) * factor;
      }
    }
    return untracked(() => Tensor.from(values, { shape: [length, 2, half], device: this.#device }));
  }

  /** Frees its memory. */
  dispose(): void {
    this.#table?.dispose();
    this.#table = null;
  }
}

/**
 * OFT (Qiu et al. 2023, arXiv:2306.07280; Qiu et al. 2025, arXiv:2506.19847): the inputs of a layer are rotated block by
 * block before the frozen weight.
 *   y = (x R) W + b,   R = diag(R_1, …, R_r),   R_i = cayley(Q_i) with Q_i skew-symmetric
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21, whose own does not take GPT-2's
 * Conv1D: here it does, as if it were the Linear it stands for. Of several active adapters the last rotates first, so
 * that merging them one after another gives the same (`peft`'s forward has the other order, and disagrees with its merge).
 * @module
 */

import {
  add,
  cayley,
  type Device,
  divide,
  multiply,
  noGrad,
  relu,
  scale,
  sqrt,
  square,
  subtract,
  sum,
  type Tensor,
  tidy,
  transpose,
} from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import type { LinearAdapter, LinearCall, LinearFacts } from "../layers/linear_call.ts";
import { type InjectionContext, type SharedPart, sharedPartOf } from "../layers/tuner_layer.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { OFTConfig } from "./oft_config.ts";
import { cayleyNeumann, rotateBlocks, SkewTable } from "./rotation.ts";

/** The tables of one adapter's layers, by size of block. */
export class SkewTables implements SharedPart {
  readonly #device: Device;
  readonly #tables = new Map<number, SkewTable>();

  /** Tables are made when they are first needed. */
  constructor(device: Device) {
    this.#device = device;
  }

  /** The table for blocks of size k. */
  get(k: number): SkewTable {
    let table = this.#tables.get(k);
    if (!table) this.#tables.set(k, table = new SkewTable(this.#device, k));
    return table;
  }

  /** Frees their memory. */
  dispose(): void {
    for (const table of this.#tables.values()) table.dispose();
    this.#tables.clear();
  }
}

/**
 * The divisor of `size` nearest to `wanted`, the smaller of two that are equally near; `size` itself if `wanted` is
 * larger.
 */
function nearestDivisor(size: number, wanted: number): number {
  if (wanted >= size) return size;
  let [low, high] = [wanted, wanted];
  while (low > 1 && size % low !== 0) low--;
  while (size % high !== 0) high++;
  return wanted - low <= high - wanted ? low : high;
}

/** Number and size of the blocks of a layer. @throws {RangeError} for blocks of one feature, which cannot rotate */
function blocksOf({ r, oftBlockSize }: OFTConfig, { inFeatures, path }: LinearFacts): [number, number] {
  const [name, wanted] = r === 0 ? ["oft_block_size", oftBlockSize] : ["r", r];
  const found = nearestDivisor(inFeatures, wanted);
  const [count, size] = r === 0 ? [inFeatures / found, found] : [found, inFeatures / found];
  if (size < 2) {
    refuseConfig(
      "oft",
      `blocks of at least 2 features are required, received ${name} ${wanted} for "${path}" with ${inFeatures} inputs`,
    );
  }
  if (found !== wanted) {
    console.warn(`Invalid \`${name}\` (${wanted})! Adjusted \`${name}\` to (${found}).`);
  }
  return [count, size];
}

/** The rotation of one layer's inputs. */
class OftAdapter implements LinearAdapter {
  readonly parameters: { readonly "oft_R.weight": Parameter };
  readonly #config: OFTConfig;
  readonly #facts: LinearFacts;
  readonly #table: SkewTable;

  constructor(config: OFTConfig, facts: LinearFacts, context: InjectionContext) {
    const [count, size] = blocksOf(config, facts);
    const shape = [config.blockShare ? 1 : count, size * (size - 1) / 2];
    const { init } = context;
    this.parameters = {
      "oft_R.weight": config.initWeights ? init.constant(shape, 0) : init.normal(shape, 0.1),
    };
    this.#config = config;
    this.#facts = facts;
    this.#table = sharedPartOf(context, SkewTables).get(size);
  }

  /** [blocks, k, k] */
  #rotations(): Tensor {
    const entries = this.parameters["oft_R.weight"];
    const { coft, eps, useCayleyNeumann, numCayleyNeumannTerms } = this.#config;
    if (coft) project(entries, eps);
    const Q = this.#table.matrices(entries);
    return useCayleyNeumann ? cayleyNeumann(Q, numCayleyNeumannTerms) : cayley(Q);
  }

  apply(call: LinearCall): LinearCall {
    return { ...call, x: rotateBlocks(call.x, this.#rotations()) };
  }

  /** R W: every column of a [in, out] weight, every row of a [out, in] one, by the transposed rotations. */
  mergedWeight(weight: Tensor): Tensor {
    const back = transpose(this.#rotations());
    return this.#facts.layout === "conv1d"
      ? transpose(rotateBlocks(transpose(weight), back))
      : rotateBlocks(weight, back);
  }
}

/** Pulls each block's entries back to where its matrix is within eps / sqrt(blocks) of 0 (Frobenius), in place. */
function project(entries: Parameter, eps: number): void {
  const radius = eps / Math.sqrt(entries.shape[0]);
  noGrad(() =>
    tidy(() => {
      const norms = sqrt(scale(sum(square(entries), { axis: 1, keepDims: true }), 2)); // of the matrices
      const larger = add(relu(subtract(norms, radius)), radius); // max(norm, radius)
      const inside = multiply(entries, divide(radius, larger));
      entries.device.copy(inside.view, entries.view);
    })
  );
}

/** OFT, for the registry. */
export const oft: PeftMethod<OFTConfig> = linearMethod({
  name: "oft",
  configFromJSON: (json) => OFTConfig.fromJSON(json),
  sharedPart: (_config, _targets, { device }) => new SkewTables(device),
  adapter: OftAdapter,
});

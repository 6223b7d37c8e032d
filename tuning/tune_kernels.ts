/**
 * Picks kernel variants for a device by timing them, one class of shapes after the other. Nothing here runs during
 * training: only a caller of `tuneKernels` waits for it.
 * @module
 */
import type { Device } from "../gpu/mod.ts";
import { type AttentionChoice, attentionKernels } from "../kernels/attention.ts";
import { attentionCandidates, attentionChoiceName, matmulCandidates, tileName } from "./candidates.ts";
import type { MatmulTile } from "../kernels/matmul.ts";
import type { KernelSpec } from "../kernels/kernel_spec.ts";
import { formatNamed, isQuantized, typeOfFormat, type WeightFormatName } from "../kernels/weights/mod.ts";
import { cast, readNumbers } from "../autograd/ops/cast.ts";
import { launchMatmul, type MatmulCall, type MatmulTarget } from "../autograd/ops/_matmul.ts";
import { attendToCache, attention } from "../autograd/ops/key_value_attention.ts";
import { tidy } from "../autograd/scope.ts";
import { empty, readAndDispose, Tensor } from "../autograd/tensor.ts";
import { race, type Racer, type Standing } from "./race.ts";
import { modelShapes, type TunableModel } from "./model_shapes.ts";
import { sampleMatmul, type TuningShape } from "./shapes.ts";
import { attentionClass, KernelPicks, matmulClass, picksOf, setPicks } from "../autograd/picks.ts";

/**
 * Options of `tuneKernels`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type TuneOptions, tuneKernels } from "@peft/webgpu/tuning";
 *
 * const options: TuneOptions = {
 *   shapes: [{ kind: "matmul", name: "lm_head", layout: "nt", weight: "f32", M: 1, N: 768, K: 128 }],
 *   rounds: 1,
 *   onResult: ({ shape, pick }) => console.log(`${shape}: ${pick}`),
 * };
 * await tuneKernels(await initDevice(), options);
 * ```
 */
export interface TuneOptions {
  /** What to measure, such as `modelShapes` gives; `model` serves as well. */
  readonly shapes?: readonly TuningShape[];
  /** A model on the device, whose shapes are recorded and measured where `shapes` are not given. */
  readonly model?: TunableModel;
  /** Rounds in which the variants take turns; default 6. */
  readonly rounds?: number;
  /**
   * Operations of one timed run: larger products are timed on part of their rows. Default 3e8 on software adapters,
   * where the parts run one after the other anyway; on hardware no limit.
   */
  readonly maxFlops?: number;
  /** Called with every class as it is done. */
  readonly onResult?: (result: TuningResult) => void;
}

/**
 * What was measured for one class of shapes.
 *
 * @example
 * ```ts
 * import type { TuningResult } from "@peft/webgpu/tuning";
 *
 * // classes of shapes in which the fixed table's choice is far from the best
 * const slow = (results: readonly TuningResult[]) =>
 *   results.filter(({ fixedShare }) => fixedShare < 0.8).map(({ shapeClass, pick }) => `${shapeClass}: ${pick}`);
 * ```
 */
export interface TuningResult {
  /** The class, such as `matmul nn f32 M9 N11 K9`. */
  readonly shapeClass: string;
  /** The shape it was asked for, such as `c_attn nn f32 512x768x2304`. */
  readonly shape: string;
  /** The shape that was timed, where it is a part of that. */
  readonly timed: string | null;
  /** Floating-point operations of the timed shape. */
  readonly flops: number;
  /** Every variant; the fixed table's is the first. */
  readonly variants: readonly Standing[];
  /** Name of the variant that serves from now on. */
  readonly pick: string;
  /** Speed of the fixed table's variant over that of the best, 0 to 1. */
  readonly fixedShare: number;
}

/** A pick must beat the fixed table's by this much, so that noise does not change kernels. */
const GAIN = 1.05;
/** Bytes of an operand of a timed product on software adapters. */
const MAX_BYTES = 32 * 2 ** 20;

/** Numbers in [-1, 1), always the same. */
class Numbers {
  #values = new Float32Array(0);

  values(count: number): Float32Array<ArrayBuffer> {
    if (this.#values.length < count) {
      let state = 1;
      const next = () => (state = Math.imul(state, 1664525) + 1013904223 | 0) / 2 ** 31;
      this.#values = Float32Array.from({ length: count }, next);
    }
    return this.#values.slice(0, count);
  }
}

/** A computation to be timed: how to run a choice, and what to free. */
interface Bench<Choice> {
  readonly flops: number;
  readonly tolerance: number;
  racer(choice: Choice, name: string): Racer;
  dispose(): void;
}

/** A weight of random numbers; blocks of few bits, which nothing converts to, get bytes that are finite in any reading. */
function randomWeight(
  device: Device,
  shape: readonly number[],
  name: WeightFormatName,
  numbers: Numbers,
): Tensor {
  const type = typeOfFormat(name);
  const count = shape.reduce((a, b) => a * b, 1);
  if (!isQuantized(type)) return cast(Tensor.from(numbers.values(count), { device, shape }), type);
  const weight = empty(device, shape, type);
  const length = Math.ceil(weight.byteLength / 4) * 4;
  const bytes = Uint8Array.from(numbers.values(length), (value) => Math.abs(value) * 0x30); // a float16 is below 0.13
  device.write(weight.view, bytes.subarray(0, weight.view.size));
  return weight;
}

/** The largest number of a weight; 1 where it consists of those of `Numbers`. */
async function largestOf(weight: Tensor): Promise<number> {
  if (!isQuantized(weight.dtype)) return 1;
  return (await readNumbers(weight)).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

async function matmulBench(
  device: Device,
  { layout, weight, M, N, K }: Extract<TuningShape, { kind: "matmul" }>,
  numbers: Numbers,
): Promise<Bench<MatmulTile>> {
  const [shapeA, shapeB] = [layout === "tn" ? [K, M] : [M, K], layout === "nt" ? [N, K] : [K, N]];
  const operands = tidy(() => [
    Tensor.from(numbers.values(M * K), { device, shape: shapeA }),
    randomWeight(device, shapeB, weight, numbers),
    empty(device, [M, N]),
  ]);
  const [a, b, y] = operands;
  const largest = await largestOf(b);
  const call: MatmulCall = {
    layout,
    M,
    N,
    K,
    a: { tensor: a, ld: shapeA[1] },
    b: { tensor: b, ld: shapeB[1] },
    y: { tensor: y, ld: N },
  };
  const unwritten = new Float32Array(M * N).fill(1e30);
  return {
    flops: 2 * M * N * K,
    // What rounding may do to a sum of K terms of at most `largest` (sqrt(K) 2^-24: Higham and Mary 2019's probabilistic bound).
    tolerance: Math.sqrt(K) * 2 ** -24 * K * largest,
    racer(tile, name) {
      const kernels: { kernel: KernelSpec }[] = [];
      const recorder: MatmulTarget = {
        limits: device.limits,
        profile: device.profile,
        dispatch: (kernel) => void kernels.push({ kernel: kernel as unknown as KernelSpec }),
      };
      launchMatmul(recorder, { ...call, tile });
      return {
        name,
        kernels,
        launch: () => launchMatmul(device, { ...call, tile }),
        async results() {
          device.write(y.view, unwritten);
          launchMatmul(device, { ...call, tile });
          return [await y.data()];
        },
      };
    },
    dispose: () => operands.forEach((tensor) => tensor.dispose()),
  };
}

function attentionBench(
  device: Device,
  { Tq, Tk, heads, headSize, keyValueHeads = heads, window = null }: Extract<
    TuningShape,
    { kind: "attention" }
  >,
  numbers: Numbers,
): Bench<AttentionChoice> {
  const C = heads * headSize;
  const past = Tk - Tq;
  const cached = past > 0;
  const tensors = [[Tq, C], [Tk, 2 * keyValueHeads * headSize], [Tq, C]].map(([rows, width]) =>
    Tensor.from(numbers.values(rows * width), { device, shape: [1, rows, width] })
  );
  const [q, kv, dy] = tensors;
  for (const tensor of [q, kv]) tensor.requiresGrad = !cached;
  const run = (choice: AttentionChoice): Tensor => {
    const options = { heads, keyValueHeads, window, past, choice };
    if (cached) return attendToCache(q, kv, options);
    const o = attention(q, kv, options);
    o.backward(dy);
    return o;
  };
  const dropGradients = () => {
    for (const tensor of [q, kv]) {
      tensor.grad?.dispose();
      tensor.grad = null;
    }
  };
  let pairs = 0;
  for (let i = 0; i < Tq; i++) pairs += Math.min(window ?? Infinity, past + i + 1);
  return {
    flops: 4 * C * pairs * (cached ? 1 : 4.5),
    tolerance: 2e-5, // of numbers up to about 1
    racer(choice, name) {
      const kernels = attentionKernels(headSize, {
        grouped: keyValueHeads < heads,
        windowed: window !== null,
        documents: false,
        ...choice,
        vector: headSize % 4 === 0,
        mask: false,
        dropout: false,
      });
      const used = cached ? [kernels.forward] : Object.values(kernels);
      const tuning = { WORKGROUP_SIZE: choice.WORKGROUP_SIZE };
      return {
        name,
        kernels: used.map((kernel) => ({ kernel: kernel as unknown as KernelSpec, tuning })),
        launch: () => {
          tidy(() => void run(choice));
          dropGradients();
        },
        async results() {
          device.trim(); // new buffers hold zeros, not what another variant left in them
          const o = tidy(() => run(choice));
          const results = [await readAndDispose(o)];
          for (const { grad } of [q, kv]) if (grad) results.push(await grad.data());
          dropGradients();
          return results as ArrayLike<number>[];
        },
      };
    },
    dispose: () => tensors.forEach((tensor) => tensor.dispose()),
  };
}

/** Times choices, and keeps the one to use: the best, or the first where the best is hardly better. */
async function choose<Choice>(
  device: Device,
  bench: Bench<Choice>,
  choices: readonly Choice[],
  nameOf: (choice: Choice) => string,
  rounds: number | undefined,
): Promise<{ variants: Standing[]; pick: Choice | null; fixedShare: number }> {
  try {
    const racers = choices.map((choice) => bench.racer(choice, nameOf(choice)));
    const variants = await race(device, racers, { flops: bench.flops, tolerance: bench.tolerance, rounds });
    const times = variants.map(({ ms }) => Number.isNaN(ms) ? Infinity : ms);
    const best = Math.min(...times);
    if (best === Infinity) return { variants, pick: null, fixedShare: NaN };
    const pick = choices[times[0] <= best * GAIN ? 0 : times.indexOf(best)];
    return { variants, pick, fixedShare: best / times[0] };
  } finally {
    bench.dispose();
    device.trim();
  }
}

/**
 * Measures kernel variants on a device and makes it use the best of each class of shapes from now on. Every variant is
 * checked against the fixed table's before it is timed. Keep the picks with `saveTuning`. A variant may round
 * differently from another, so runs before and after tuning agree to rounding, not bit for bit; with the same picks
 * they do. Call it before training or generating, not in between.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { modelShapes, saveTuning, tuneKernels, writeTuning } from "@peft/webgpu/tuning";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const { device } = model;
 * const [first] = await modelShapes(model, { training: false });
 * await tuneKernels(device, { shapes: [first] }); // { model } in place of shapes: all that it runs, a minute or more
 * await writeTuning(device.adapterName, saveTuning(device));
 * ```
 * @returns what was measured, one result for each class
 */
export async function tuneKernels(device: Device, options: TuneOptions = {}): Promise<TuningResult[]> {
  const { rounds, onResult, model } = options;
  if (model && model.device !== device) {
    throw new TypeError("Cannot tune kernels: a model on the device that is tuned is required");
  }
  const shapes = options.shapes ?? (model && await modelShapes(model));
  if (!shapes) throw new TypeError("Cannot tune kernels: shapes or a model are required, received neither");
  const maxFlops = options.maxFlops ?? device.profile.tuningWork;
  const maxBytes = maxFlops === Infinity ? device.limits.maxStorageBufferBindingSize * 3 / 4 : MAX_BYTES;
  const picks = picksOf(device) ?? new KernelPicks();
  const numbers = new Numbers();
  const done = new Map<string, TuningResult>();
  const measured = new Map<string, Awaited<ReturnType<typeof choose<MatmulTile>>>>();
  for (const shape of shapes) {
    let result: TuningResult;
    if (shape.kind === "matmul") {
      const { layout, weight, name } = shape;
      const shapeClass = matmulClass({ ...shape, batch: 1 });
      if (done.has(shapeClass)) continue;
      const text = ({ M, N, K }: { M: number; N: number; K: number }) => `${layout} ${weight} ${M}x${K}x${N}`;
      const { block, total = 1 } = formatNamed(weight);
      const part = sampleMatmul(shape, maxFlops, maxBytes, Math.max(4, block, total));
      const tiles = matmulCandidates(device, { ...part, batch: 1 });
      const key = text(part);
      const outcome = measured.get(key) ??
        await choose(device, await matmulBench(device, part, numbers), tiles, tileName, rounds);
      measured.set(key, outcome);
      if (outcome.pick) picks.pickMatmul(shapeClass, outcome.pick);
      result = {
        shapeClass,
        shape: `${name} ${text(shape)}`,
        timed: key === text(shape) ? null : key,
        flops: 2 * part.M * part.N * part.K,
        variants: outcome.variants,
        pick: outcome.pick ? tileName(outcome.pick) : "",
        fixedShare: outcome.fixedShare,
      };
    } else {
      const { name, Tq, Tk, heads, headSize, keyValueHeads = heads, window = null } = shape;
      const shapeClass = attentionClass({ Tq, Tk, heads, headSize, keyValueHeads, window });
      if (done.has(shapeClass)) continue;
      const bench = attentionBench(device, shape, numbers);
      const outcome = await choose(
        device,
        bench,
        attentionCandidates(device.profile, Tq),
        attentionChoiceName,
        rounds,
      );
      if (outcome.pick) picks.pickAttention(shapeClass, outcome.pick);
      result = {
        shapeClass,
        shape: `${name} ${heads}x${headSize}${
          keyValueHeads < heads ? ` over ${keyValueHeads}` : ""
        }, ${Tq} queries, ${Tk} keys${window === null ? "" : `, window ${window}`}`,
        timed: null,
        flops: bench.flops,
        variants: outcome.variants,
        pick: outcome.pick ? attentionChoiceName(outcome.pick) : "",
        fixedShare: outcome.fixedShare,
      };
    }
    done.set(result.shapeClass, result);
    onResult?.(result);
  }
  setPicks(device, picks);
  return [...done.values()];
}

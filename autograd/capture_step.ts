/**
 * A training step recorded once and replayed: no model code runs, no buffer is made, every bind group exists already.
 * @module
 */

import { type Capture, type Device, isSameWork } from "../gpu/mod.ts";
import { checkOptions } from "../options/names.ts";
import { keep, untracked } from "./scope.ts";
import { settingsKey } from "./settings.ts";
import { showShape } from "./shape.ts";
import { type FlatInput, flatInput, type StepInput, StepInputValues } from "./step_inputs.ts";
import { isRecording, watchLeaves } from "./tape.ts";
import { type Storage, Tensor } from "./tensor.ts";

/**
 * A step that is recorded and replayed; made by `captureStep`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type CapturedStep, captureStep, multiply, sum } from "@peft/webgpu/tensor";
 *
 * const squares: CapturedStep<"x"> = captureStep(await initDevice(), ({ x }) => sum(multiply(x, x)));
 * console.log(await squares({ x: [Float32Array.of(3, 4)] }).item()); // 25, recorded
 * console.log(await squares({ x: [Float32Array.of(5, 12)] }).item()); // 169, replayed
 * squares.dispose();
 * ```
 */
export interface CapturedStep<Name extends string> {
  /** Runs the step on `inputs`; the result is overwritten by the next call. */
  (inputs: Readonly<Record<Name, StepInput>>): Tensor;
  /** Releases its memory; a later call records again. */
  dispose(): void;
}

/**
 * Options of `captureStep`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type CaptureOptions, captureStep, mean } from "@peft/webgpu/tensor";
 *
 * const options: CaptureOptions = { verify: true, maxReservedBytes: 64 * 2 ** 20 };
 * const average = captureStep(await initDevice(), ({ x }) => mean(x), options);
 * console.log(await average({ x: [Float32Array.of(1, 2, 6)] }).item()); // 3
 * ```
 */
export interface CaptureOptions {
  /**
   * Records twice, and replays only if both recordings launch the same kernels with the same numbers; otherwise the
   * step is never replayed. For steps that may not do the same every time. Default false.
   */
  verify?: boolean;
  /**
   * Bytes that all records except the latest may reserve; past this, those unused longest are dropped. Default 256 MiB.
   */
  maxReservedBytes?: number;
  /** Never replays a step whose record would take more memory than running it does. Default false. */
  yields?: boolean;
}

/** Records kept; past this, those unused longest are dropped. */
const MAX_RECORDS = 8;
/** Shapes and settings for which it is remembered whether the step may be replayed. */
const MAX_TRUSTS = 256;
const DEFAULT_RESERVED_BYTES = 256 * 2 ** 20;

/** The gradient of a leaf before and after a recorded step. */
interface LeafGradient {
  readonly leaf: Tensor;
  /** The memory that a replay needs to find, null for no gradient, undefined where any will do. */
  readonly before: Storage | null | undefined;
  /** What the step leaves. */
  readonly after: Tensor | null;
}

interface Input {
  readonly tensor: Tensor;
  readonly known: StepInputValues;
}

/** Whether a step may be replayed, as far as is known. */
interface Trust {
  state: "unknown" | "replayable" | "never";
}

/** The step for inputs of one set of shapes, under one set of settings. */
class RecordedStep<Name extends string> {
  readonly #device: Device;
  readonly #body: (inputs: Readonly<Record<Name, Tensor>>) => Tensor;
  readonly #inputs: ReadonlyMap<Name, Input>;
  readonly #trust: Trust;
  readonly #yields: boolean;
  /** Leaves that got a gradient when the step last ran. */
  #leaves = new Set<Tensor>();
  /** Whether it has run since the last change, so that what it makes on its first run exists. */
  #isWarm = false;
  #capture: Capture | null = null;
  #gradients: LeafGradient[] = [];
  #result: Tensor | null = null;
  #shown: Tensor | null = null;

  constructor(
    device: Device,
    body: (inputs: Readonly<Record<Name, Tensor>>) => Tensor,
    values: ReadonlyMap<Name, FlatInput>,
    trust: Trust,
    yields: boolean,
  ) {
    this.#trust = trust;
    this.#yields = yields;
    this.#device = device;
    this.#body = body;
    this.#inputs = untracked(() =>
      new Map([...values].map(([name, { data, shape }]) => {
        const tensor = Tensor.from(data, { shape, device });
        return [name, { tensor, known: new StepInputValues(tensor, data) }];
      }))
    );
  }

  /** Bytes kept for its replays. */
  get reservedBytes(): number {
    return this.#capture?.reservedBytes ?? 0;
  }

  /** Takes the inputs of the coming step. @throws what the step itself would throw for them; nothing changes then */
  write(values: ReadonlyMap<Name, FlatInput>): void {
    if (this.#capture) { for (const [name, { data }] of values) this.#inputs.get(name)!.known.check(data); }
    for (const [name, { data }] of values) {
      const { tensor, known } = this.#inputs.get(name)!;
      tensor.write(data);
      known.values = data;
    }
  }

  /** Whether the coming step will be replayed. */
  get isReplayable(): boolean {
    return this.#trust.state === "replayable" && this.#capture !== null && this.#capture.isCurrent &&
      this.#gradients.every(({ leaf, before }) =>
        before === undefined || (leaf.grad === null ? before === null : leaf.grad.storage === before)
      );
  }

  /** Does the step. */
  run(): Tensor {
    if (this.isReplayable) {
      this.#device.replay(this.#capture!);
      for (const { leaf, after } of this.#gradients) placeGradient(leaf, after);
    } else {
      const { state } = this.#trust;
      const earlier = state === "unknown" && this.#capture?.isCurrent ? this.#capture.work : null;
      if (this.#capture) this.forget();
      const isWarm = this.#isWarm || earlier !== null;
      this.#takeResult(isWarm && state !== "never" ? this.#record() : this.#runBody());
      this.#isWarm = true;
      if (earlier && this.#capture) {
        this.#trust.state = isSameWork(earlier, this.#capture.work) ? "replayable" : "never";
        if (this.#trust.state === "never") this.forget();
      }
    }
    if (this.#shown!.isDisposed) this.#shown = untracked(() => this.#result!.alias());
    return this.#shown!;
  }

  #takeResult(result: Tensor): void {
    this.#shown?.dispose();
    this.#result?.dispose();
    this.#result = result;
    this.#shown = untracked(() => result.alias());
  }

  #runBody(watch: (leaf: Tensor) => void = () => {}): Tensor {
    const inputs = Object.fromEntries([...this.#inputs].map(([name, { tensor }]) => [name, tensor]));
    const leaves = new Set<Tensor>();
    const watchAll = (leaf: Tensor) => {
      if (!leaves.has(leaf)) watch(leaf);
      leaves.add(leaf);
    };
    const result = watchLeaves(
      (leaf) => watchAll(leaf as Tensor),
      () => untracked(() => this.#body(inputs as Record<Name, Tensor>)),
    );
    this.#leaves = leaves;
    if (result instanceof Tensor) return keep(result);
    throw new TypeError("Cannot capture a step: its body must return one tensor, at once");
  }

  #record(): Tensor {
    const memory = (leaf: Tensor) => leaf.grad?.storage ?? null;
    const atStart = new Map([...this.#leaves].map((leaf) => [leaf, memory(leaf)]));
    const atFirst = new Map<Tensor, Storage | null>();
    const { result, capture } = this.#device.capture(
      () => this.#runBody((leaf) => atFirst.set(leaf, memory(leaf))),
      this.#yields,
    );
    if (capture.wasGivenUp && this.#yields) this.#trust.state = "never";
    if (!capture.isCurrent) {
      capture.dispose();
      return result;
    }
    this.#capture = capture;
    this.#gradients = [...atFirst].map(([leaf, first]) => {
      const start = atStart.get(leaf) ?? first;
      const before = start !== null && first === null ? undefined : start;
      return { leaf, before, after: leaf.grad && untracked(() => leaf.grad!.alias()) };
    });
    return result;
  }

  /** Drops the record, not the inputs. */
  forget(): void {
    for (const { after } of this.#gradients) after?.dispose();
    this.#gradients = [];
    this.#capture?.dispose();
    this.#capture = null;
    this.#isWarm = false;
  }

  dispose(): void {
    this.forget();
    this.#shown?.dispose();
    this.#result?.dispose();
    for (const { tensor } of this.#inputs.values()) tensor.dispose();
  }
}

/** Makes `gradient`'s memory the gradient of `leaf`. */
function placeGradient(leaf: Tensor, gradient: Tensor | null): void {
  if (leaf.grad?.storage === gradient?.storage) return;
  leaf.grad?.dispose();
  leaf.grad = gradient && untracked(() => gradient.alias());
}

/** Releases the memory of steps that nothing refers to any more. */
const forgotten = new FinalizationRegistry<Map<string, RecordedStep<string>>>(disposeAll);

function disposeAll(records: Map<string, RecordedStep<string>>): void {
  for (const record of records.values()) record.dispose();
  records.clear();
}

/**
 * Makes a step that is recorded and then replayed. `body` gets its inputs as int32 tensors (float32 where rows are
 * Float32Arrays) and returns one tensor, such as the loss; it must do the whole step (forward, `backward()`, optimizer
 * step, `zeroGrad()`), read nothing back, and make the same launches every time. What changes between steps goes through
 * device buffers: the inputs, the optimizer's step number and learning rate, the seeds of dropout.
 *
 * For inputs of new shapes, the first call runs `body`, the second runs and records it, later ones replay the record;
 * the numbers are the same bit for bit. The same happens again after a change of what a record depends on: train or
 * eval mode, `requiresGrad`, which adapters act and how they are scaled, `noGrad`, a tensor that is disposed, a
 * gradient that is kept where there was none. The returned tensor is overwritten by the next call and belongs to the
 * step.
 *
 * A call throws a RangeError for inputs that are not 32-bit integers, and what the model throws for ids outside its
 * vocabulary, in replays too.
 *
 * @example
 * ```ts
 * import { AdamW, captureStep, type Device, type GPT2LMHeadModel, type Tensor, tidy } from "@peft/webgpu";
 *
 * declare const device: Device, model: GPT2LMHeadModel, optimizer: AdamW, batches: number[][][];
 * const step = captureStep(device, ({ inputIds }: { inputIds: Tensor }) => {
 *   const loss = tidy(() => {
 *     const output = model.forward({ inputIds, labels: inputIds });
 *     output.loss!.backward();
 *     return output.loss!;
 *   });
 *   optimizer.step();
 *   optimizer.zeroGrad();
 *   return loss;
 * });
 * for (const inputIds of batches) console.log(await step({ inputIds }).item());
 * ```
 */
export function captureStep<Name extends string>(
  device: Device,
  body: (inputs: Readonly<Record<Name, Tensor>>) => Tensor,
  options: CaptureOptions = {},
): CapturedStep<Name> {
  checkOptions("capture a step", options, ["verify", "maxReservedBytes", "yields"]);
  const { verify = false, yields = false, maxReservedBytes = DEFAULT_RESERVED_BYTES } = options;
  const records = new Map<string, RecordedStep<Name>>();
  const trusts = new Map<string, Trust>();
  const step = (given: Readonly<Record<Name, StepInput>>): Tensor => {
    if (device.recording) throw new TypeError("Cannot run a captured step in the body of another one");
    const values = new Map(
      (Object.keys(given) as Name[]).sort().map((name) => [name, flatInput(name, given[name])] as const),
    );
    const shapes = [...values].map(([name, { data, shape }]) =>
      `${name} ${data.constructor.name} ${showShape(shape)}`
    ).join(", ");
    const key = `${settingsKey()} ${isRecording()} ${shapes}`;
    let record = records.get(key);
    if (record) record.write(values);
    else {
      const trust = trusts.get(key) ?? { state: verify ? "unknown" : "replayable" };
      trusts.set(key, trust);
      if (trusts.size > MAX_TRUSTS) trusts.delete(trusts.keys().next().value!);
      record = new RecordedStep(device, body, values, trust, yields);
    }
    records.delete(key); // the latest comes last
    if (!record.isReplayable) makeRoom(records, maxReservedBytes);
    try {
      const result = record.run();
      records.set(key, record);
      return result;
    } catch (error) {
      record.dispose();
      throw error;
    }
  };
  forgotten.register(step, records);
  return Object.assign(step, { dispose: () => disposeAll(records) });
}

/** Drops the records unused longest, so that one more may be made. */
function makeRoom<Name extends string>(
  records: Map<string, RecordedStep<Name>>,
  maxReservedBytes: number,
): void {
  let reserved = 0;
  for (const record of records.values()) reserved += record.reservedBytes;
  for (const [key, record] of records) {
    if (records.size < MAX_RECORDS && reserved <= maxReservedBytes) return;
    reserved -= record.reservedBytes;
    record.dispose();
    records.delete(key);
  }
}

/**
 * Event files that TensorBoard reads: records of protocol buffers, each with its length and two checksums (TFRecord and
 * `tensorflow/core/util/event.proto`).
 * @module
 */

import { appendToFile, joinPath, listDirectory, makeDirectory } from "../../io/files.ts";
import { snakeCase } from "../../options/table.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "../trainer_state.ts";
import type { TrainingArguments } from "../training_arguments.ts";
import { reportFolder } from "./report_folder.ts";

const FILE_PREFIX = "events.out.tfevents.";

/**
 * Folder of event files in the run's folder.
 *
 * @example
 * ```ts
 * import { TENSORBOARD_FOLDER } from "@peft/webgpu/train";
 *
 * console.log(TENSORBOARD_FOLDER); // runs
 * ```
 */
export const TENSORBOARD_FOLDER = "runs";

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? value >>> 1 ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), masked as TFRecord has it: rotated by 15 bits, plus a constant. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >>> 8;
  crc = (crc ^ 0xffffffff) >>> 0;
  return (crc >>> 15 | crc << 17) + 0xa282ead8 >>> 0;
}

/** A field of a protocol buffer: its number and wire type, and its bytes. */
function field(number: number, wire: number, bytes: readonly number[] | Uint8Array): number[] {
  return [number << 3 | wire, ...bytes];
}

/** A non-negative integer, seven bits a byte. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return [...bytes, value];
}

/** A field of bytes, with their number before them. */
const bytesField = (number: number, bytes: readonly number[] | Uint8Array) =>
  field(number, 2, [...varint(bytes.length), ...bytes]);

const text = (value: string) => new TextEncoder().encode(value);

function float(value: number, double: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(double ? 8 : 4));
  if (double) view.setFloat64(0, value, true);
  else view.setFloat32(0, value, true);
  return new Uint8Array(view.buffer);
}

/** A record: length, its checksum, the data, their checksum. */
function record(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return bytes;
}

/** An event: wall time in seconds, and its content. */
function event(step: number, content: readonly number[]): Uint8Array {
  return record(
    Uint8Array.from([
      ...field(1, 1, float(Date.now() / 1000, true)),
      ...field(2, 0, varint(step)),
      ...content,
    ]),
  );
}

/** Scalars at a step. */
function scalars(step: number, values: readonly (readonly [tag: string, value: number])[]): Uint8Array {
  const summary = values.flatMap(([tag, value]) =>
    bytesField(1, [...bytesField(1, text(tag)), ...field(2, 5, float(value, false))])
  );
  return event(step, bytesField(5, summary));
}

/** `evalLoss` as `eval/loss`, `gradNorm` as `train/grad_norm`, as `transformers` has them. */
function tagOf(name: string, group: "train" | "eval"): string {
  return `${group}/${snakeCase(name).replace(/^eval_/, "")}`;
}

/**
 * Writes what is logged and evaluated for TensorBoard: `tensorboard --logdir <folder>`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { TensorBoardLog } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const callbacks = [new TensorBoardLog("out/runs")]; // tensorboard --logdir out/runs
 * await new Trainer({ model, trainDataset, args: { maxSteps: 2, reportTo: "none" }, callbacks }).train();
 * ```
 */
export class TensorBoardLog implements TrainerCallback {
  readonly #folder: string | null;
  #path = "";

  /** `folder` takes the event files; default `runs` in `outputDir`. */
  constructor(folder: string | null = null) {
    this.#folder = folder;
  }

  /**
   * Begins a file. In a folder that has others TensorBoard shows them as one run, and of them what comes after the step
   * that this run goes on from no longer: nothing of them where it begins anew.
   */
  async onTrainBegin(args: TrainingArguments, { globalStep }: Readonly<TrainerState>): Promise<void> {
    const folder = this.#folder ??
      await joinPath(reportFolder("write for TensorBoard", undefined, args), TENSORBOARD_FOLDER);
    await makeDirectory(folder);
    const isUsed = (await listDirectory(folder)).some((name) => name.startsWith(FILE_PREFIX));
    const now = Date.now();
    const part = (globalThis as { process?: { pid?: number } }).process?.pid ?? 0;
    const milliseconds = String(now % 1000).padStart(3, "0"); // files are read in the order of their names
    const name = `${FILE_PREFIX}${Math.floor(now / 1000)}.peft-webgpu.${part}.${milliseconds}`;
    this.#path = await joinPath(folder, name);
    await this.#append(event(0, bytesField(3, text("brain.Event:2"))));
    if (!isUsed && globalStep === 0) return;
    const firstStep = globalStep === 0 ? 0 : globalStep + 1; // what the checkpoint's own step logged stays
    await this.#append(event(firstStep, field(7, 2, sessionStart())));
  }

  /** Adds a log. */
  async onLog(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): Promise<void> {
    await this.#scalars("train", state, {
      ...logs,
      epoch: state.epoch,
      tokensPerSecond: state.tokensPerSecond,
    });
  }

  /** Adds an evaluation. */
  async onEvaluate(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): Promise<void> {
    await this.#scalars("eval", state, logs);
  }

  /** Adds the figures of the whole run. */
  async onTrainEnd(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): Promise<void> {
    await this.#scalars("train", state, logs);
  }

  async #scalars(
    group: "train" | "eval",
    { globalStep }: Readonly<TrainerState>,
    logs: Readonly<Record<string, number>>,
  ): Promise<void> {
    const values = Object.entries(logs).map(([name, value]) => [tagOf(name, group), value] as const);
    if (values.length > 0) await this.#append(scalars(globalStep, values));
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await appendToFile(this.#path, bytes);
  }
}

/** `SessionLog { status: START }`: TensorBoard drops steps from here on that it read before. */
function sessionStart(): number[] {
  const message = field(1, 0, varint(1));
  return [...varint(message.length), ...message];
}

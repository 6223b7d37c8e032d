/**
 * A run as a file of JSON lines: what was trained with what, every log, evaluation, sample and checkpoint.
 * @module
 */

import { VERSION } from "../../autograd/mod.ts";
import { writeFileAtomic } from "../../io/atomic_file.ts";
import { appendToFile, exists, joinPath, makeDirectory, readFile } from "../../io/files.ts";
import { checkOptions } from "../../options/names.ts";
import type { Example } from "../data/example.ts";
import { piecesOf } from "../data/pieces.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "../trainer_state.ts";
import { deviceOf, trainableParameters } from "../trainable_model.ts";
import type { TrainingArguments } from "../training_arguments.ts";
import { reportFolder } from "./report_folder.ts";

/**
 * Name of the file in the run's folder.
 *
 * @example
 * ```ts
 * import { RUN_LOG } from "@peft/webgpu/train";
 *
 * console.log(RUN_LOG); // run_log.jsonl
 * ```
 */
export const RUN_LOG = "run_log.jsonl";

/**
 * One line.
 *
 * @example
 * ```ts
 * import { readRunLog, type RunEvent } from "@peft/webgpu/train";
 *
 * // seconds between the first and the last line of a run's log
 * async function secondsOf(path: string): Promise<number> {
 *   const events: RunEvent[] = await readRunLog(path);
 *   return (events.at(-1)!.time - events[0].time) / 1000;
 * }
 * ```
 */
export interface RunEvent {
  /** "begin", "resume", "log", "evaluate", "sample", "save", "end", or what a caller notes. */
  readonly event: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Optimizer steps done. */
  readonly step: number;
  /** Whatever else belongs to the event. */
  readonly [field: string]: unknown;
}

/**
 * Options of `RunLog`.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { RunLog, type RunLogOptions } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const options: RunLogOptions = {
 *   about: { data: "pirate.jsonl", method: "LoRA of rank 8" },
 *   example: () => ({ inputIds: tokenizer.encode("Ahoy, matey!") }),
 *   tokenizer,
 * };
 * const callbacks = [new RunLog(options)]; // for a Trainer
 * ```
 */
export interface RunLogOptions {
  /** Folder of the file; default `outputDir`. */
  folder?: string;
  /** What the run is, beside its settings: data, method, model; plain JSON. */
  about?: Readonly<Record<string, unknown>>;
  /** An example of the data, shown as the model sees it; needs `tokenizer`. */
  example?: () => Example | Promise<Example | undefined> | undefined;
  /** Shows the example's tokens. */
  tokenizer?: { decode?(ids: number[]): string };
}

/** What runs this code, such as `Deno/2.9.6`; Node before 21 tells it elsewhere than browsers. */
function runtime(): string {
  const { process, navigator } = globalThis as {
    process?: { version?: string };
    navigator?: { userAgent?: string };
  };
  return navigator?.userAgent ?? `Node.js/${process?.version ?? "unknown"}`;
}

/**
 * Reads a log. A last line that a crash cut is passed over.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { readRunLog, RunLog } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const callbacks = [new RunLog({ folder: "out/log" })];
 * await new Trainer({ model, trainDataset, callbacks, args: { maxSteps: 2, reportTo: "none" } }).train();
 * console.log((await readRunLog("out/log/run_log.jsonl")).length);
 * ```
 * @throws {Error} if there is no such file @throws {TypeError} for another line that is no event, naming it
 */
export async function readRunLog(path: string): Promise<RunEvent[]> {
  const lines = new TextDecoder().decode(await readFile(path)).split("\n");
  const events: RunEvent[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    try {
      const event = JSON.parse(line);
      const { event: kind, step, time } = event ?? {};
      if (typeof kind !== "string" || typeof step !== "number" || typeof time !== "number") {
        throw new TypeError('"event", "step" and "time" are required');
      }
      events.push(event);
    } catch (cause) {
      if (i === lines.length - 1) continue; // no line break follows: it was never whole
      throw new TypeError(
        `Cannot read "${path}": line ${i + 1} must be an event of a run log, with "event", "step" and "time"`,
        { cause },
      );
    }
  }
  return events;
}

/**
 * Writes the log of a run; a resumed run continues it from its checkpoint's step.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { readRunLog, RunLog } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const callbacks = [new RunLog({ folder: "out/log" })];
 * await new Trainer({ model, trainDataset, callbacks, args: { maxSteps: 2, reportTo: "none" } }).train();
 * for (const { event, step } of await readRunLog("out/log/run_log.jsonl")) console.log(event, step);
 * ```
 */
export class RunLog implements TrainerCallback {
  readonly #options: RunLogOptions;
  readonly #early: string[] = [];
  #path = "";
  #begin = 0;

  /** Writes nothing yet. @throws {TypeError} for an option that does not exist */
  constructor(options: RunLogOptions = {}) {
    checkOptions("keep a run log", options, ["folder", "about", "example", "tokenizer"]);
    this.#options = options;
  }

  /** The file; empty before the run begins. */
  get path(): string {
    return this.#path;
  }

  /** Adds an event of the caller's. One from before the run begins is written after its beginning. */
  async note(event: string, step: number, fields: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const line = `${JSON.stringify({ event, time: Date.now(), step, ...fields })}\n`;
    if (this.#path === "") this.#early.push(line);
    else await appendToFile(this.#path, new TextEncoder().encode(line));
  }

  /** Begins the file, or cuts one that is there to the step that the run goes on from. */
  async onTrainBegin(
    args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { model }: CallbackExtra,
  ): Promise<void> {
    const { about = {}, example, tokenizer } = this.#options;
    const folder = reportFolder("keep a run log", this.#options.folder, args);
    await makeDirectory(folder);
    const path = await joinPath(folder, RUN_LOG);
    const { globalStep } = state;
    const kept = globalStep > 0 && await exists(path)
      ? (await readRunLog(path)).filter(({ event, step }) => step <= globalStep && event !== "end")
      : [];
    await writeFileAtomic(path, kept.map((event) => `${JSON.stringify(event)}\n`).join(""));
    this.#path = path;
    this.#begin = performance.now();
    const trainable = [...trainableParameters(model).values()].reduce((sum, { size }) => sum + size, 0);
    const parameters = [...model.namedParameters()].reduce((sum, [, { size }]) => sum + size, 0);
    const device = deviceOf(model);
    const shown = await example?.();
    await this.note(kept.length > 0 ? "resume" : "begin", globalStep, {
      maxSteps: state.maxSteps,
      arguments: args.toJSON(),
      ...about,
      environment: {
        version: VERSION,
        runtime: runtime(),
        adapter: device?.adapterName ?? "",
      },
      trainable,
      parameters,
      ...shown && tokenizer?.decode && { example: piecesOf(shown, (ids) => tokenizer.decode!(ids)) },
    });
    await appendToFile(path, new TextEncoder().encode(this.#early.splice(0).join("")));
  }

  /** Adds a log, with speed and memory. */
  async onLog(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    extra: CallbackExtra,
  ): Promise<void> {
    await this.#numbers("log", state, extra);
  }

  /** Adds an evaluation. */
  async onEvaluate(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    extra: CallbackExtra,
  ): Promise<void> {
    await this.#numbers("evaluate", state, extra);
  }

  /** Adds what the model wrote. */
  async onSample(
    _args: TrainingArguments,
    _state: Readonly<TrainerState>,
    _control: TrainerControl,
    { samples = [] }: CallbackExtra,
  ): Promise<void> {
    for (const { step, ...sample } of samples) await this.note("sample", step, sample);
  }

  /** Adds a checkpoint. */
  async onSave(
    _args: TrainingArguments,
    { globalStep }: Readonly<TrainerState>,
    _control: TrainerControl,
    { checkpoint }: CallbackExtra,
  ): Promise<void> {
    await this.note("save", globalStep, { checkpoint });
  }

  /** Adds how it ended. */
  async onTrainEnd(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    extra: CallbackExtra,
  ): Promise<void> {
    await this.#numbers("end", state, extra);
  }

  async #numbers(
    event: string,
    state: Readonly<TrainerState>,
    { model, logs }: CallbackExtra,
  ): Promise<void> {
    const memory = deviceOf(model)?.memory;
    await this.note(event, state.globalStep, {
      epoch: state.epoch,
      ...logs,
      tokens: state.numInputTokensSeen,
      tokensPerSecond: state.tokensPerSecond,
      ...memory && { deviceBytes: memory.liveBytes, peakBytes: memory.peakBytes },
      seconds: (performance.now() - this.#begin) / 1000,
    });
  }
}

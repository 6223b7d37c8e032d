/**
 * A sweep of a tiny model, with workers that are processes of their own.
 * @module
 */

import { AutoTokenizer, GPT2Config, GPT2LMHeadModel } from "@peft/webgpu";
import { defaultDevice } from "../../autograd/mod.ts";
import { type Command, parseFlags } from "../../cli/command.ts";
import { sweep } from "../../cli/sweep/sweep.ts";
import { pause } from "./nats_server.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const DEMO = `${ROOT}examples/demo`;

/** Writes a GPT-2 of one layer and 16 channels, with the demo's tokenizer. */
export async function writeTinyModel(folder: string, seed = 5): Promise<string> {
  const tokenizer = await AutoTokenizer.fromPretrained(`${DEMO}/model`);
  const config = new GPT2Config({
    ...{ vocabSize: 768, nPositions: 64, nEmbd: 16, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 },
  });
  const model = new GPT2LMHeadModel(config, { device: await defaultDevice(), seed });
  await model.savePretrained(folder);
  await tokenizer.savePretrained(folder);
  model.dispose();
  return folder;
}

/** Files of a sweep. */
export interface TinySweep {
  readonly folder: string;
  readonly model: string;
  /** The sweep's file. */
  readonly file: string;
}

/**
 * Writes model, data and the sweep's file.
 * @param fields of the sweep, beside its `finetune` @param finetune more of that
 */
export async function writeTinySweep(
  folder: string,
  fields: Record<string, unknown>,
  finetune: Record<string, unknown> = {},
): Promise<TinySweep> {
  const model = await writeTinyModel(`${folder}/model`);
  const rows = (await Deno.readTextFile(`${DEMO}/data/pirate.jsonl`)).split("\n");
  await Deno.writeTextFile(`${folder}/train.jsonl`, rows.slice(0, 16).join("\n"));
  await Deno.writeTextFile(`${folder}/held_out.jsonl`, rows.slice(16, 19).join("\n"));
  const file = `${folder}/sweep.yaml`; // JSON is YAML too
  const settings = {
    ...{ model, data: `${folder}/train.jsonl`, "eval-data": `${folder}/held_out.jsonl` },
    ...{ "batch-size": 2, "block-size": 24, dropout: 0.1, "max-steps": 12, "save-steps": 3, ...finetune },
  };
  await Deno.writeTextFile(file, JSON.stringify({ finetune: settings, ...fields }));
  return { folder, model, file };
}

/** Runs `./run sweep` in this process; what it prints is returned. */
export async function runSweep(
  ...args: string[]
): Promise<{ result: Record<string, unknown>; lines: string[] }> {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(String(line));
  try {
    const values = parseFlags(sweep as unknown as Command, args)!;
    return { result: await sweep.run(values as never) as Record<string, unknown>, lines };
  } finally {
    console.log = log;
  }
}

/** A command of `./run` in a process of its own. */
export class CommandProcess {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  /** Its temporary files: one that is killed leaves them. */
  readonly #temporary = Deno.makeTempDirSync({ prefix: "peft_command_" });
  /** What it printed so far. */
  text = "";

  /** @param env further variables of its environment */
  constructor(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const command = ["run", "-A", "--no-check", "--config", `${ROOT}deno.json`, `${ROOT}cli/main.ts`, name];
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [...command, ...args],
      env: { LP_NUM_THREADS: "1", TMPDIR: this.#temporary, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = async (stream: ReadableStream<Uint8Array>) => {
      const decoder = new TextDecoder();
      for await (const piece of stream) this.text += decoder.decode(piece, { stream: true });
    };
    this.#reading = Promise.all([read(this.#child.stdout), read(this.#child.stderr)]);
  }

  /** Ends it, and gives its exit code and signal. */
  async end(signal: Deno.Signal): Promise<Deno.CommandStatus> {
    try {
      this.#child.kill(signal);
    } catch { /* it has ended */ }
    return await this.status();
  }

  /** Waits for its end. */
  async status(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    await this.#reading;
    await Deno.remove(this.#temporary, { recursive: true }).catch(() => {}); // removed before
    return status;
  }
}

/** `./run worker`. */
export class WorkerProcess extends CommandProcess {
  constructor(...args: string[]) {
    super("worker", args);
  }
}

/** `./run sweep`. */
export class SweepProcess extends CommandProcess {
  constructor(...args: string[]) {
    super("sweep", args);
  }
}

/** A trial as sweep.json has it. */
export interface TrialOutcome {
  readonly trial: number;
  readonly choice: Record<string, unknown>;
  readonly state: string;
  readonly step: number;
  readonly metrics: Record<string, number | null>;
  readonly curves: Record<string, [step: number, value: number][]>;
  readonly error: string | null;
  readonly starts: number;
}

/** The trials of a sweep that ended. */
export async function resultsOf(output: string): Promise<TrialOutcome[]> {
  return JSON.parse(await Deno.readTextFile(`${output}/sweep.json`)).trials;
}

/** What must be the same of two sweeps: every trial's numbers, curves and state, and the adapter's bytes. */
export async function outcomeOf(output: string): Promise<unknown> {
  const { best } = JSON.parse(await Deno.readTextFile(`${output}/sweep.json`));
  const trials = (await resultsOf(output)).map(({ trial, choice, state, step, metrics, curves, error }) => ({
    ...{ trial, choice, state, step, metrics, curves, error },
  }));
  const adapter = new Uint8Array(await Deno.readFile(`${output}/adapter_model.safetensors`));
  const config = JSON.parse(await Deno.readTextFile(`${output}/adapter_config.json`));
  return { best, trials, config, adapter: [...adapter] };
}

/** Waits until something is so. */
export async function until(
  what: string,
  test: () => boolean | Promise<boolean>,
  seconds = 120,
): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    if (await test()) return;
    await pause(50);
  }
  throw new Error(`Waited ${seconds} s until ${what}`);
}

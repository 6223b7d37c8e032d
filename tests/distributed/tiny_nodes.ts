/**
 * A training of a tiny model on several machines, by processes of `./run`.
 * @module
 */

import { finetune } from "../../cli/training/finetune.ts";
import { parseFlags } from "../../cli/command.ts";
import { CommandProcess, writeTinySweep } from "./tiny_sweep.ts";

/** Files of a training, and its flags but for where it runs. */
export interface TinyTraining {
  readonly folder: string;
  readonly model: string;
  readonly args: readonly string[];
}

/** Writes model and data. @param steps optimizer steps, with a checkpoint every four */
export async function writeTinyTraining(folder: string, steps: number): Promise<TinyTraining> {
  const { model } = await writeTinySweep(folder, {});
  const args = [
    ...["--model", model, "--data", `${folder}/train.jsonl`, "--max-steps", `${steps}`, "--save-steps", "4"],
    ...["--batch-size", "2", "--block-size", "24", "--dropout", "0.1", "--lr", "1e-2", "--rank", "2"],
  ];
  return { folder, model, args };
}

/** Writes pairs of answers for tasks of preferences. @returns the file */
export async function writePairs(folder: string): Promise<string> {
  const path = `${folder}/pairs.jsonl`;
  const rows = Array.from({ length: 10 }, (_, i) => ({
    prompt: `What is ${i}?`,
    chosen: ` It is ${"one ".repeat(1 + i % 3)}.`,
    rejected: ` No${"!".repeat(1 + i % 4)}`,
  }));
  await Deno.writeTextFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

/** Runs `./run finetune` in this process, quietly. */
export async function runFinetune(...args: string[]): Promise<Record<string, unknown>> {
  const { log } = console;
  console.log = () => {};
  try {
    return await finetune.run(parseFlags(finetune, args)!) as Record<string, unknown>;
  } finally {
    console.log = log;
  }
}

/** `./run finetune`. */
export class FinetuneProcess extends CommandProcess {
  constructor(...args: string[]) {
    super("finetune", args);
  }
}

/** Bytes of an adapter. */
export const adapterOf = (output: string): Promise<Uint8Array> =>
  Deno.readFile(`${output}/adapter_model.safetensors`);

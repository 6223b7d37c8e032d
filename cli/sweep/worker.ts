/**
 * `worker`: takes trials of sweeps, and places in trainings of several machines, from a queue.
 * @module
 */

import { initDevice, VERSION } from "@peft/webgpu";
import { diskStore } from "@peft/webgpu/io";
import { number, text } from "../../options/rules.ts";
import { BROKER_FLAGS } from "../../jobs/broker_flags.ts";
import { openBroker } from "../broker_flags.ts";
import type { Command } from "../command.ts";
import { interruptible } from "../interrupt.ts";
import { fileNames } from "../../jobs/finetune/data.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { findBase } from "./files.ts";
import { workOn } from "../../jobs/sweep/worker_loop.ts";
import { METRICS_FLAGS, serveMetrics, WorkerMetrics } from "./worker_metrics.ts";

const flags = {
  ...BROKER_FLAGS,
  queue: { ...BROKER_FLAGS.queue, required: true },
  "allow-model": {
    rule: text,
    required: true,
    help:
      "Base models that jobs may use, with commas between: folders, .gguf files or hub ids. A job gets the one whose files have the hash that its sweep names",
  },
  sweep: {
    rule: text,
    help: "The one sweep to work for, and no training; default: every one that the queue has",
  },
  work: { rule: text, help: "Folder for files of sweeps; default: a temporary one" },
  "exit-when-idle": {
    rule: number(0, 1e9),
    help: "Seconds without a job after which it ends, for machines that are paid by time",
  },
  ...METRICS_FLAGS,
} as const;

/** A name that no other worker has. */
export function workerName(): string {
  let host = "worker";
  try {
    host = Deno.hostname().replaceAll(/[^A-Za-z0-9_-]/g, "-").slice(0, 40);
  } catch { /* without --allow-sys */ }
  return `${host}-${Deno.pid}-${crypto.randomUUID().slice(0, 4)}`;
}

/** The command. */
export const worker: Command<typeof flags> = {
  name: "worker",
  summary: "Work for sweeps and trainings of other machines, whose jobs a queue has",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-net", "--allow-env"],
  examples: [
    "./run worker --queue nats://10.0.0.1:4222 --allow-model models/SmolLM2-135M-Instruct",
    "./run worker --queue tls://broker.example.org --creds worker.creds --allow-model gpt2 --exit-when-idle 300",
  ],
  async run(values) {
    const names = fileNames(values["allow-model"]);
    if (names.length === 0) {
      throw new UsageError("Cannot run worker: --allow-model must name a model, received none");
    }
    const bases = await Promise.all(names.map((name) => findBase(name)));
    const name = workerName();
    const broker = await openBroker("worker", values, name);
    const metrics = new WorkerMetrics();
    let stopMetrics: (() => Promise<void>) | null = null;
    const work = values.work ?? await Deno.makeTempDir({ prefix: "peft_worker_" });
    try {
      if (values.metrics !== undefined) {
        stopMetrics = serveMetrics(metrics.registry, values.metrics, values["metrics-host"]);
      }
      const { adapterName } = await initDevice(); // without one no trial could run here
      console.log(`worker ${name} on ${adapterName} waits for jobs at ${broker.name}`);
      await interruptible(
        "stopping: what runs here is given back, a trial with its checkpoint; press Ctrl-C again to stop at once",
        (signal) => {
          broker.endWith(signal);
          return workOn(broker, {
            ...{ name, version: VERSION, bases, metrics, patienceMs: Infinity },
            say: (line) => console.log(line),
          }, {
            ...{ sweep: values.sweep ?? null, work: diskStore(work), signal },
            idleSeconds: values["exit-when-idle"] ?? null,
          });
        },
      );
    } finally {
      await stopMetrics?.();
      await broker.close();
      if (values.work === undefined) await Deno.remove(work, { recursive: true }).catch(() => {});
    }
    return { worker: name };
  },
};

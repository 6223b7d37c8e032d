/**
 * `sweep`: trains with many settings, on this machine or by workers on others, and keeps the best.
 * @module
 */

import { join } from "@std/path";
import { checkWritableFolder, VERSION } from "@peft/webgpu";
import { type Broker, LocalBroker } from "@peft/webgpu/distributed";
import { diskStore } from "@peft/webgpu/io";
import { type FolderLock, lockFolder } from "@peft/webgpu/io";
import { flag, integer, number, text } from "../../options/rules.ts";
import { BROKER_FLAGS, TAB_FLAGS } from "../../jobs/broker_flags.ts";
import { openBroker } from "../broker_flags.ts";
import { type Command, UsageError } from "../command.ts";
import { InterruptedError, interruptible } from "../interrupt.ts";
import { checkOutput, modelInputs } from "../output_paths.ts";
import { beginSweep, type BegunSweep, Controller, removeSweep, type TrialStatus } from "./controller.ts";
import type { Base } from "../../jobs/base.ts";
import { joinLink } from "../join_link.ts";
import { findBase } from "./files.ts";
import { SWEEP_FILE, SWEEP_REPORT, writeResults } from "./results.ts";
import { readSweep, type SweepPlan } from "./sweep_file.ts";
import { sweepMetrics } from "./sweep_metrics.ts";
import { LiveTable } from "./live_table.ts";
import { workerName } from "./worker.ts";
import { workOn } from "../../jobs/sweep/worker_loop.ts";
import { METRICS_FLAGS, serveMetrics, WorkerMetrics } from "./worker_metrics.ts";

/** Folder in `--output` of a sweep without a broker: what it goes on from. */
const STATE = "sweep_state";

const flags = {
  file: {
    rule: text,
    required: true,
    help: "The sweep's file, in YAML or JSON: docs/machines.md says what is in it",
  },
  output: { rule: text, required: true, help: "Folder for the best adapter, sweep.json and report.html" },
  ...BROKER_FLAGS,
  queue: {
    ...BROKER_FLAGS.queue,
    help:
      `${BROKER_FLAGS.queue.help}; its workers (./run worker) run the trials; default: this process runs them`,
  },
  ...TAB_FLAGS,
  resume: { rule: flag, help: "Go on with an unfinished sweep of this name and file" },
  discard: { rule: flag, help: "Remove what an unfinished sweep of this name left, and begin anew" },
  "ack-wait": {
    rule: number(1, 3600),
    default: 60,
    help: "Seconds of silence after which a worker's trial is given to another",
  },
  "max-starts": {
    rule: integer(1, 1e6),
    default: 5,
    help: "Workers that a trial may end at the same step before it counts as failed",
  },
  ...METRICS_FLAGS,
} as const;

/** Runs trials in this process until `signal` aborts. */
async function workHere(
  broker: Broker,
  name: string,
  base: Base,
  output: string,
  signal: AbortSignal,
): Promise<void> {
  await workOn(broker, {
    ...{
      name: workerName(),
      version: VERSION,
      bases: [base],
      metrics: new WorkerMetrics(),
      patienceMs: Infinity,
    },
    say: () => {}, // the table tells it
  }, { sweep: name, work: diskStore(join(output, STATE, "work")), idleSeconds: null, signal });
}

/** Runs a sweep that has begun, with a worker beside it where there is no broker. @returns the best trial */
async function runTrials(
  controller: Controller,
  work: ((signal: AbortSignal) => Promise<void>) | null,
  signal: AbortSignal,
): Promise<TrialStatus> {
  if (work === null) return await controller.run();
  const stop = new AbortController();
  const working = work(AbortSignal.any([signal, stop.signal]));
  const failure = working.then(() => new Promise<never>(() => {})); // it ends with the sweep, or fails before
  failure.catch(() => {});
  try {
    return await Promise.race([controller.run(), failure]);
  } finally {
    stop.abort();
    await working.catch(() => {});
  }
}

/** The broker: that of `--queue`, or one in this process, whose folder is kept from other processes. */
async function openPlace(
  values: Parameters<typeof openBroker>[1] & { output: string },
  plan: SweepPlan,
): Promise<{ broker: Broker; lock: FolderLock | null }> {
  if (values.queue !== undefined) {
    return { broker: await openBroker("sweep", values, `sweep ${plan.name}`), lock: null };
  }
  const folder = join(values.output, STATE);
  await Deno.mkdir(folder, { recursive: true });
  return { broker: new LocalBroker(folder), lock: await lockFolder(folder, "run sweep") };
}

/** Writes the results, and removes what the sweep has on the broker. */
async function finish(
  broker: Broker,
  sweep: BegunSweep,
  controller: Controller,
  best: TrialStatus,
  output: string,
) {
  await writeResults(sweep, controller.trials, best, output);
  await sweep.lease.release();
  await removeSweep(broker, sweep.plan.name);
  await Deno.remove(join(output, STATE), { recursive: true }).catch(() => {}); // of a sweep without a broker
}

/** The command. */
export const sweep: Command<typeof flags> = {
  name: "sweep",
  summary: "Train with many settings, here or on several machines, and keep the best",
  flags,
  positional: "file",
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run sweep sweep.yaml --output out/best",
    "./run sweep sweep.yaml --output out/best --queue nats://10.0.0.1:4222",
    "./run sweep sweep.yaml --output out/best --resume",
  ],
  async run(values) {
    const { output, queue } = values;
    if (values.resume && values.discard) {
      throw new UsageError("Cannot run sweep: --resume and --discard exclude each other");
    }
    const plan = await readSweep(values.file);
    await checkOutput("sweep", output, [...modelInputs("--model", plan.model, plan.ggufFile), [
      "--file",
      values.file,
    ]]);
    await checkWritableFolder(output, "run sweep: --output");
    const base = await findBase(plan.model, plan.ggufFile);
    const { broker, lock } = await openPlace(values, plan);
    const table = new LiveTable(plan, Deno.stdout.isTerminal() && !values.json);
    try {
      const begun = await beginSweep(broker, plan, {
        ...{ base, version: VERSION, ackWaitMs: values["ack-wait"] * 1000, holder: workerName() },
        maxStarts: values["max-starts"],
        ...{ resume: values.resume, discard: values.discard },
      });
      if (values.resume && begun.isNew) {
        console.log(`no unfinished sweep "${plan.name}" is here: it starts from the beginning`);
      }
      console.log(
        `sweep "${plan.name}": ${plan.trials.length} trials${
          queue === undefined ? "" : ` for workers at ${broker.name}`
        }`,
      );
      if (queue !== undefined) {
        console.log(
          `workers: ./run worker --queue … --allow-model ${JSON.stringify(plan.model)}, on any machine`,
        );
        const link = joinLink(values, plan.name, base);
        if (link !== null) console.log(`or a browser's tab: ${link}`);
      }
      let stopMetrics: (() => Promise<void>) | null = null;
      try {
        return await interruptible(
          queue === undefined
            ? "stopping after this step, to save a checkpoint; press Ctrl-C again to stop at once"
            : "stopping; workers finish the jobs that are queued",
          async (signal) => {
            broker.endWith(signal);
            const controller = new Controller(begun, table, signal);
            if (values.metrics !== undefined) {
              stopMetrics = serveMetrics(
                sweepMetrics(plan.name, controller.trials),
                values.metrics,
                values["metrics-host"],
              );
            }
            const work = queue === undefined
              ? (signal: AbortSignal) => workHere(broker, plan.name, base, output, signal)
              : null;
            const release = table.capture();
            const best = await runTrials(controller, work, signal).catch((error) => {
              if (!signal.aborted) throw error;
              console.log("give the same command with --resume to go on");
              throw new InterruptedError({ interrupted: true, name: plan.name });
            }).finally(release);
            await finish(broker, begun, controller, best, output);
            table.end(controller.trials);
            console.log(
              `best: trial ${best.trial.id}, ${
                JSON.stringify(best.trial.choice)
              }, ${plan.metric.name} ${best.measure}`,
            );
            console.log(`written to ${output}: the adapter, ${SWEEP_FILE}, ${SWEEP_REPORT}`);
            const { trial, measure } = best;
            return {
              output,
              name: plan.name,
              trials: plan.trials.length,
              best: trial.id,
              choice: trial.choice,
              measure,
            };
          },
        );
      } catch (error) {
        await begun.lease.release().catch(() => {});
        throw error;
      } finally {
        await (stopMetrics as (() => Promise<void>) | null)?.();
      }
    } finally {
      await broker.close();
      await lock?.release();
    }
  },
};

/**
 * What sweeps and their workers count, in Prometheus' text format.
 * @module
 */

import { Counter, Gauge, Registry } from "prom-client";
import { integer, text } from "../../options/rules.ts";
import type { JobCounts } from "../../jobs/sweep/trial.ts";
import { UsageError } from "../../jobs/usage_error.ts";

/** Flags of commands that count. */
export const METRICS_FLAGS = {
  metrics: {
    rule: integer(0, 65535),
    help: "Port on which Prometheus finds /metrics; 0 for any that is free",
  },
  "metrics-host": {
    rule: text,
    default: "127.0.0.1",
    needs: "metrics",
    help: "Address of that port; 0.0.0.0 for every network",
  },
} as const;

/** Serves a registry at `/metrics`; what it returns ends that. @throws {UsageError} for a port that is taken */
export function serveMetrics(registry: Registry, port: number, hostname: string): () => Promise<void> {
  const answer = async (request: Request) => {
    if (new URL(request.url).pathname !== "/metrics") return new Response("see /metrics\n", { status: 404 });
    return new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } });
  };
  try {
    const server = Deno.serve({
      ...{ port, hostname },
      onListen: ({ hostname, port }) => console.log(`metrics on http://${hostname}:${port}/metrics`),
    }, answer);
    return () => server.shutdown();
  } catch (error) {
    throw new UsageError(`Cannot serve metrics on port ${port}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Counters of a worker. */
export class WorkerMetrics implements JobCounts {
  readonly registry = new Registry();
  readonly #trials = this.#counter("peft_worker_trials_total", "Jobs that ended here, by how", ["outcome"]);
  readonly #steps = this.#counter("peft_worker_steps_total", "Optimizer steps");
  readonly #checkpoints = this.#counter("peft_worker_checkpoints_total", "Checkpoints that the broker keeps");
  readonly #errors = this.#counter("peft_worker_broker_errors_total", "Failures of the broker, by kind", [
    "failure",
  ]);
  readonly #busy = new Gauge({
    name: "peft_worker_busy",
    help: "1 while a trial runs",
    registers: [this.registry],
  });

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  /** A job began. */
  begin(): void {
    this.#busy.set(1);
  }

  /** It ended. */
  end(outcome: "done" | "given back" | "error"): void {
    this.#busy.set(0);
    this.#trials.inc({ outcome });
  }

  /** An optimizer step was done. */
  step(): void {
    this.#steps.inc();
  }

  /** A checkpoint was kept. */
  checkpoint(): void {
    this.#checkpoints.inc();
  }

  /** The broker failed. */
  brokerError(failure: string): void {
    this.#errors.inc({ failure });
  }
}

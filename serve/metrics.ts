/**
 * What a server counts, in Prometheus' text format.
 * @module
 */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Engine } from "./engine.ts";

/** Bounds of the histograms, in seconds. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** Counters of one server. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests = new Counter({
    ...{ name: "peft_requests_total", help: "Requests that were answered, by route and HTTP status" },
    ...{ labelNames: ["route", "status"] as const, registers: [this.#registry] },
  });
  readonly #answers = new Counter({
    ...{ name: "peft_answers_total", help: "Answers that ended, by model or adapter and reason" },
    ...{ labelNames: ["model", "reason"] as const, registers: [this.#registry] },
  });
  readonly #promptTokens = this.#tokens("peft_prompt_tokens_total", "Tokens of prompts");
  readonly #newTokens = this.#tokens("peft_generation_tokens_total", "Tokens that were generated");
  readonly #firstToken = this.#seconds(
    "peft_time_to_first_token_seconds",
    "From a request to its first token",
  );
  readonly #whole = this.#seconds("peft_request_duration_seconds", "From a request to the end of its answer");

  /** Gauges ask the engine when they are read. */
  constructor(engine: Engine) {
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers: [this.#registry],
        collect: function () {
          this.set(read());
        },
      });
    gauge("peft_answers_running", "Answers that are being generated", () => engine.running);
    gauge("peft_answers_waiting", "Answers that wait for a row", () => engine.waiting);
    gauge("peft_adapters", "Adapters that are loaded", () => engine.adapters.all.length);
    gauge("peft_device_bytes", "Bytes in use on the device", () => engine.deviceBytes);
  }

  #tokens(name: string, help: string) {
    return new Counter({ name, help, labelNames: ["model"] as const, registers: [this.#registry] });
  }

  #seconds(name: string, help: string) {
    return new Histogram({ name, help, buckets: SECONDS, registers: [this.#registry] });
  }

  /** Counts a request. */
  request(route: string, status: number): void {
    this.#requests.inc({ route, status });
  }

  /** Follows one answer; call `token` for each piece with tokens, and `end` once. */
  answer(model: string, promptTokens: number): { token(count: number): void; end(reason: string): void } {
    const begin = performance.now();
    let isFirst = true;
    this.#promptTokens.inc({ model }, promptTokens);
    return {
      token: (count) => {
        if (isFirst) this.#firstToken.observe((performance.now() - begin) / 1000);
        isFirst = false;
        this.#newTokens.inc({ model }, count);
      },
      end: (reason) => {
        this.#whole.observe((performance.now() - begin) / 1000);
        this.#answers.inc({ model, reason });
      },
    };
  }

  /** The type of `text()`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything, in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/**
 * The training step: time, dispatches, JavaScript time, bytes, for the small GPT that peers are measured on and, with
 * `--large`, for GPT-2 small with LoRA. Losses are compared with a second run before any time is printed.
 * Run: deno run -A bench/step_bench.ts [--large] [--profile]
 * @module
 */

import { tidy } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { encodeInPasses } from "../gpu/command_stream.ts";
import { GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import type { Module } from "../nn/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { AdamW } from "../train/adamw.ts";
import { median } from "./harness.ts";

/** A model under the clock. */
interface Case {
  readonly name: string;
  readonly config: Partial<ConstructorParameters<typeof GPT2Config>[0]>;
  readonly batch: number;
  readonly length: number;
  readonly lora: boolean;
  readonly steps: number;
}

/** The GPT that jax-js, tfjs and torchlette were timed on (shared/reference/peers.md). */
const SMALL = {
  nLayer: 2,
  nEmbd: 128,
  nHead: 4,
  vocabSize: 512,
  nPositions: 64,
  bosTokenId: 0,
  eosTokenId: 0,
};
const NO_DROPOUT = { residPdrop: 0, embdPdrop: 0, attnPdrop: 0 };

const CASES: readonly Case[] = [
  { name: "small GPT, all weights, 4 x 64", config: SMALL, batch: 4, length: 64, lora: false, steps: 24 },
  { name: "small GPT, LoRA r=8 c_attn, 4 x 64", config: SMALL, batch: 4, length: 64, lora: true, steps: 24 },
];
const LARGE: readonly Case[] = [
  { name: "GPT-2 small, LoRA r=8 c_attn, 1 x 64", config: {}, batch: 1, length: 64, lora: true, steps: 4 },
];

/** One optimizer step; returns the loss. */
function makeStep(
  model: Module & { forward: GPT2LMHeadModel["forward"] },
  ids: number[][],
): () => Promise<number> {
  const optimizer = new AdamW([...model.parameters()].filter((p) => p.requiresGrad), { lr: 1e-3 });
  return async () => {
    const loss = tidy(() => {
      const output = model.forward({ inputIds: ids, labels: ids });
      output.loss!.backward();
      return output.loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    const value = await loss.item();
    loss.dispose();
    return value;
  };
}

function build(device: Device, test: Case): { model: Module; step: () => Promise<number> } {
  const base = new GPT2LMHeadModel(new GPT2Config({ ...test.config, ...NO_DROPOUT }), { device, seed: 1 });
  const { vocabSize } = base.config;
  const ids = Array.from(
    { length: test.batch },
    (_, b) => Array.from({ length: test.length }, (_, t) => (b * 7919 + t * t * 31 + t) % vocabSize),
  );
  const model = test.lora
    ? getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, targetModules: ["c_attn"] }))
    : base.train();
  return { model, step: makeStep(model, ids) };
}

/** Runs a case twice for its losses, then prints its figures. */
async function measure(device: Device, test: Case): Promise<void> {
  const runs: number[][] = [];
  for (let run = 0; run < 2; run++) {
    const { model, step } = build(device, test);
    const losses: number[] = [];
    const start = performance.now();
    losses.push(await step());
    const first = performance.now() - start;
    device.resetPeakMemory();
    const times: number[] = [];
    const recording: number[] = [];
    const encoding: number[] = [];
    const { stream } = device;
    let before = device.stats;
    for (let i = 1; i < test.steps; i++) {
      before = device.stats;
      const at = performance.now();
      let encodeMs = 0;
      stream.encode = (encoder, commands) => {
        const from = performance.now();
        encodeInPasses(encoder, commands);
        encodeMs += performance.now() - from;
      };
      const pending = step();
      recording.push(performance.now() - at);
      losses.push(await pending);
      times.push(performance.now() - at);
      encoding.push(encodeMs);
    }
    const after = device.stats;
    runs.push(losses);
    if (run === 1) {
      if (runs[0].some((loss, i) => loss !== runs[1][i])) {
        throw new Error(`${test.name}: two runs differ in their losses`);
      }
      const dispatches = after.dispatches - before.dispatches;
      console.log(`${test.name}`);
      console.log(
        `  step ${median(times).toFixed(1)} ms (first ${first.toFixed(0)} ms), ${dispatches} dispatches, ${
          after.submissions - before.submissions
        } submissions, ${after.bindGroupMisses - before.bindGroupMisses} new bind groups`,
      );
      console.log(
        `  peak ${(device.memory.peakBytes / 1e6).toFixed(1)} MB, live ${
          (device.memory.liveBytes / 1e6).toFixed(1)
        } MB; loss ${losses[0].toFixed(4)} -> ${losses.at(-1)!.toFixed(4)}, equal in two runs`,
      );
      const perDispatch = (ms: number) => `${(1000 * ms / dispatches).toFixed(1)} us`;
      console.log(
        `  JavaScript per dispatch: ${perDispatch(median(recording))} to record, ${
          perDispatch(median(encoding))
        } to encode`,
      );
    }
    model.dispose();
    device.trim();
  }
}

if (import.meta.main) {
  const device = await initDevice();
  console.log(`adapter: ${device.adapterName}`);
  for (const test of Deno.args.includes("--large") ? LARGE : CASES) await measure(device, test);
}

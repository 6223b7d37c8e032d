/**
 * Greedy generation: tokens a second after the prompt. Each chosen token must have the largest logit of a forward over
 * the whole text, within float32 error, before a figure is printed.
 * Run: deno run -A bench/generation_bench.ts
 * @module
 */
import { noGrad } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import type { CausalLM } from "../model/mod.ts";
import { buildModel, SMALL, type StepCase, tokenRows } from "./gpt_cases.ts";
import { median, printTable, type Row } from "./harness.ts";

/** A model, its prompt and how many tokens follow. */
export interface GenerationCase {
  readonly name: string;
  readonly config: StepCase["config"];
  readonly prompt: number;
  readonly tokens: number;
}

const CASES: readonly GenerationCase[] = [
  { name: "small GPT", config: SMALL, prompt: 8, tokens: 48 },
  { name: "GPT-2 small, random weights", config: {}, prompt: 8, tokens: 24 },
];

/** @throws {Error} if a generated token is not the one of the largest logit */
async function checkGreedy(model: CausalLM, row: readonly number[], prompt: number): Promise<void> {
  const { logits } = noGrad(() => model.forward({ inputIds: [[...row]] }));
  const data = await logits.data() as Float32Array;
  logits.dispose();
  const { vocabSize } = model.facts;
  for (let t = prompt; t < row.length; t++) {
    const scores = data.subarray((t - 1) * vocabSize, t * vocabSize);
    const highest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!(scores[row[t]] >= highest - 1e-4)) { // nearly equal logits may swap places
      throw new Error(
        `Cannot time generation: token ${t} has logit ${scores[row[t]]}, the largest is ${highest}`,
      );
    }
  }
}

/** Median time of `tokens` greedy tokens after a prompt, and of the prompt with its first token. */
export async function benchGeneration(device: Device, test: GenerationCase): Promise<Row> {
  const { base } = buildModel(device, { config: test.config, lora: false });
  const prompt = tokenRows(1, test.prompt, base.facts.vocabSize);
  const generate = (maxNewTokens: number) => base.generate(prompt, { maxNewTokens, eosTokenId: null });
  const [row] = await generate(test.tokens);
  await checkGreedy(base, row, test.prompt);
  const all: number[] = [];
  const first: number[] = [];
  for (let round = 0; round < 5; round++) {
    let start = performance.now();
    await generate(1);
    first.push(performance.now() - start);
    start = performance.now();
    await generate(test.tokens);
    all.push(performance.now() - start);
  }
  base.dispose();
  device.trim();
  const ms = (median(all) - median(first)) / (test.tokens - 1);
  return {
    model: test.name,
    prompt: test.prompt,
    tokens: test.tokens,
    "ms to first token": median(first),
    "ms a token": ms,
    "tokens/s": 1000 / ms,
  };
}

/** Both models. */
export async function benchGenerations(device: Device): Promise<Row[]> {
  const rows: Row[] = [];
  for (const test of CASES) rows.push(await benchGeneration(device, test));
  return rows;
}

if (import.meta.main) {
  const device = await initDevice();
  printTable(`Greedy generation on ${device.adapterName}`, await benchGenerations(device));
}

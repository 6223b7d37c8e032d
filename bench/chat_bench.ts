/**
 * How long a conversation with SmolLM2 waits for the first words of each answer: with the cache that `./run chat` keeps,
 * and with every prompt computed anew. Both must give the same answers.
 * Run: deno run -A bench/chat_bench.ts MODEL.gguf [float32|float16]
 * @module
 */

import { AutoModelForCausalLM, AutoTokenizer, type CausalLM, type WeightDType } from "../model/mod.ts";
import { KVCache } from "../model/mod.ts";
import { Conversation } from "../cli/chat/conversation.ts";
import { endTokens } from "../cli/loading.ts";
import { median } from "./harness.ts";

const QUESTIONS = [
  "What is the capital of France?",
  "Tell me three things that one can see there.",
  "Which of them is the oldest?",
  "And what about Italy, what is its capital?",
  "What should I eat there on a warm evening?",
];
const ROUNDS = 3;

const [path, dtype = "float32"] = Deno.args;
if (path === undefined) throw new Error("Cannot run the bench: the path of SmolLM2's GGUF file is required");
const tokenizer = await AutoTokenizer.fromPretrained(path);
const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(path, { dtype: dtype as WeightDType });
const { signal } = new AbortController();

/** Milliseconds to the first text of each answer, and the answers. */
async function converse(pastKeyValues: KVCache | undefined): Promise<{ waits: number[]; answers: string[] }> {
  const conversation = new Conversation(tokenizer, {
    system: undefined,
    maxNewTokens: 48,
    maxPositions: model.facts.maxPositions,
    generate: { eosTokenId: endTokens(model, tokenizer), pastKeyValues },
  });
  const waits: number[] = [];
  const answers: string[] = [];
  for (const question of QUESTIONS) {
    const start = performance.now();
    let answer = "";
    await conversation.answer(
      model,
      question,
      (text) => {
        if (answer === "") waits.push(performance.now() - start);
        answer += text;
      },
      console.error,
      signal,
    );
    answers.push(answer);
  }
  return { waits, answers };
}

const runs: Record<"anew" | "kept", number[][]> = { anew: [], kept: [] };
let expected: string[] | null = null;
for (let round = 0; round <= ROUNDS; round++) { // the first warms up
  for (const way of ["anew", "kept"] as const) {
    const cache = way === "kept" ? new KVCache(model, model.device, 1, 0) : undefined;
    const { waits, answers } = await converse(cache);
    cache?.dispose();
    expected ??= answers;
    if (answers.join() !== expected.join()) throw new Error(`the answers differ: ${way}, round ${round}`);
    if (round > 0) runs[way].push(waits);
  }
}
console.log(
  `${model.device.adapterName}, ${dtype}: ms to the first words of each answer, median of ${ROUNDS}`,
);
for (const [way, rounds] of Object.entries(runs)) {
  const row = QUESTIONS.map((_, turn) => median(rounds.map((waits) => waits[turn])).toFixed(0));
  console.log(`${way}: ${row.join(" ")}`);
}
Deno.exit(0);

/** Rows, a tokenizer and a model of tests of preference trainers. */
import type { GPT2LMHeadModel } from "../../../model/mod.ts";
import { getPeftModel, LoraConfig, type PeftModel } from "../../../peft/mod.ts";
import type { PreferenceTokenizer, TrainableModel } from "../../../train/mod.ts";
import { randomValues } from "../../reference/matmul.ts";
import { tinyModel, VOCABULARY } from "../tiny_run.ts";

export const PAIRS = [
  { promptIds: [1, 2, 3], chosenIds: [4, 5], rejectedIds: [6] },
  { promptIds: [7], chosenIds: [8], rejectedIds: [9, 10, 11, 12] },
  { promptIds: [2, 9, 4, 4], chosenIds: [1, 1, 2], rejectedIds: [3] },
];
export const ANSWERS = PAIRS.map(({ promptIds, chosenIds }, i) => ({
  ...{ promptIds, completionIds: chosenIds, label: i !== 1 },
}));

export const QUIET = { reportTo: "none", loggingSteps: 1, maxSteps: 2, learningRate: 1e-2 } as const;

export async function lora(
  options: Partial<LoraConfig> = {},
  dropout = 0,
): Promise<PeftModel<GPT2LMHeadModel>> {
  const config = new LoraConfig({ r: 2, targetModules: ["c_attn"], ...options });
  return getPeftModel(await tinyModel(dropout), config);
}

/** Token ids from a random list: those of [at, at + length). */
export function drawnIds(seed: number, size: number): (at: number, length: number) => number[] {
  const draws = randomValues(seed, size).map((v) => Math.floor((v + 1) / 2 * (VOCABULARY - 1)));
  return (at, length) => [...draws.subarray(at, at + length)];
}

/** Gives LoRA weights as of a run that has begun: B of a new adapter is zero. */
export function beginLora(model: Pick<TrainableModel, "namedParameters">, seed = 0): void {
  for (const [name, parameter] of model.namedParameters()) {
    if (!name.includes("lora_")) continue;
    parameter.write(randomValues(seed + name.length, parameter.size).map((v) => 0.1 * v));
  }
}

/** A character is a token; conversations are written as `u:…a:…`. */
export const TOKENIZER: PreferenceTokenizer = {
  ...{ eosTokenId: 0, padTokenId: 0 },
  encode: (text) => Array.from(text, (char) => 1 + char.charCodeAt(0) % (VOCABULARY - 1)),
  applyChatTemplate: (messages, { addGenerationPrompt }) =>
    TOKENIZER.encode(
      messages.map(({ role, content }: { role: string; content?: unknown }) => `${role[0]}:${content}`)
        .join("") + (addGenerationPrompt ? "a:" : ""),
    ),
};

export const PAD = Array.from({ length: 15 }, (_, i) => i);

/**
 * What tests of supervised fine-tuning share: a tokenizer with a chat template, trainers that are not run, and what they
 * make of rows.
 * @module
 */
import { AutoTokenizer, type Tokenizer } from "../../../model/mod.ts";
import {
  type Example,
  type SFTConfig,
  type SFTData,
  type SFTDataset,
  SFTTrainer,
} from "../../../train/mod.ts";
import { TEMPLATE } from "../../cli/chat_model.ts";
import { tinyModel } from "../tiny_run.ts";

export type Settings = Partial<SFTConfig>;

const DEMO = new URL("../../../examples/demo/model", import.meta.url).pathname;
export const MARKED = TEMPLATE.replace(
  "{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}",
  (text) =>
    `{% if m['role'] == 'assistant' %}{{ 'assistant:' }}{% generation %}{{ ' ' + m['content'] + '<|endoftext|>' }}{% endgeneration %}` +
    `{% else %}${text}{% endif %}`,
);
export const model = await tinyModel();

export async function chatTokenizer(template: string | null = TEMPLATE): Promise<Tokenizer> {
  const tokenizer = await AutoTokenizer.fromPretrained(DEMO);
  tokenizer.chatTemplate = template;
  return tokenizer;
}

/** A model that has more positions than the tiny one; it is never run. */
export const longModel = Object.create(model, { facts: { value: { maxPositions: 128 } } });

export function trainerOf(
  trainDataset: SFTData,
  processingClass: Tokenizer,
  args: Settings = {},
  more: object = {},
) {
  return new SFTTrainer({
    ...{ model: longModel, trainDataset, processingClass, args: { reportTo: "none", ...args } },
    ...more,
  });
}

export async function examplesOf(dataset: SFTDataset): Promise<Example[]> {
  await dataset.prepare();
  const examples: Example[] = [];
  for (let i = 0; i < dataset.length; i++) examples.push((await dataset.at(i))!);
  return examples;
}

export const examples = async (rows: SFTData, tokenizer: Tokenizer, args: Settings = {}, more: object = {}) =>
  await examplesOf(trainerOf(rows, tokenizer, args, more).trainDataset);

/** What is learned, runs of it with a bar between. */
export function learned(tokenizer: Tokenizer, { inputIds, labels }: Example): string {
  return labels!.reduce<number[][]>((runs, label, i) => {
    if (label === -100) return runs;
    if (i === 0 || labels![i - 1] === -100) runs.push([]);
    runs.at(-1)!.push(inputIds[i]);
    return runs;
  }, []).map((ids) => tokenizer.decode(ids)).join("|");
}

export const CHAT = [
  { role: "user", content: "who are you?" },
  { role: "assistant", content: "a pirate" },
  { role: "user", content: "where?" },
  { role: "assistant", content: "on the ship" },
];

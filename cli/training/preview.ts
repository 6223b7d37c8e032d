/**
 * One training example as the model sees it: what is read, and what is learned.
 * @module
 */

import type { Tokenizer } from "@peft/webgpu";
import { type Example, piecesOf, readPairs, readUnpaired } from "@peft/webgpu/train";
import { counted } from "../../jobs/counted.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { type LearningValues, readRows, type RowValues, sftExamples } from "../../jobs/finetune/data.ts";

const GREEN = "\x1b[32m";
const RED = "\x1b[31m";
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";

/**
 * The example's text; what is learned is green and the rest dim, or without colours in brackets ⟦ ⟧.
 * @param colours whether escape sequences may be used
 */
export function previewExample(
  tokenizer: Tokenizer,
  example: Example,
  colours: boolean,
): string {
  const { inputIds, labels = inputIds } = example;
  const parts = piecesOf(example, (ids) => tokenizer.decode(ids)).map(({ text, learned }) => {
    if (colours) return `${learned ? GREEN : DIM}${text}${PLAIN}`;
    return learned ? `⟦${text}⟧` : text;
  });
  const count = labels.filter((label) => label !== -100).length;
  return `${parts.join("")}\n\n${inputIds.length} tokens, of which ${count} are learned (${
    colours ? "green" : "in ⟦ ⟧"
  })`;
}

/** An answer to a prompt, and whether the model shall learn to give it. */
interface Judged {
  readonly example: Example;
  readonly isWanted: boolean;
}

/**
 * A prompt and its answers: the wanted one green and the other red, or without colours in ⟦ ⟧, each after its name.
 * @param names of a wanted and an unwanted answer
 */
export function previewAnswers(
  tokenizer: Tokenizer,
  answers: readonly Judged[],
  names: readonly [wanted: string, unwanted: string],
  colours: boolean,
): string {
  const textOf = ({ inputIds, labels = inputIds }: Example, isAnswer: boolean) =>
    tokenizer.decode(inputIds.filter((_, i) => (labels[i] !== -100) === isAnswer));
  const prompt = textOf(answers[0].example, false);
  const lines = answers.map(({ example, isWanted }) => {
    const text = textOf(example, true);
    const shown = colours ? `${isWanted ? GREEN : RED}${text}${PLAIN}` : `⟦${text}⟧`;
    return `${names[isWanted ? 0 : 1]}: ${shown} (${example.inputIds.length} tokens with the prompt)`;
  });
  return [colours ? `${DIM}${prompt}${PLAIN}` : prompt, "", ...lines].join("\n");
}

/** The answers of a row of a task of preferences; none where the prompt leaves no room for them. */
function answersOf(task: string, row: unknown, tokenizer: Tokenizer, maxLength: number): Judged[] {
  if (task === "kto") {
    return readUnpaired(tokenizer, maxLength)(row).filter((example) => !!example)
      .map((example) => ({ example, isWanted: example.isWanted }));
  }
  return readPairs(tokenizer, { maxLength })(row).filter((example) => !!example).flatMap((example) => [
    { example, isWanted: true },
    { example: example.rejected, isWanted: false },
  ]);
}

/** Shows the first example of the data, as the task of `finetune` reads it. */
export async function preview(
  values: RowValues & LearningValues & {
    readonly task: string;
    readonly seed: number;
    readonly "block-size": number;
  },
  tokenizer: Tokenizer,
  colours: boolean,
): Promise<void> {
  const { task, data, seed, "block-size": maxLength } = values;
  const rows = await readRows(data, values, seed);
  if (task === "sft") {
    const examples = await sftExamples(rows, tokenizer, values, maxLength);
    console.log(previewExample(tokenizer, (await examples.at(0))!, colours));
    console.log(`${counted(examples.length, "example")} in ${data}`);
  } else {
    const row = await rows.at(0);
    let answers: Judged[];
    try {
      answers = answersOf(task, row, tokenizer, maxLength);
    } catch (cause) {
      const { message } = cause as Error;
      throw new UsageError(`Cannot preview "${data}" as rows of --task ${task}: ${message}`, { cause });
    }
    const names = task === "kto" ? ["wanted", "not wanted"] as const : ["chosen", "rejected"] as const;
    console.log(
      answers.length > 0
        ? previewAnswers(tokenizer, answers, names, colours)
        : `the first row is left out: its prompt fills the ${maxLength} tokens of --block-size`,
    );
    console.log(`${counted(rows.length, "row")} in ${data}`);
  }
  await rows.close();
}

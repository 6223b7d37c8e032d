/**
 * The part of a model card (README.md) that says how the model was trained.
 * @module
 */

import { VERSION } from "../../autograd/mod.ts";
import { type FolderOutput, openTarget } from "../../io/folder_target.ts";
import { joinCard, setKey, splitCard } from "../../io/model_card.ts";

/**
 * What the card says of a training.
 *
 * @example
 * ```ts
 * import { memoryFolder } from "@peft/webgpu";
 * import { type TrainingFacts, writeTrainingCard } from "@peft/webgpu/train";
 *
 * const facts: TrainingFacts = {
 *   data: "120 stories in `pirate.jsonl`",
 *   summary: "An adapter that speaks as a pirate.",
 *   rows: [["steps", 300], ["held-out loss", "2.87 -> 2.12"]],
 * };
 * const adapter = memoryFolder();
 * await writeTrainingCard(adapter, facts);
 * console.log(new TextDecoder().decode(adapter.files.get("README.md") as Uint8Array));
 * ```
 */
export interface TrainingFacts {
  /** The data: names of files or datasets, with what a reader needs to know of them. */
  readonly data: string;
  /** Rows of a table: what each figure is called, and the figure. */
  readonly rows: readonly (readonly [name: string, value: string | number])[];
  /** What a new card begins with, where the folder has none. */
  readonly summary?: string;
}

const BEGIN = "<!-- training, by @peft/webgpu: the next training writes this part anew -->";
const END = "<!-- end of training -->";

/** A cell of a Markdown table. */
const cell = (value: string | number) => String(value).replaceAll("|", "\\|").replaceAll(/\s+/g, " ");

/** The text of a card with the training's part: a new card, or `existing` with that part put in or replaced. */
export function trainingCard(facts: TrainingFacts, existing?: string): string {
  const { yaml, body } = splitCard(existing ?? `${facts.summary ?? "A model trained with @peft/webgpu."}\n`);
  const rows = [["data", facts.data], ...facts.rows, ["version", `@peft/webgpu ${VERSION}`]] as const;
  const part = [
    BEGIN,
    "## Training",
    "",
    "| what | value |",
    "| --- | --- |",
    ...rows.map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`),
    "",
    END,
  ].join("\n");
  const [from, to] = [body.indexOf(BEGIN), body.indexOf(END)];
  const framework = body.indexOf("### Framework versions");
  const text = from >= 0 && to > from
    ? body.slice(0, from) + part + body.slice(to + END.length)
    : framework >= 0
    ? `${body.slice(0, framework)}${part}\n\n${body.slice(framework)}`
    : `${body.trimEnd()}\n\n${part}\n`;
  return joinCard({ yaml: setKey(yaml, "pipeline_tag", "text-generation"), body: text });
}

/**
 * Puts the training's part into the README.md of a folder; what else is there stays.
 *
 * @example
 * ```ts
 * import { writeTrainingCard } from "@peft/webgpu/train";
 * import { memoryFolder } from "@peft/webgpu";
 *
 * const folder = memoryFolder();
 * await writeTrainingCard(folder, { data: "pirate.jsonl", rows: [["held-out loss", 0.25]] });
 * console.log([...folder.files.keys()]); // [ "README.md" ]
 * ```
 */
export async function writeTrainingCard(folder: FolderOutput, facts: TrainingFacts): Promise<void> {
  const target = openTarget(folder, "write the model card");
  await target.write("README.md", trainingCard(facts, await target.readText("README.md")));
}

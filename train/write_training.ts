/**
 * What a training leaves in a folder: the model, the tokenizer and the settings.
 * @module
 */

import { type FolderOutput, openTarget, writeJsonTo } from "../io/folder_target.ts";
import type { TrainableModel } from "./trainable_model.ts";
import type { TrainerTokenizer } from "./trainer_options.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** Writes them. @throws {TypeError} for a model that cannot be saved */
export async function writeTraining(
  model: TrainableModel,
  tokenizer: TrainerTokenizer | undefined,
  args: TrainingArguments,
  folder: FolderOutput,
): Promise<void> {
  if (!model.savePretrained) {
    throw new TypeError("Cannot save the model: it must have savePretrained(folder)");
  }
  await model.savePretrained(folder);
  await tokenizer?.savePretrained?.(folder);
  await writeJsonTo(openTarget(folder, "save the model"), "training_args.json", args.toJSON());
}

/**
 * Pushing what a training made to the hub.
 * @module
 */

import { type FolderOutput, openTarget } from "../io/folder_target.ts";
import type { CommitInfo, PushToHubOptions } from "../io/hub_push.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** The repository that the settings name: `hubModelId`, or the last part of `outputDir`. */
function repositoryOf({ hubModelId, outputDir }: TrainingArguments): string {
  if (hubModelId !== null) return hubModelId;
  if (typeof outputDir === "string") return outputDir.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;
  throw new TypeError("Cannot push to the hub: hubModelId is required without an outputDir, received none");
}

/**
 * Pushes what `write` writes. The card of `outputDir`, which may say more than the model's own, is the one that counts.
 * @throws {HubError} as `pushToHub` of a model
 */
export async function pushTraining(
  args: TrainingArguments,
  options: PushToHubOptions,
  write: (folder: FolderOutput) => Promise<void>,
): Promise<CommitInfo> {
  const { pushToHub } = await import("../io/hub_push.ts");
  const settings: PushToHubOptions = {
    commitMessage: "End of training",
    ...args.hubToken !== null && { token: args.hubToken },
    ...args.hubPrivateRepo !== null && { private: args.hubPrivateRepo },
    ...args.hubRevision !== null && { revision: args.hubRevision },
  };
  const save = async (folder: FolderOutput) => {
    await write(folder);
    if (args.outputDir === null) return;
    const card = await openTarget(args.outputDir, "push to the hub").readText("README.md");
    if (card !== undefined) await openTarget(folder, "push to the hub").write("README.md", card);
  };
  return await pushToHub(repositoryOf(args), { ...settings, ...options }, { kind: "model", save });
}

/**
 * The checkpoints in a folder, and which of them is the newest.
 * @module
 */

import { joinPath, listDirectory } from "../io/files.ts";
import { readJsonObject } from "../io/json.ts";
import { verifyFolder } from "../io/staged_folder.ts";

const NAME = /^checkpoint-(\d+)$/;

/** Where the checkpoint of a step is. */
export function checkpointPath(outputDir: string, step: number): Promise<string> {
  return joinPath(outputDir, `checkpoint-${step}`);
}

/** A checkpoint in a folder. */
export interface Found {
  readonly step: number;
  /** Which call of `train()` wrote it; 0 for those of earlier versions, null without a manifest. */
  readonly session: number | null;
}

/** The checkpoints in a folder, the newest first: by the call of `train()` that wrote them, then by step. */
export async function listCheckpoints(outputDir: string): Promise<Found[]> {
  const steps = (await listDirectory(outputDir)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  const found = await Promise.all(steps.map(async (step): Promise<Found> => {
    const manifest = await joinPath(await checkpointPath(outputDir, step), "manifest.json");
    const about = await readJsonObject(manifest).catch(() => null);
    return { step, session: about && (typeof about.session === "number" ? about.session : 0) };
  }));
  const rank = ({ session }: Found) => session ?? Number.MAX_SAFE_INTEGER; // found damaged, it is told of
  return found.sort((a, b) => rank(b) - rank(a) || b.step - a.step);
}

/**
 * The newest checkpoint of a folder whose files are as its manifest says: of those that the latest call of `train()`
 * wrote the one of the highest step, whatever an earlier run left in the folder. Damaged ones are passed over with a
 * warning.
 * @returns its path, or null where there is none
 */
export async function getLastCheckpoint(outputDir: string): Promise<string | null> {
  for (const { step } of await listCheckpoints(outputDir)) {
    const path = await checkpointPath(outputDir, step);
    try {
      await verifyFolder(path);
      return path;
    } catch (error) {
      console.warn(`${(error as Error).message}; trying the checkpoint before it`);
    }
  }
  return null;
}

/** The same. @throws {Error} where there is none */
export async function findCheckpoint(outputDir: string): Promise<string> {
  const path = await getLastCheckpoint(outputDir);
  if (path !== null) return path;
  throw new Error(
    `Cannot resume from "${outputDir}": at least one whole checkpoint is required, received none`,
  );
}

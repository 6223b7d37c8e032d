/**
 * The checkpoints in a folder on disk, and how they are ordered.
 * @module
 */

import { joinPath, listDirectory } from "../io/files.ts";
import { readJsonObject } from "../io/json.ts";

const NAME = /^checkpoint-(\d+)$/;

/** The step of a checkpoint by its folder's name; null for a folder that is none. */
export function stepOfName(name: string): number | null {
  const step = NAME.exec(name)?.[1];
  return step === undefined ? null : Number(step);
}

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

/** Sorts checkpoints, the newest first: by the call of `train()` that wrote them, then by step. */
export function newestFirst(found: Found[]): Found[] {
  const rank = ({ session }: Found) => session ?? Number.MAX_SAFE_INTEGER; // found damaged, it is told of
  return found.sort((a, b) => rank(b) - rank(a) || b.step - a.step);
}

/** The checkpoints in a folder, the newest first. */
export async function listCheckpoints(outputDir: string): Promise<Found[]> {
  const steps = (await listDirectory(outputDir)).map(stepOfName).filter((step) => step !== null);
  return newestFirst(
    await Promise.all(steps.map(async (step): Promise<Found> => {
      const manifest = await joinPath(await checkpointPath(outputDir, step), "manifest.json");
      const about = await readJsonObject(manifest).catch(() => null);
      return { step, session: about && (typeof about.session === "number" ? about.session : 0) };
    })),
  );
}

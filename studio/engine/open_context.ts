/**
 * What opening a model may use, and what looking for its files finds.
 * @module
 */

import type { FolderInput } from "@peft/webgpu";
import type { Progress } from "../protocol.ts";
import { Refusal } from "./errors.ts";
import type { EngineStorage } from "./storage.ts";

/** What opening a model may use. */
export interface OpenContext {
  readonly storage: EngineStorage;
  readonly assetsUrl: string;
  readonly hubEndpoint: string;
  readonly memoryBudget: number;
  readonly progress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** Files of a model. */
export interface FoundModel {
  /** A folder, or one GGUF file. */
  readonly input: FolderInput | Blob | URL;
  /** Which file of the folder is the model, where it is a GGUF file. */
  readonly ggufFile?: string;
  readonly name: string;
  /** What adapters record as their base. */
  readonly baseName: string;
  /** Its entry in storage; null for files that are not kept there. */
  readonly entryId: string | null;
}

/** Refuses weights that no device memory of this size holds, before they are read. */
export function checkWeightBytes(bytes: number, budget: number, name: string): void {
  if (bytes <= budget) return;
  const gigabytes = (value: number) => `${(value / 1e9).toFixed(1)} GB`;
  throw new Refusal(
    "out-of-memory",
    `${name} has ${gigabytes(bytes)} of weights, and ${gigabytes(budget)} of device memory may be used.`,
    "Choose a smaller model or one in fewer bits, such as a Q4_K_M .gguf file.",
  );
}

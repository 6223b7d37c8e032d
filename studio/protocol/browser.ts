/**
 * What the engine found in the browser: its device and its storage.
 * @module
 */

import type { StudioError } from "./basics.ts";

export interface StartOptions {
  /** Folder with `model/` (config.json, model.safetensors, tokenizer.json, …) and `data/` (pirate.jsonl, pirate_held_out.jsonl, support.jsonl). */
  readonly assetsUrl: string;
  /** Default `https://huggingface.co`; what HF_ENDPOINT is to Python. */
  readonly hubEndpoint?: string;
  /** Device memory that may be used; default: the engine's guess. */
  readonly memoryBudget?: number;
  /** Whether it works beside another tab that has the browser's storage: with none of its own, so that nothing is kept. */
  readonly worksBesideOthers?: boolean;
}

export interface Environment {
  /** null where WebGPU works; else why not. */
  readonly problem: StudioError | null;
  readonly gpu: GpuFacts | null;
  readonly storage: StorageFacts;
  /** The library's version. */
  readonly version: string;
}

export interface GpuFacts {
  readonly name: string;
  /** Whether the processor computes in place of a GPU: all works, slowly. */
  readonly isSoftware: boolean;
  readonly maxBufferSize: number;
  readonly maxBindingSize: number;
  /** Device memory that plans may use; WebGPU tells nobody how much there is, so it is a guess. */
  readonly memoryBudget: number;
  readonly isBudgetGuessed: boolean;
}

export interface StorageFacts {
  /** Whether the origin's private file system can be used: without it nothing survives the tab. */
  readonly isAvailable: boolean;
  readonly quota: number | null;
  readonly usage: number | null;
  /**
   * Whether the browser promised not to clear it when the disk is full. Only a page may ask for that, with
   * `navigator.storage.persist()`; workers cannot.
   */
  readonly isPersisted: boolean;
}

export interface StorageReport extends StorageFacts {
  readonly entries: readonly {
    readonly entryId: string;
    readonly kind: "model" | "run" | "adapter" | "export";
    readonly name: string;
    readonly bytes: number;
    /** Whether it is open now, and cannot be deleted. */
    readonly inUse: boolean;
  }[];
}

/**
 * A tab that computes for trainings and sweeps of others, over a broker.
 * @module
 */

import type { ModelSource } from "./model.ts";

/** A base model that jobs may use. */
export interface ChosenBase {
  readonly name: string;
  /** SHA-256 of its files, by which trainings name it. */
  readonly hash: string;
  readonly bytes: number;
}

export interface ChooseBaseOptions {
  readonly source: ModelSource;
}

export interface JoinOptions {
  /** Address of a WebSocket: `wss://host:port`, or `ws://`. */
  readonly broker: string;
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
}

/** What the tab does for a training now. */
export interface TabJob {
  readonly kind: "node" | "trial";
  /** Of the training or the sweep. */
  readonly name: string;
  /** Number of the trial; null for a node. */
  readonly trial: number | null;
  readonly step: number;
  readonly steps: number;
  /** Shares of gradients that this tab computed for it. */
  readonly computed: number;
  /** Mean over the learned tokens of the last steps that were logged, in nats; null before the first. */
  readonly loss: number | null;
}

export type JoinEvent =
  /** The broker lets this tab in. */
  | { readonly type: "joined"; readonly worker: string }
  | { readonly type: "connection"; readonly isThere: boolean }
  /** One line of what happens, in words. */
  | { readonly type: "said"; readonly text: string }
  /** null: it waits for work. */
  | { readonly type: "job"; readonly job: TabJob | null };

/** What a tab did, once it has left. */
export interface JoinResult {
  readonly worker: string;
  /** Trainings and trials that it took part in. */
  readonly jobs: number;
  readonly steps: number;
  readonly computed: number;
}

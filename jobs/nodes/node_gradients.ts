/**
 * A node's part in a training: the gradients that it shares, and the checkpoints that the one that leads keeps for all.
 * @module
 */

import { getLastCheckpoint, type Trainer, type TrainerCallback } from "@peft/webgpu";
import {
  BrokerError,
  ForgottenSharesError,
  SharedGradients,
  type SharedGradientsOptions,
  withPatience,
} from "@peft/webgpu/distributed";
import type { FolderStore } from "@peft/webgpu/io";
import { type ResilientOptions, type ResilientOutput, resilientTrain } from "@peft/webgpu/train";
import { CHECKPOINT_PATIENCE_MS, type TrialStore } from "../trial_store.ts";

/** Checkpoints of a training, where its flags say nothing of them. */
const CHECKPOINTS = 10;
/** Milliseconds between two looks whether a newer checkpoint makes a step superfluous. */
const BEHIND_MS = 5000;
/** Milliseconds between two attempts to store a share where there is no room. */
const FULL_MS = 5000;

/** Training has to begin from a checkpoint: the others went on from this step, or shares are gone. */
export class BehindError extends Error {
  override name = "BehindError";
}

/** Shares of gradients, for which room is waited for, and which end where the others are further. */
export class NodeGradients extends SharedGradients {
  readonly #checkpoints: TrialStore;
  readonly #say: (line: string) => void;
  /** The last step for which it went back to a checkpoint. */
  #wentBackAt = 0;

  constructor(options: SharedGradientsOptions & { say: (line: string) => void }, checkpoints: TrialStore) {
    super(options);
    this.#checkpoints = checkpoints;
    this.#say = options.say;
  }

  /** @throws {BehindError} where a checkpoint of this step or a later one is there, or what it needs of the step before is lost */
  override async exchange(
    ...[step, shares, compute, signal]: Parameters<SharedGradients["exchange"]>
  ): Promise<readonly Uint8Array[]> {
    const behind = new AbortController();
    const look = async () => {
      const newest = (await this.#checkpoints.steps()).at(-1) ?? 0;
      if (newest >= step) {
        behind.abort(new BehindError(`step ${step} is done: a checkpoint of step ${newest} is there`));
      }
    };
    const timer = setInterval(() => void look().catch(() => {}), BEHIND_MS); // a broker that is away is asked again
    const both = signal ? AbortSignal.any([signal, behind.signal]) : behind.signal;
    try {
      for (let wasTold = false;;) {
        try {
          return await super.exchange(step, shares, compute, both);
        } catch (error) {
          if (error instanceof ForgottenSharesError) {
            await withPatience(look, { patienceMs: Infinity, signal });
            both.throwIfAborted();
            if (this.#wentBackAt >= step) throw error;
            this.#wentBackAt = step; // a broker that crashed has lost them: they are computed again from the checkpoint on
            throw new BehindError(error.message);
          }
          if (!(error instanceof BrokerError) || error.failure !== "full" || both.aborted) throw error;
          if (!wasTold) this.#say(`step ${step} waits for room: ${error.message}`);
          wasTold = true;
        }
        await new Promise((resolve) => setTimeout(resolve, FULL_MS));
      }
    } finally {
      clearInterval(timer);
    }
  }
}

/** Where a process has checkpoints of its own, beside those that the broker keeps. */
export interface LocalCheckpoints {
  /** Where those of others are fetched to, and nothing else lies. */
  readonly fetched: FolderStore;
  /** What the Trainer is told of one that was fetched, by its name. */
  pathOf(name: string): string;
  /** The files of one that the Trainer wrote, by the path that it told. */
  written(path: string): FolderStore;
}

/** Those of a Trainer that writes to a store: it goes on from what was fetched to the same place. */
export const storedCheckpoints = (store: FolderStore): LocalCheckpoints => ({
  fetched: store,
  pathOf: (name) => name,
  written: (path) => store.folder(path),
});

/** Whose checkpoints are kept, and when. */
export interface KeepOptions {
  readonly gradients: NodeGradients;
  readonly checkpoints: TrialStore;
  readonly local: LocalCheckpoints;
  /** Steps between two; 0: ten in all. */
  readonly saveSteps: number;
  /** Removes the local copy, where it is of no use once the broker has it. */
  readonly discard?: (path: string) => Promise<void>;
  readonly say: (line: string) => void;
  /** Once it aborts, a broker that is away is not waited for. */
  readonly signal: AbortSignal;
}

/** Keeps checkpoints on the broker while this node leads, and then forgets gradients that no one needs any more. */
export function keepsCheckpoints(
  { gradients, checkpoints, local, saveSteps, discard, say, signal }: KeepOptions,
): TrainerCallback {
  const isDue = ({ globalStep, maxSteps }: { globalStep: number; maxSteps: number }) =>
    globalStep < maxSteps && globalStep % (saveSteps || Math.max(1, Math.ceil(maxSteps / CHECKPOINTS))) === 0;
  return {
    onStepEnd(_args, state, control) {
      if (gradients.leads && isDue(state)) control.shouldSave = true;
    },
    async onSave(_args, state, _control, { checkpoint }) {
      if (!gradients.leads || !isDue(state)) return;
      try {
        await withPatience(async () => {
          const name = checkpoint!.split(/[/\\]/).at(-1)!;
          await checkpoints.keepCheckpoint(name, local.written(checkpoint!));
          const [before, newest] = await checkpoints.steps();
          if (newest !== undefined) await gradients.forget(before);
        }, { patienceMs: CHECKPOINT_PATIENCE_MS, signal });
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        const outcome = signal.aborted ? "the broker does not get" : "training goes on without";
        say(`step ${state.globalStep}: ${outcome} this checkpoint: ${error.message}`);
      }
      await discard?.(checkpoint!);
    },
  };
}

/** Fetches the newest checkpoint that the broker keeps. @returns its name; null where there is none */
async function fetchNewest(checkpoints: TrialStore, fetched: FolderStore): Promise<string | null> {
  while ((await checkpoints.steps()).length > 0) {
    for (const name of await fetched.folders()) await fetched.remove(name);
    await checkpoints.fetchCheckpoints(fetched);
    const found = await getLastCheckpoint(fetched);
    if (found !== null) return found; // else it was removed while it was fetched: a newer one is there
  }
  return null;
}

/** How a node trains. */
export interface NodeTraining {
  readonly checkpoints: TrialStore;
  readonly local: LocalCheckpoints;
  /** Makes model and Trainer, afresh each time. */
  readonly makeTrainer: () => Promise<Trainer>;
  /** Told the name of the checkpoint from which training goes on. */
  readonly onBegin?: (checkpoint: string | null) => void;
  /** Gives back what the last Trainer held. */
  readonly onBehind: () => void;
  readonly onRestart?: ResilientOptions["onRestart"];
  readonly signal: AbortSignal;
}

/** Trains from the newest checkpoint of all nodes, and from a newer one where the others were faster. */
export async function trainAsNode(training: NodeTraining): Promise<ResilientOutput> {
  const { checkpoints, local, makeTrainer, onBegin, onBehind, onRestart, signal } = training;
  for (;;) {
    const checkpoint = await fetchNewest(checkpoints, local.fetched);
    onBegin?.(checkpoint);
    try {
      return await resilientTrain({
        makeTrainer,
        onRestart,
        resumeFromCheckpoint: checkpoint === null ? false : local.pathOf(checkpoint),
        signal,
      });
    } catch (error) {
      if (!(error instanceof BehindError)) throw error;
      onBehind();
    }
  }
}

/**
 * The shelf of adapters.
 * @module
 */
import { computed, signal } from "@preact/signals";
import type { AdapterInfo, MixOptions, NamedFile, Speaker } from "../../protocol.ts";
import { call, readError } from "../engine.ts";
import { Task } from "./task.ts";

/** Every adapter, newest first. */
export const adapters = signal<readonly AdapterInfo[]>([]);
/** Those that fit the open model. */
export const usable = computed(() => adapters.value.filter(({ problem }) => problem === null));
/** Weights of the mix, by adapter; those that are absent have 0. */
export const weights = signal<Readonly<Record<string, number>>>({});
/** Loading, mixing, deleting. */
export const shelving = new Task();

const newestFirst = (list: readonly AdapterInfo[]) => [...list].sort((a, b) => b.createdAt - a.createdAt);

/** Reads the shelf anew. */
export async function refreshShelf(): Promise<void> {
  try {
    adapters.value = newestFirst(await call("adapters", {}));
  } catch (error) {
    shelving.error.value = readError(error);
  }
}

/** Loads an adapter's files. */
export async function loadAdapter(files: readonly NamedFile[]): Promise<boolean> {
  const loaded = await shelving.run("Loading the adapter", "loadAdapter", { files });
  if (loaded) await refreshShelf();
  return loaded !== undefined;
}

/** Gives an adapter another name. */
export async function renameAdapter(adapterId: string, name: string): Promise<void> {
  if (await shelving.run("Renaming the adapter", "rename", { adapterId, name })) await refreshShelf();
}

/** Deletes an adapter for good. */
export async function deleteAdapter(adapterId: string): Promise<void> {
  const left = await shelving.run("Deleting the adapter", "deleteAdapter", { adapterId });
  if (left) adapters.value = newestFirst(left);
}

/** The mix of the sliders; null where fewer than two have a weight. */
export const mix = computed((): Extract<Speaker, { kind: "mix" }> | null => {
  const parts = usable.value
    .filter(({ adapterId, canMix }) => canMix && (weights.value[adapterId] ?? 0) !== 0)
    .map(({ adapterId }) => ({ adapterId, weight: weights.value[adapterId] }));
  return parts.length >= 2 ? { kind: "mix", parts } : null;
});

/** Makes one adapter of the mix. */
export async function keepMix(name: string, combination: MixOptions["combination"]): Promise<boolean> {
  const made = await shelving.run("Mixing the adapters", "mix", {
    name,
    parts: mix.value!.parts,
    combination,
  });
  if (made) await refreshShelf();
  return made !== undefined;
}

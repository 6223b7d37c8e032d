/**
 * The open model.
 * @module
 */
import { signal } from "@preact/signals";
import type { ModelFacts, ModelSource, WeightStorage } from "../../protocol.ts";
import { rememberModel } from "./last_model.ts";
import { Task } from "./task.ts";

/** What is open; null where nothing is. */
export const model = signal<ModelFacts | null>(null);
/** Where it comes from. */
export const modelSource = signal<ModelSource | null>(null);
/** How frozen weights are to lie on the device. */
export const storage = signal<WeightStorage>("auto");
/** Opening. */
export const opening = new Task();

/** Opens a model in place of the open one; gives whether it is open now. */
export async function openModel(source: ModelSource, name: string): Promise<boolean> {
  model.value = null;
  modelSource.value = source;
  const facts = await opening.run(`Opening ${name}`, "openModel", { source, storage: storage.value });
  if (facts) {
    model.value = facts;
    rememberModel(facts.name, source);
  }
  return facts !== undefined;
}

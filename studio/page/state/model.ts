/**
 * The open model.
 * @module
 */
import { signal } from "@preact/signals";
import type { ModelFacts, ModelSource, WeightStorage } from "../../protocol.ts";
import { call, readError } from "../engine.ts";
import { rememberModel } from "./last_model.ts";
import { Task } from "./task.ts";

/** What is open; null where nothing is. */
export const model = signal<ModelFacts | null>(null);
/** How frozen weights are to lie on the device. */
export const storage = signal<WeightStorage>("auto");
/** Opening. */
export const opening = new Task();

/**
 * Opens a model in place of the open one, and gives whether it could. Where not, the open one stays if the new one's files
 * were at fault; else none is open.
 */
export async function openModel(source: ModelSource, name: string): Promise<boolean> {
  const facts = await opening.run(`Opening ${name}`, "openModel", { source, storage: storage.value });
  if (!facts) {
    const isOpen = model.value !== null && await call("methods", {}).then(
      () => true,
      (error) => readError(error).kind !== "not-open",
    );
    if (!isOpen) model.value = null;
    return false;
  }
  model.value = facts;
  rememberModel(facts.name, source);
  return true;
}

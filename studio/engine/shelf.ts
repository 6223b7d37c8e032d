/**
 * The shelf: adapters that were trained, loaded or mixed, each in a folder of its own.
 * @module
 */

import { PeftConfig } from "@peft/webgpu";
import { type FolderStore, memoryStore, safetensors } from "@peft/webgpu/io";
import type { AdapterInfo, ModelSource, TrainingSettings, WeightStorage } from "../protocol.ts";
import { canExportAsGguf, canMix, methodTitle } from "./adapter_facts.ts";
import { Refusal, studioError } from "./errors.ts";
import type { Form } from "./open_data.ts";
import type { OpenModel } from "./open_model.ts";
import type { Stripped } from "./run_store.ts";
import { bytesOf, type EngineStorage, readJson, writeJson } from "./storage.ts";

/** The run that an adapter comes from: what its card and its script tell. */
export interface TrainedFacts {
  readonly settings: TrainingSettings;
  /** The model's, without an access token. */
  readonly source: Stripped<ModelSource>;
  readonly storage: WeightStorage;
  readonly dataName: string;
  readonly dataFiles: readonly string[];
  readonly length: number;
  readonly learnPrompts: boolean;
  readonly heldOut: number;
  readonly steps: number;
  readonly loss: number;
  readonly evalLoss: number | null;
}

/** What is noted of an adapter beside its files. */
export interface AdapterRecord {
  readonly name: string;
  readonly method: string;
  readonly parameters: number;
  readonly modelName: string;
  /** As adapters record it. */
  readonly baseName: string;
  readonly modelKey: string;
  readonly createdAt: number;
  readonly origin: AdapterInfo["origin"];
  readonly note: string;
  readonly form: Form;
  readonly canMix: boolean;
  readonly canExportGguf: boolean;
  readonly trained: TrainedFacts | null;
}

/** What the caller knows of a new adapter; the rest its files tell. */
export type NewAdapter = Pick<AdapterRecord, "name" | "origin" | "note" | "form" | "trained">;

const ABOUT = "about.json";

/** Numbers of an adapter's weights. */
async function countParameters(folder: FolderStore): Promise<number> {
  for (const name of await folder.list()) {
    if (!name.endsWith(".safetensors")) continue;
    const file = await safetensors.open((await folder.open(name))!);
    const sizes = file.names().map((tensor) => file.info(tensor).shape.reduce((a, b) => a * b, 1));
    await file.close();
    return sizes.reduce((a, b) => a + b, 0);
  }
  return 0;
}

/** The shelf. */
export class Shelf {
  readonly #storage: EngineStorage;
  /** Takes what the browser's storage has no room for, until the tab ends. */
  readonly #spare: FolderStore = memoryStore("adapters in memory");
  /** The adapter that answers where none is named. */
  active: string | null = null;

  /** Reads nothing yet. */
  constructor(storage: EngineStorage) {
    this.#storage = storage;
  }

  /** The folder of an adapter, and what is noted of it. @throws {Refusal} where there is none */
  async find(adapterId: string): Promise<{ folder: FolderStore; record: AdapterRecord; isSpare: boolean }> {
    for (const [store, isSpare] of [[this.#storage.adapters, false], [this.#spare, true]] as const) {
      if (!(await store.folders()).includes(adapterId)) continue;
      const folder = store.folder(adapterId);
      const record = await readJson<AdapterRecord>(folder, ABOUT);
      if (record) return { folder, record, isSpare };
    }
    throw new Refusal(
      "bad-settings",
      "This adapter is no longer on the shelf.",
      "Choose another one.",
      adapterId,
    );
  }

  /** Every adapter, the newest first. */
  async list(model: OpenModel | null): Promise<AdapterInfo[]> {
    const ids = [...await this.#storage.adapters.folders(), ...await this.#spare.folders()];
    const found = await Promise.all(ids.map((id) => this.info(id, model).catch(() => null)));
    return found.filter((info) => info !== null).sort((a, b) => b.createdAt - a.createdAt);
  }

  /** What the page shows of an adapter. */
  async info(adapterId: string, model: OpenModel | null): Promise<AdapterInfo> {
    const { folder, record, isSpare } = await this.find(adapterId);
    const { baseName: _base, modelKey, trained: _trained, note, ...shown } = record;
    const problem = model === null
      ? "Open a model to use it."
      : model.key !== modelKey
      ? `It was made for ${record.modelName}, and does not fit ${model.facts.name}.`
      : null;
    return {
      ...shown,
      adapterId,
      note: isSpare
        ? `${note}; only in memory, for lack of storage: take it home before the tab is closed`
        : note,
      bytes: await bytesOf(folder),
      problem,
      isActive: adapterId === this.active,
    };
  }

  /**
   * Puts an adapter on the shelf: into the browser's storage, or where that is full into memory.
   * @param write writes the adapter's files to a folder
   */
  async add(
    about: NewAdapter,
    model: OpenModel,
    write: (folder: FolderStore) => Promise<void>,
  ): Promise<string> {
    const adapterId = `a${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36)}`;
    const put = async (store: FolderStore) => {
      const folder = store.folder(adapterId);
      try {
        await write(folder);
        const config = await PeftConfig.fromPretrained(folder);
        const record: AdapterRecord = {
          ...about,
          method: methodTitle(config),
          parameters: await countParameters(folder),
          modelName: model.facts.name,
          baseName: model.found.baseName,
          modelKey: model.key,
          createdAt: Date.now(),
          canMix: canMix(config),
          canExportGguf: model.facts.ggufProblem === null && canExportAsGguf(config),
        };
        await writeJson(folder, ABOUT, record); // last: without it the folder counts for nothing
      } catch (error) {
        await store.remove(adapterId).catch(() => {});
        throw error;
      }
    };
    try {
      await put(this.#storage.adapters);
    } catch (error) {
      if (studioError(error).kind !== "storage-full") throw error;
      await put(this.#spare);
    }
    return adapterId;
  }

  /** Renames an adapter. */
  async rename(adapterId: string, name: string): Promise<void> {
    if (name.trim() === "") {
      throw new Refusal("bad-settings", "The name is empty.", "Type one.");
    }
    const { folder, record } = await this.find(adapterId);
    await writeJson(folder, ABOUT, { ...record, name: name.trim().slice(0, 120) });
  }

  /** Deletes an adapter. */
  async delete(adapterId: string): Promise<void> {
    const { isSpare } = await this.find(adapterId);
    await (isSpare ? this.#spare : this.#storage.adapters).remove(adapterId);
    if (this.active === adapterId) this.active = null;
  }
}

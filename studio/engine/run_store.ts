/**
 * Runs in the browser's storage: what they were asked for, their data, and their checkpoints.
 * @module
 */

import { getLastCheckpoint } from "@peft/webgpu";
import type { FolderStore } from "@peft/webgpu/io";
import type {
  DataSource,
  ModelSource,
  NamedFile,
  OpenDataOptions,
  ResumableRun,
  TrainingSettings,
  WeightStorage,
} from "../protocol.ts";
import { nameOf } from "./dropped_files.ts";
import { Refusal, studioError } from "./errors.ts";
import type { OpenData } from "./open_data.ts";
import type { OpenModel } from "./open_model.ts";
import { bytesOf, type EngineStorage, readJson, writeJson } from "./storage.ts";

/** A file by what it is known again by. */
interface FileMark {
  readonly path: string;
  readonly bytes: number;
}

/** A model's or data's source without its files. */
export type Stripped<Source> = Source extends { readonly kind: "files" } ? Omit<Source, "files"> : Source;

/** What a run was asked for. */
export interface RunRecord {
  readonly name: string;
  readonly createdAt: number;
  readonly modelName: string;
  readonly model: Stripped<ModelSource>;
  /** Files that were dropped, and must be again. */
  readonly modelFiles: readonly FileMark[];
  readonly storage: WeightStorage;
  readonly dataName: string;
  readonly data: Omit<OpenDataOptions, "source"> & { readonly source: Stripped<DataSource> };
  /** Files of data that are kept beside it. */
  readonly dataFiles: readonly FileMark[];
  /** Those of them for which there was no room. */
  readonly missingData: readonly string[];
  readonly settings: TrainingSettings;
}

/** How far a run is, as its last checkpoint found it. */
export interface RunProgress {
  readonly step: number;
  readonly loss: number | null;
  readonly savedAt: number;
}

const ABOUT = "about.json";
const PROGRESS = "progress.json";
const DATA = "data";

const marks = (files: readonly NamedFile[]): FileMark[] =>
  files.map(({ path, file }) => ({ path, bytes: file.size }));

/** A source without its files, which are too large to be kept with a record. */
function stripped<Source extends { readonly kind: string }>(source: Source): Stripped<Source> {
  const { files: _, ...rest } = source as Source & { files?: unknown };
  return rest as Stripped<Source>;
}

/** A model's source without its files and its access token. */
export function publicSource(source: ModelSource): Stripped<ModelSource> {
  return source.kind === "hub" ? { ...source, token: undefined } : stripped(source);
}

async function* piecesOf(blob: Blob): AsyncIterableIterator<Uint8Array> {
  const reader = blob.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** The runs. */
export class RunStore {
  readonly #storage: EngineStorage;

  /** Reads nothing yet. */
  constructor(storage: EngineStorage) {
    this.#storage = storage;
  }

  /** Where a run's checkpoints lie. */
  folder(runId: string): FolderStore {
    return this.#storage.runs.folder(runId);
  }

  /** Notes a new run, and keeps copies of its data's files. @returns its id */
  async begin(settings: TrainingSettings, model: OpenModel, data: OpenData): Promise<string> {
    const runId = `r${Date.now().toString(36)}`;
    const folder = this.folder(runId);
    const { source, ...options } = data.options;
    const dataFiles = source.kind === "files" ? source.files : [];
    const missingData: string[] = [];
    for (const [i, { path, file }] of dataFiles.entries()) {
      try {
        await folder.write(`${DATA}/${i}`, piecesOf(file));
      } catch (error) {
        if (studioError(error).kind !== "storage-full") throw error;
        missingData.push(nameOf(path));
      }
    }
    const record: RunRecord = {
      ...{ name: settings.name, createdAt: Date.now(), settings, storage: model.storage },
      modelName: model.facts.name,
      model: stripped(model.source),
      modelFiles: model.source.kind === "files" ? marks(model.source.files) : [],
      dataName: data.facts.name,
      data: { ...options, length: data.facts.length, source: stripped(source) },
      dataFiles: marks(dataFiles),
      missingData,
    };
    await writeJson(folder, ABOUT, record).catch((error) => {
      if (studioError(error).kind !== "storage-full") throw error;
    });
    return runId;
  }

  /** Notes how far a run is. */
  async note(runId: string, progress: RunProgress): Promise<void> {
    await writeJson(this.folder(runId), PROGRESS, progress);
  }

  /** What a run was asked for. @throws {Refusal} for a run that is not there */
  async read(runId: string): Promise<RunRecord> {
    const record = await readJson<RunRecord>(this.folder(runId), ABOUT);
    if (record) return record;
    throw new Refusal("bad-settings", "This run is no longer in storage.", "Start it again.", runId);
  }

  /** Runs with a checkpoint, the newest first. */
  async resumable(): Promise<ResumableRun[]> {
    const runs: ResumableRun[] = [];
    for (const runId of await this.#storage.runs.folders()) {
      const folder = this.folder(runId);
      const record = await readJson<RunRecord>(folder, ABOUT);
      const checkpoint = record && await getLastCheckpoint(folder).catch(() => null);
      if (!record || !checkpoint) continue;
      const progress = await readJson<RunProgress>(folder, PROGRESS);
      const step = Number(checkpoint.split("-").at(-1));
      runs.push({
        ...{ runId, name: record.name, modelName: record.modelName, dataName: record.dataName, step },
        steps: record.settings.steps,
        savedAt: progress?.savedAt ?? record.createdAt,
        bytes: await bytesOf(folder),
        settings: record.settings,
        loss: progress?.step === step ? progress.loss : null,
        needsFiles: [...record.modelFiles.map(({ path }) => nameOf(path)), ...record.missingData],
      });
    }
    return runs.sort((a, b) => b.savedAt - a.savedAt);
  }

  /** The model's source of a run. @param files that were dropped again @throws {Refusal} where one is missing */
  modelSource({ model, modelFiles }: RunRecord, files: readonly NamedFile[]): ModelSource {
    if (model.kind !== "files") return model as ModelSource;
    return { ...model, files: modelFiles.map((mark) => sameFile(mark, files)) } as ModelSource;
  }

  /** The data of a run. @throws {Refusal} where a file of it is missing */
  async dataOptions(runId: string, record: RunRecord, files: readonly NamedFile[]): Promise<OpenDataOptions> {
    const { source, ...options } = record.data;
    if (source.kind !== "files") return { ...options, source: source as DataSource };
    const folder = this.folder(runId);
    const found = await Promise.all(record.dataFiles.map(async (mark, i): Promise<NamedFile> => {
      const kept = await folder.open(`${DATA}/${i}`);
      if (!kept) return sameFile(mark, files);
      const bytes = await kept.read(0, kept.size);
      await kept.close();
      return { path: mark.path, file: new Blob([bytes]) };
    }));
    return { ...options, source: { kind: "files", files: found } };
  }

  /** Removes a run with all it has. */
  async remove(runId: string): Promise<void> {
    await this.#storage.runs.remove(runId);
  }
}

/** A file that was dropped again. @throws {Refusal} where it is not there, or not the same */
function sameFile({ path, bytes }: FileMark, files: readonly NamedFile[]): NamedFile {
  const found = files.find((file) => nameOf(file.path) === nameOf(path) && file.file.size === bytes);
  if (found) return { path, file: found.file };
  throw new Refusal(
    "bad-file",
    `The run needs "${nameOf(path)}" again.`,
    `Drop the same file, of ${bytes.toLocaleString("en-US")} bytes: the browser does not keep it.`,
    files.map((file) => `${file.path} (${file.file.size} bytes)`).join(", ") || "no file was given",
  );
}

/**
 * A store for checkpoints that never fails: what cannot be written is told of and left out, so that the training goes on.
 * Checkpoints that were whole stay.
 * @param onFailure called once for each checkpoint that could not be written
 */
export function tolerant(store: FolderStore, onFailure: (error: unknown) => void): FolderStore {
  return {
    ...plain(store),
    folder(name) {
      const inner = store.folder(name);
      let failed = false;
      return {
        ...plain(inner),
        folder: (path) => inner.folder(path),
        async write(path, chunks) {
          if (failed) return;
          try {
            await inner.write(path, chunks);
          } catch (error) {
            failed = true;
            await store.remove(name).catch(() => {});
            onFailure(error);
          }
        },
      };
    },
  };
}

/** The methods of a store, without its class. */
function plain(store: FolderStore): FolderStore {
  return {
    name: store.name,
    open: (path, options) => store.open(path, options),
    list: () => store.list(),
    folders: () => store.folders(),
    folder: (path) => store.folder(path),
    write: (path, chunks) => store.write(path, chunks),
    update: (path) => store.update(path),
    remove: (path) => store.remove(path),
  };
}

/**
 * Files to take home.
 * @module
 */

import { exportGguf } from "@peft/webgpu";
import type { ExportedFile, ExportOptions, Progress } from "../protocol.ts";
import { blobFolder } from "./blob_folder.ts";
import { Refusal } from "./errors.ts";
import type { OpenModel } from "./open_model.ts";
import { runScript } from "./run_script.ts";
import type { AdapterRecord, Shelf } from "./shelf.ts";
import { copyFiles } from "./storage.ts";
import { zip } from "./zip.ts";

/** What an export may use. */
export interface ExportContext {
  readonly shelf: Shelf;
  readonly progress: (progress: Progress) => void;
  readonly signal: AbortSignal;
  /** The open model; fails where none is, or another than the adapter's. */
  readonly modelFor: (record: AdapterRecord) => OpenModel;
  /** Opens the model again: merging has changed its weights. */
  readonly reopen: () => Promise<unknown>;
}

/** A name that every file system takes. */
const fileName = (name: string) =>
  name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "") || "adapter";

const file = (name: string, blob: Blob): ExportedFile => ({
  name,
  mimeType: blob.type,
  bytes: blob.size,
  blob,
});

const TEXT = "text/plain;charset=utf-8";

/** Makes the files. @throws {Refusal} for an adapter that cannot be taken home so */
export async function exportFiles(options: ExportOptions, context: ExportContext): Promise<ExportedFile> {
  const { shelf, progress, signal } = context;
  const { folder, record } = await shelf.find(options.adapterId);
  const name = fileName(record.name);
  let done = 0;
  const count = (bytes: number) => {
    done += bytes;
    progress({ phase: "write", text: "Writing the file", file: null, done, total: null, unit: "bytes" });
  };
  switch (options.what) {
    case "peft": {
      const out = blobFolder();
      await copyFiles(folder, (await folder.list()).filter((path) => path !== "about.json"), out);
      return file(`${name}.zip`, await zip(out.blobs, signal, count));
    }
    case "model-card": {
      const source = await folder.open("README.md");
      const text = source ? await source.read(0, source.size) : `# ${record.name}\n`;
      return file("README.md", new Blob([text], { type: "text/markdown;charset=utf-8" }));
    }
    case "script": {
      if (!record.trained) {
        throw new Refusal(
          "unsupported",
          "This adapter was not trained here.",
          "A script is made of a run of the studio.",
        );
      }
      const encode = (text: string) => context.modelFor(record).tokenizer.encode(text);
      const text = runScript(record, record.trained, encode);
      return file("train.ts", new Blob([text], { type: TEXT }));
    }
    case "gguf-adapter": {
      const model = context.modelFor(record);
      const peft = await model.seat.load(options.adapterId, folder);
      const out = blobFolder(count);
      await peft.savePretrained(out, { selectedAdapters: [options.adapterId], format: "gguf" });
      return file(`${name}.gguf`, [...out.blobs.values()][0]);
    }
    case "merged-gguf":
    case "merged-safetensors":
      return await exportMerged(options, record, name, count, context);
  }
}

/** The model with the adapter in it; the open model is opened again afterwards. */
async function exportMerged(
  options: Extract<ExportOptions, { what: "merged-gguf" | "merged-safetensors" }>,
  record: AdapterRecord,
  name: string,
  count: (bytes: number) => void,
  { shelf, signal, modelFor, reopen }: ExportContext,
): Promise<ExportedFile> {
  const model = modelFor(record);
  if (options.what === "merged-gguf" && model.facts.ggufProblem !== null) {
    throw new Refusal(
      "unsupported",
      `No GGUF file can be made: ${model.facts.ggufProblem}.`,
      "Take home safetensors.",
    );
  }
  const { folder } = await shelf.find(options.adapterId);
  const peft = await model.seat.load(options.adapterId, folder);
  model.seat.choose(options.adapterId);
  try {
    const merged = await peft.mergeAndUnload();
    const out = blobFolder(count);
    if (options.what === "merged-gguf") {
      const { tokenizer } = model;
      await exportGguf(merged, { folder: out, name: "model.gguf" }, { dtype: options.type, tokenizer });
      return file(`${name}-${options.type}.gguf`, out.blobs.get("model.gguf")!);
    }
    await merged.savePretrained(out, { dtype: options.type });
    await model.tokenizer.savePretrained(out);
    return file(`${name}-model.zip`, await zip(out.blobs, signal));
  } finally {
    await reopen().catch(() => {}); // the file is made; that no model is open, the next call says
  }
}

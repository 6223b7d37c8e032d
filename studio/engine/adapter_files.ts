/**
 * Adapters that come from outside: a PEFT folder, or a .zip of one.
 * @module
 */

import { PeftModel } from "@peft/webgpu";
import type { MemoryFolder } from "@peft/webgpu/io";
import type { NamedFile } from "../protocol.ts";
import { folderWith, nameOf, refusePickles } from "./dropped_files.ts";
import { Refusal } from "./errors.ts";
import type { OpenModel } from "./open_model.ts";
import type { Shelf } from "./shelf.ts";
import { copyFiles } from "./storage.ts";
import { unzip } from "./zip.ts";

/** Files of an adapter that are kept. */
const KEPT = /^(adapter_config\.json|adapter_model\.safetensors|pytorch_adapter\.safetensors|README\.md)$/;

/** The folder of the adapter among files. @throws {Refusal} where there is none */
async function adapterFolder(files: readonly NamedFile[]): Promise<{ folder: MemoryFolder; name: string }> {
  const zipped = files.find(({ path }) => /\.zip$/i.test(path));
  const name = nameOf(zipped?.path ?? files[0]?.path ?? "adapter").replace(/\.zip$/i, "");
  const all = zipped ? await unzip(zipped.file, nameOf(zipped.path)) : files;
  const gguf = all.find(({ path }) => /\.gguf$/i.test(path));
  const folder = folderWith(all, "adapter_config.json", name);
  if (folder) {
    refusePickles(all, /\.safetensors$/i);
    const [top, below] = (files[0]?.path ?? "").split("/");
    return { folder, name: below ? top : name };
  }
  if (gguf) {
    throw new Refusal(
      "unsupported",
      "A GGUF adapter cannot be loaded.",
      "Load the PEFT folder that it was made from: adapter_config.json and adapter_model.safetensors.",
      gguf.path,
    );
  }
  refusePickles(all, /adapter_config\.json$/);
  throw new Refusal(
    "bad-file",
    "There is no adapter in these files.",
    "Drop the folder or .zip that holds adapter_config.json and adapter_model.safetensors.",
    all.slice(0, 12).map(({ path }) => path).join(", "),
  );
}

/** Puts an adapter from outside on the shelf, once the open model has taken it. @returns its id */
export async function shelveFiles(
  files: readonly NamedFile[],
  wanted: string | undefined,
  model: OpenModel,
  shelf: Shelf,
): Promise<string> {
  const { folder, name } = await adapterFolder(files);
  model.seat.clear();
  const tried = await PeftModel.fromPretrained(model.base, folder); // tells whether it fits, and is whole
  tried.unload();
  const kept = [...folder.files.keys()].filter((path) => KEPT.test(path));
  const about = {
    name: wanted?.trim() || name,
    origin: "loaded",
    note: "loaded from files",
    form: model.facts.hasChatTemplate ? "chat" : "text",
    trained: null,
  } as const;
  return await shelf.add(about, model, (target) => copyFiles(folder, kept, target));
}

/**
 * Adapters that come from outside: a PEFT folder, a .zip of one, or a GGUF file.
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

/** The folder of the adapter among files, or its GGUF file. @throws {Refusal} where there is neither */
async function findAdapter(
  files: readonly NamedFile[],
): Promise<{ found: MemoryFolder | Blob; name: string }> {
  const zipped = files.find(({ path }) => /\.zip$/i.test(path));
  const name = nameOf(zipped?.path ?? files[0]?.path ?? "adapter").replace(/\.zip$/i, "");
  const all = zipped ? await unzip(zipped.file, nameOf(zipped.path)) : files;
  const gguf = all.find(({ path }) => /\.gguf$/i.test(path));
  const folder = folderWith(all, "adapter_config.json", name);
  if (folder) {
    refusePickles(all, /\.safetensors$/i);
    const [top, below] = (files[0]?.path ?? "").split("/");
    return { found: folder, name: below ? top : name };
  }
  if (gguf) return { found: gguf.file, name: nameOf(gguf.path).replace(/\.gguf$/i, "") };
  refusePickles(all, /adapter_config\.json$/);
  throw new Refusal(
    "bad-file",
    "There is no adapter in these files.",
    "Drop the folder or .zip that holds adapter_config.json and adapter_model.safetensors, or a GGUF adapter.",
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
  const { found, name } = await findAdapter(files);
  model.seat.clear();
  const tried = await PeftModel.fromPretrained(model.base, found); // tells whether it fits, and is whole
  try {
    const about = {
      name: wanted?.trim() || name,
      origin: "loaded",
      note: "loaded from files",
      form: model.facts.hasChatTemplate ? "chat" : "text",
      trained: null,
    } as const;
    return await shelf.add(about, model, async (target) => {
      if (found instanceof Blob) return await tried.savePretrained(target);
      await copyFiles(found, [...found.files.keys()].filter((path) => KEPT.test(path)), target);
    });
  } finally {
    tried.unload();
  }
}

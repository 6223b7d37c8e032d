/**
 * Files that a user dropped or picked: what they are, before anything is read.
 * @module
 */

import { memoryFolder } from "@peft/webgpu";
import type { MemoryFolder } from "@peft/webgpu/io";
import type { NamedFile } from "../protocol.ts";
import { Refusal } from "./errors.ts";

const PICKLE = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

/** The last part of a path. */
export const nameOf = (path: string): string => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;

/** Refuses pickles, unless there is something beside them that can be opened. */
export function refusePickles(files: readonly NamedFile[], usable: RegExp): void {
  const pickle = files.find(({ path }) => PICKLE.test(path));
  if (!pickle || files.some(({ path }) => usable.test(path))) return;
  throw new Refusal(
    "pickle",
    `"${nameOf(pickle.path)}" is a pickle file, which can run programs and is never opened.`,
    "Use the .safetensors or .gguf file instead; in Python, save_pretrained() writes safetensors.",
  );
}

/** The files below the folder that holds `marker`, such as config.json, as a folder; null where none does. */
export function folderWith(files: readonly NamedFile[], marker: string, name: string): MemoryFolder | null {
  const found = files.filter(({ path }) => nameOf(path) === marker)
    .sort((a, b) => a.path.length - b.path.length)[0];
  if (!found) return null;
  const prefix = found.path.slice(0, found.path.length - marker.length);
  const inside = files.filter(({ path }) => path.startsWith(prefix));
  return memoryFolder(new Map(inside.map(({ path, file }) => [path.slice(prefix.length), file])), name);
}

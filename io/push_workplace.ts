/**
 * Where the files of a push to the hub are written, and how the hub library takes them.
 *
 * @module
 */
import { hasHost, host } from "./_node.ts";
import type { Bytes } from "./file_source.ts";
import type { FolderOutput } from "./folder_target.ts";
import { memoryFolder } from "./open_file.ts";

/** A file, as the hub library takes it. */
export interface PushedFile {
  readonly path: string;
  readonly content: Blob | URL;
}

/** Where the files of a push lie. */
export interface Workplace {
  readonly output: FolderOutput;
  files(): Promise<PushedFile[]>;
  remove(): Promise<void>;
}

/** Hidden files, and checkpoints of a training, which transformers does not push either. */
const LEFT_OUT = /^(?:\.|checkpoint-\d+$)/;

/** The files of a folder on disk. */
async function filesIn(folder: string, prefix = ""): Promise<PushedFile[]> {
  const { fs, path: paths, url } = await host();
  const files: PushedFile[] = [];
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    if (LEFT_OUT.test(entry.name)) continue;
    const full = paths.join(folder, entry.name);
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) files.push(...await filesIn(full, `${path}/`));
    else files.push({ path, content: new URL(url.pathToFileURL(await fs.realpath(full)).href) });
  }
  return files;
}

/**
 * The place of one push: a folder that is there, else one that lives as long as the push, on disk where there is one, for
 * models larger than memory.
 */
export async function makeWorkplace(folder?: string): Promise<Workplace> {
  const keep = () => Promise.resolve();
  if (folder !== undefined) return { output: folder, files: () => filesIn(folder), remove: keep };
  if (!hasHost()) {
    const memory = memoryFolder();
    const files = () =>
      [...memory.files].map(([path, bytes]) => ({ path, content: new Blob([bytes as Bytes]) }));
    return { output: memory, files: () => Promise.resolve(files()), remove: keep };
  }
  const { fs, os, path: paths } = await host();
  const made = await fs.mkdtemp(paths.join(os.tmpdir(), "peft-webgpu-push-"));
  return {
    output: made,
    files: () => filesIn(made),
    remove: () => fs.rm(made, { recursive: true, force: true }),
  };
}

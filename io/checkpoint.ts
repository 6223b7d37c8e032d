/**
 * The weights of a model folder: one `model.safetensors`, or the shards that a `model.safetensors.index.json` lists, as
 * one reader.
 *
 * @module
 */
import type { FolderInput, FolderSource } from "./file_source.ts";
import { readJsonFrom } from "./json.ts";
import { openFolder } from "./open_file.ts";
import { quote } from "./relative_path.ts";
import { openSafetensors, type TensorReader } from "./safetensors_reader.ts";

/**
 * Opens the weights of a folder in Hugging Face's layout: `model.safetensors`, or else the shards listed in
 * `model.safetensors.index.json`, all headers checked and compared with the index.
 *
 * @param folder path or folder source.
 * @param options `basename`: the file's name without extension, default "model".
 * @throws {SafetensorsError} when a file is not valid or the shards are not as the index says (all differences in one
 * error); an Error when the folder has no weights.
 */
export async function openCheckpoint(
  folder: FolderInput,
  options: { basename?: string } = {},
): Promise<TensorReader> {
  const source = openFolder(folder);
  const single = `${options.basename ?? "model"}.safetensors`;
  const file = await source.open(single);
  return file ? await openSafetensors(file) : await openByIndex(source, single);
}

/** The shards that the index of a folder lists. */
async function openByIndex(source: FolderSource, single: string): Promise<TensorReader> {
  const indexPath = `${single}.index.json`;
  const index = await readJsonFrom(source, indexPath);
  if (index) {
    const { openShards } = await import("./sharded_checkpoint.ts");
    return await openShards(source, indexPath, index);
  }
  const pickle = await source.open("pytorch_model.bin");
  await pickle?.close();
  throw new Error(
    `Cannot open the weights in ${quote(source.name)}: ${single} or ${indexPath} is required, received ${
      pickle
        ? "a pickle file, which is never opened; save it with safe_serialization=True in Python"
        : "neither"
    }`,
  );
}

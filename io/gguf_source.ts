/**
 * Finding the GGUF file that a caller means: given by itself, named in a folder or hub model (`transformers`' `gguf_file`), or
 * the only one there.
 *
 * @module
 */
import type { FileInput, FolderInput, FolderSource } from "./file_source.ts";
import type { FoundGguf } from "./find_gguf.ts";
import { isGgufFile } from "./gguf_names.ts";
import type { HubOptions, ResolveOptions } from "./hub.ts";
import { HubError } from "./hub_errors.ts";
import { resolveCheckpointFolder } from "./model_folder.ts";
import { quote } from "./relative_path.ts";

/**
 * Options of what may load a GGUF file.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { GgufOptions } from "@peft/webgpu/io";
 *
 * const file: GgufOptions = { ggufFile: "name-Q8_0.gguf", localFilesOnly: true };
 * const tokenizer = await AutoTokenizer.fromPretrained("org/name-GGUF", file); // and the model likewise
 * console.log(tokenizer.vocabSize);
 * ```
 */
export interface GgufOptions extends HubOptions {
  /** The name of a GGUF file in the folder or hub model, such as "model-Q4_K_M.gguf"; default: none, or the only one there. */
  ggufFile?: string;
}

const NAMES: Readonly<Record<keyof GgufOptions, 1>> = {
  revision: 1,
  cacheDir: 1,
  localFilesOnly: 1,
  token: 1,
  hubUrl: 1,
  fetch: 1,
  onProgress: 1,
  verify: 1,
  timeouts: 1,
  ggufFile: 1,
};

/** Names of {@linkcode GgufOptions}. */
export const SOURCE_OPTIONS: readonly string[] = Object.keys(NAMES);

/**
 * The GGUF file that an input is, or that `ggufFile` names in it; undefined where the input is a folder and no name is
 * given. A hub model's file is downloaded into its cache.
 *
 * @throws {RangeError} for a name beside an input that is a file already
 * @throws {HubError} where the hub has no such file or cannot give it
 * @throws {Error} where the folder has no such file
 */
export async function givenGguf(
  input: FolderInput | FileInput,
  { ggufFile, ...hub }: GgufOptions,
): Promise<FoundGguf | undefined> {
  if (ggufFile === undefined) return isGgufFile(input) ? { file: input } : undefined;
  return await namedIn(input, ggufFile, hub);
}

async function namedIn(
  input: FolderInput | FileInput,
  ggufFile: string,
  hub: HubOptions,
): Promise<FoundGguf | undefined> {
  if (isGgufFile(input)) {
    throw new RangeError(
      `Cannot load ${
        quote(ggufFile)
      }: ggufFile names a file of a folder or hub model, received it beside a file`,
    );
  }
  const { namedGguf } = await import("./find_gguf.ts");
  return await namedGguf(input, ggufFile, hub);
}

/**
 * A checkpoint's folder, as `resolveCheckpointFolder` finds it; or a GGUF file: the one that is given, else the only one of a
 * folder or hub model that holds no checkpoint.
 *
 * @throws as `resolveCheckpointFolder` and {@linkcode givenGguf}
 */
export async function resolveCheckpointOrGguf(
  input: FolderInput | FileInput,
  options: GgufOptions & Pick<ResolveOptions, "checkConfig">,
): Promise<{ folder: FolderSource; gguf?: undefined } | { gguf: FoundGguf; folder?: undefined }> {
  const { checkConfig, ggufFile, ...hub } = options;
  const given = await givenGguf(input, { ...hub, ggufFile });
  if (given) return { gguf: given };
  const source = input as FolderInput;
  let folder: FolderSource;
  try {
    folder = await resolveCheckpointFolder(source, { ...hub, checkConfig });
  } catch (error) {
    return { gguf: await inPlaceOf(error, source, hub) };
  }
  const names = await folder.list?.();
  const gguf = names && await besideNames(names, source, hub);
  return gguf ? { gguf } : { folder };
}

/** The only GGUF file of a hub model that holds no checkpoint, as an error of the hub says. */
async function inPlaceOf(error: unknown, source: FolderInput, hub: HubOptions): Promise<FoundGguf> {
  if (!(error instanceof HubError) || error.failure === "unauthorized") throw error;
  const { onlyGguf } = await import("./find_gguf.ts");
  const gguf = await onlyGguf(source, hub);
  if (!gguf) throw error;
  return gguf;
}

/** The only GGUF file of a folder with these files; undefined where they are a checkpoint. */
async function besideNames(
  names: readonly string[],
  source: FolderInput,
  hub: HubOptions,
): Promise<FoundGguf | undefined> {
  const hasWeights = names.some((name) => /\.safetensors(\.index\.json)?$/.test(name));
  if (hasWeights && names.includes("config.json")) return undefined;
  const { onlyGguf } = await import("./find_gguf.ts");
  return await onlyGguf(source, hub);
}

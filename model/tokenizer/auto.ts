/**
 * Tokenizers by folder or hub id.
 * @module
 */

import type { FileInput, FolderInput } from "../../io/file_source.ts";
import { type GgufOptions, givenGguf, SOURCE_OPTIONS } from "../../io/gguf_source.ts";
import { resolveFolder } from "../../io/model_folder.ts";
import { checkOptions } from "../../options/names.ts";
import { GPT2_VOCABULARY } from "../gpt2/vocabulary.ts";
import type { BuiltInVocabulary } from "./core.ts";
import { readBuiltIn, readTokenizerFolder, TOKENIZER_FILES, VOCABULARY_FILES } from "./files.ts";
import type { PaddingSide } from "./settings.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";

/** The vocabularies that need no download. Named here and not by their models, so that a tokenizer loads no model. */
const BUILT_IN: readonly BuiltInVocabulary[] = [GPT2_VOCABULARY];

/** The vocabulary that needs no download of a hub id, if there is one. */
function builtIn(id: string): BuiltInVocabulary | undefined {
  return BUILT_IN.find(({ hubIds }) => hubIds.includes(id));
}

/** True for a folder on disk; false also where there is no file system or no permission to look. */
async function isLocalFolder(path: string): Promise<boolean> {
  try {
    const { isDirectory } = await import("../../io/files.ts");
    return await isDirectory(path);
  } catch {
    return false;
  }
}

async function readGguf(file: FileInput): Promise<Tokenizer> {
  const { readGgufTokenizer } = await import("./gguf_tokenizer.ts");
  return await createTokenizer(await readGgufTokenizer(file));
}

/** The tokenizer of the only GGUF file in a folder with these files; undefined where they hold a vocabulary. */
async function besideNames(
  names: readonly string[],
  source: FolderInput,
  options: GgufOptions,
): Promise<Tokenizer | undefined> {
  if (names.some((name) => VOCABULARY_FILES.includes(name))) return undefined;
  const { onlyGguf } = await import("../../io/find_gguf.ts");
  const gguf = await onlyGguf(source, options);
  return gguf && await readGguf(gguf.file);
}

/**
 * Options of `AutoTokenizer.fromPretrained`.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { TokenizerOptions } from "@peft/webgpu/tokenizer";
 *
 * const options: TokenizerOptions = { paddingSide: "left", padToken: "<|endoftext|>" };
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model", options);
 * console.log(tokenizer(["Ahoy there", "Ahoy"], { padding: true }).attentionMask); // [ [ 1, 1 ], [ 0, 1 ] ]
 * ```
 */
export interface TokenizerOptions extends GgufOptions {
  /** Side of the padding; default that of the folder. */
  paddingSide?: PaddingSide;
  /** The token that fills short rows, by its text; default that of the folder. */
  padToken?: string | null;
}

/** Names of {@linkcode TokenizerOptions}. */
const OPTION_NAMES = [
  ...SOURCE_OPTIONS,
  ...["paddingSide", "padToken"] satisfies Exclude<keyof TokenizerOptions, keyof GgufOptions>[],
];

/** The tokenizer of a folder, a file or a hub model. */
async function load(source: FolderInput | FileInput, options: GgufOptions): Promise<Tokenizer> {
  const given = await givenGguf(source, options);
  if (given) return await readGguf(given.file);
  const vocabulary = typeof source === "string" ? builtIn(source) : undefined;
  if (vocabulary && !(await isLocalFolder(source as string))) {
    return await createTokenizer(await readBuiltIn(vocabulary));
  }
  const folder = await resolveFolder(source as FolderInput, { ...options, optionalFiles: TOKENIZER_FILES });
  const names = await folder.list?.();
  const gguf = names && await besideNames(names, source as FolderInput, options);
  return gguf ?? await createTokenizer(await readTokenizerFolder(folder, BUILT_IN));
}

/**
 * Loads tokenizers by model, as transformers' class of this name.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const { inputIds, attentionMask } = tokenizer(["Ahoy", "Ahoy"]);
 * console.log(inputIds, attentionMask, tokenizer.decode(inputIds[0]));
 * ```
 */
export class AutoTokenizer {
  /**
   * The tokenizer of a model.
   *
   * @param source a folder with `tokenizer.json` (or `vocab.json` and `merges.txt`): a path, a URL, files that a user picked
   * or dropped, or one in memory; a GGUF file (a path, a URL or its bytes); or a hub id. A folder or hub model may hold a
   * GGUF file in place of a vocabulary. A few ids need no download: their vocabulary is built in.
   * @param options hub options: revision, cacheDir, localFilesOnly, …; `ggufFile` names one of several GGUF files;
   * `paddingSide` and `padToken` set what the tokenizer pads with
   * @throws {TypeError} for an option that does not exist
   * @throws {RangeError} for a padding token that is none of the vocabulary, or another side
   * @throws {Error} when the folder has no tokenizer or the hub cannot give it.
   * @example
   * ```ts
   * import { AutoTokenizer } from "@peft/webgpu";
   * const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
   * console.log(tokenizer("Hello, PEFT!").inputIds); // [[15496, 11, 18468, 9792, 0]]
   * ```
   */
  static async fromPretrained(
    source: FolderInput | FileInput,
    options: TokenizerOptions = {},
  ): Promise<Tokenizer> {
    checkOptions("load a tokenizer", options, OPTION_NAMES);
    const { paddingSide, padToken, ...files } = options;
    const tokenizer = await load(source, files);
    if (paddingSide !== undefined) tokenizer.paddingSide = paddingSide;
    if (padToken !== undefined) tokenizer.padToken = padToken;
    return tokenizer;
  }
}

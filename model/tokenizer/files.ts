/**
 * The tokenizer files of a model folder.
 *
 * @module
 */
import type { FolderSource } from "../../io/file_source.ts";
import { type JsonObject, readJsonFrom } from "../../io/json.ts";
import { readAll } from "../../io/open_file.ts";
import { quote } from "../../io/relative_path.ts";
import type { TokenizerCore } from "./core.ts";
import { END_OF_TEXT, END_OF_TEXT_ID, loadGpt2Core } from "../gpt2/vocabulary.ts";
import { byteLevelJson, loadJsonCore } from "./json.ts";
import { readSettings, type TokenizerSettings } from "./settings.ts";

/** The files a tokenizer can be made of; none of them is in every folder. */
export const TOKENIZER_FILES: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
  "config.json",
];

/** tokenizer.json of large vocabularies exceeds the limit of other JSON files. */
const MAX_TOKENIZER_BYTES = 100 * 1024 * 1024;

/** tokenizer_config.json of GPT-2. */
const GPT2_CONFIG: JsonObject = {
  add_prefix_space: false,
  bos_token: END_OF_TEXT,
  clean_up_tokenization_spaces: false,
  eos_token: END_OF_TEXT,
  model_max_length: 1024,
  tokenizer_class: "GPT2Tokenizer",
  unk_token: END_OF_TEXT,
};

/** A vocabulary, its settings, and the tokenizer_config.json they came from. */
export interface TokenizerParts {
  /** The vocabulary. */
  core: TokenizerCore;
  /** Special tokens and defaults. */
  settings: TokenizerSettings;
  /** Contents of tokenizer_config.json. */
  config: JsonObject;
}

/** GPT-2's tokenizer, from the embedded vocabulary. */
export async function gpt2Tokenizer(): Promise<TokenizerParts> {
  const core = await loadGpt2Core();
  return { core, settings: readSettings(core, GPT2_CONFIG, {}, {}), config: GPT2_CONFIG };
}

/** True when vocab.json is GPT-2's own, token by token. */
async function isGpt2(vocab: JsonObject): Promise<boolean> {
  const entries = Object.entries(vocab);
  if (entries.length !== END_OF_TEXT_ID + 1 || vocab[END_OF_TEXT] !== END_OF_TEXT_ID) return false;
  const core = await loadGpt2Core();
  return entries.every(([token, id]) => core.tokenOf(id as number) === token);
}

/** The contents of tokenizer.json, or of GPT-2's two older files in its form; undefined for GPT-2's own vocabulary. */
async function readVocabulary(folder: FolderSource): Promise<JsonObject | undefined> {
  const json = await readJsonFrom(folder, "tokenizer.json", { maxBytes: MAX_TOKENIZER_BYTES });
  if (json) return json;
  const vocab = await readJsonFrom(folder, "vocab.json", { maxBytes: MAX_TOKENIZER_BYTES });
  const merges = await folder.open("merges.txt");
  if (!vocab || !merges) {
    await merges?.close();
    throw new Error(
      `Cannot load a tokenizer from ${
        quote(folder.name)
      }: tokenizer.json, or vocab.json with merges.txt, is required, ` +
        "received a folder without them",
    );
  }
  const text = new TextDecoder().decode(await readAll(merges));
  return await isGpt2(vocab) ? undefined : byteLevelJson(vocab, text, [END_OF_TEXT]);
}

/**
 * Reads the tokenizer of a model folder.
 *
 * @throws {Error} when the folder has no tokenizer, or one that is not valid.
 */
export async function readTokenizerFolder(folder: FolderSource): Promise<TokenizerParts> {
  const own = await readJsonFrom(folder, "tokenizer_config.json") ?? {};
  const specialTokens = await readJsonFrom(folder, "special_tokens_map.json") ?? {};
  const modelConfig = await readJsonFrom(folder, "config.json") ?? {};
  const json = await readVocabulary(folder);
  const config = json ? own : { ...GPT2_CONFIG, ...own };
  try {
    const core = json ? await loadJsonCore(json, config) : await loadGpt2Core();
    return { core, settings: readSettings(core, config, specialTokens, modelConfig), config };
  } catch (cause) {
    throw new Error(
      `Cannot load a tokenizer from ${
        quote(folder.name)
      }: a valid tokenizer.json is required, received one with: ${
        cause instanceof Error ? cause.message : String(cause)
      }`,
      { cause },
    );
  }
}

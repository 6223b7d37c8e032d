/**
 * The tokenizer files of a model folder.
 *
 * @module
 */
import type { FolderSource } from "../../io/file_source.ts";
import { type JsonObject, readJsonFrom } from "../../io/json.ts";
import { readAll } from "../../io/open_file.ts";
import { quote } from "../../io/relative_path.ts";
import type { BuiltInVocabulary, TokenizerCore } from "./core.ts";
import { loadJsonCore } from "./json.ts";
import { readSettings, type TokenizerSettings } from "./settings.ts";

/** The files that a tokenizer may be made of; no folder needs all of them. */
export const TOKENIZER_FILES: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "config.json",
];

/** Those of them that hold a vocabulary. */
export const VOCABULARY_FILES: readonly string[] = ["tokenizer.json", "vocab.json"];

/** tokenizer.json of large vocabularies exceeds the limit of other JSON files. */
const LIMIT = { maxBytes: 100 * 1024 * 1024 };

/** A vocabulary, its settings, and the tokenizer_config.json they came from. */
export interface TokenizerParts {
  /** The vocabulary. */
  core: TokenizerCore;
  /** Special tokens and defaults. */
  settings: TokenizerSettings;
  /** Contents of tokenizer_config.json. */
  config: JsonObject;
  /** Templates of conversations by name; "default" is the one for all. */
  chatTemplates: Map<string, string>;
}

/** The tokenizer of a vocabulary that needs no download. */
export async function readBuiltIn(vocabulary: BuiltInVocabulary): Promise<TokenizerParts> {
  const { config } = vocabulary;
  const core = await vocabulary.load();
  return { core, settings: readSettings(core, config, {}, {}), config, chatTemplates: new Map() };
}

/** Adds the templates of a list of names and texts; what is none is left out. */
function addTemplates(templates: Map<string, string>, listed: readonly unknown[]): void {
  for (const entry of listed) {
    const { name, template } = (entry ?? {}) as { name?: unknown; template?: unknown };
    if (typeof name === "string" && typeof template === "string") templates.set(name, template);
  }
}

/** The templates of a folder: chat_template.jinja, else those in tokenizer_config.json. */
async function readChatTemplates(folder: FolderSource, config: JsonObject): Promise<Map<string, string>> {
  const templates = new Map<string, string>();
  const listed = config.chat_template;
  if (typeof listed === "string") templates.set("default", listed);
  if (Array.isArray(listed)) addTemplates(templates, listed);
  const file = await folder.open("chat_template.jinja");
  if (file) templates.set("default", new TextDecoder().decode(await readAll(file)));
  return templates;
}

/** The two older files in the form of tokenizer.json; undefined where they hold the built-in vocabulary. */
async function readOlderFiles(
  folder: FolderSource,
  builtIn: BuiltInVocabulary,
): Promise<JsonObject | undefined> {
  const { readVocabAndMerges } = await import("./vocab_and_merges.ts");
  return await readVocabAndMerges(folder, builtIn, LIMIT);
}

/**
 * Reads the tokenizer of a model folder.
 *
 * @param builtIn vocabularies that need no download; the first has the defaults for folders with the two older files
 * @throws {Error} when the folder has no tokenizer, or one that is not valid.
 */
export async function readTokenizerFolder(
  folder: FolderSource,
  [builtIn]: readonly BuiltInVocabulary[],
): Promise<TokenizerParts> {
  const own = await readJsonFrom(folder, "tokenizer_config.json") ?? {};
  const specialTokens = await readJsonFrom(folder, "special_tokens_map.json") ?? {};
  const modelConfig = await readJsonFrom(folder, "config.json") ?? {};
  const json = await readJsonFrom(folder, "tokenizer.json", LIMIT) ?? await readOlderFiles(folder, builtIn);
  const config = json ? own : { ...builtIn.config, ...own };
  try {
    const core = json ? await loadJsonCore(json, config) : await builtIn.load();
    const settings = readSettings(core, config, specialTokens, modelConfig);
    return { core, settings, config, chatTemplates: await readChatTemplates(folder, config) };
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

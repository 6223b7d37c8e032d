/**
 * The two files of older model folders, vocab.json and merges.txt, in the form of tokenizer.json.
 * @module
 */

import type { FolderSource } from "../../io/file_source.ts";
import { type JsonObject, readJsonFrom } from "../../io/json.ts";
import { readAll } from "../../io/open_file.ts";
import { quote } from "../../io/relative_path.ts";
import type { BuiltInVocabulary } from "./core.ts";

/**
 * Reads them; undefined where they hold the built-in vocabulary.
 * @throws {Error} when the folder lacks one of them
 */
export async function readVocabAndMerges(
  folder: FolderSource,
  builtIn: BuiltInVocabulary,
  limit: { readonly maxBytes: number },
): Promise<JsonObject | undefined> {
  const vocab = await readJsonFrom(folder, "vocab.json", limit);
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
  return await builtIn.matches(vocab) ? undefined : byteLevelJson(vocab, text, builtIn.specialTokens);
}

/**
 * The tokenizer.json of a byte-level BPE folder that has the two older files.
 *
 * @param vocab the contents of vocab.json: token to id.
 * @param merges the text of merges.txt: one pair per line; a first line "#version" ignored.
 * @param special tokens that are never split.
 */
function byteLevelJson(vocab: JsonObject, merges: string, special: readonly string[]): JsonObject {
  const pairs = merges.split(/\r?\n/).filter((line, i) =>
    line !== "" && !(i === 0 && line.startsWith("#version"))
  );
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    added_tokens: special.filter((token) => Object.hasOwn(vocab, token)).map((content) => ({
      id: vocab[content],
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab, merges: pairs },
  };
}

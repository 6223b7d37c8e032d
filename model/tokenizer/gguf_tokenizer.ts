/**
 * The tokenizer in a GGUF file.
 *
 * @module
 */
import type { FileInput } from "../../io/file_source.ts";
import { openGguf } from "../../io/gguf_reader.ts";
import type { TokenizerParts } from "./files.ts";
import { ggufVocabulary } from "./gguf_vocabulary.ts";
import { loadJsonCore } from "./json.ts";
import { readSettings } from "./settings.ts";

/**
 * Reads the tokenizer of a GGUF file.
 *
 * @throws {GgufError} when the file is not valid, or its tokenizer is not of a known kind.
 */
export async function readGgufTokenizer(input: FileInput): Promise<TokenizerParts> {
  const file = await openGguf(input);
  try {
    const { json, config } = ggufVocabulary(file.metadata, file.name);
    const core = await loadJsonCore(json, config);
    const { chat_template: template } = config;
    const chatTemplates = new Map(typeof template === "string" ? [["default", template]] : []);
    return { core, settings: readSettings(core, config, {}, {}), config, chatTemplates };
  } finally {
    await file.close();
  }
}

/**
 * Tokenizers of GGUF files against transformers, tokenizers and sentencepiece.
 * @module
 */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GgufError, type GgufValue } from "../../../io/gguf_header.ts";
import { openGguf } from "../../../io/gguf_reader.ts";
import { memoryFolder } from "../../../io/open_file.ts";
import { AutoTokenizer } from "../../../model/mod.ts";
import { ggufVocabulary } from "../../../model/tokenizer/gguf_vocabulary.ts";

const FOLDER = new URL("../../fixtures/gguf/", import.meta.url).pathname;
const { cases }: { cases: { file: string; text: string; ids: number[]; decoded: string }[] } = JSON.parse(
  await Deno.readTextFile(`${FOLDER}expected.json`),
);

for (const file of new Set(cases.map((test) => test.file))) {
  Deno.test(`AutoTokenizer.fromPretrained("${file}") gives the reference's ids and texts`, async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(`${FOLDER}${file}`);
    const own = cases.filter((test) => test.file === file);
    assertEquals(own.length, file === "sentencepiece.gguf" ? 8 : 9);
    for (const { text, ids, decoded } of own) {
      assertEquals(tokenizer(text).inputIds[0], ids, JSON.stringify(text));
      assertEquals(tokenizer.decode(ids, { skipSpecialTokens: true }), decoded, JSON.stringify(text));
    }
    const bytes = await AutoTokenizer.fromPretrained(await Deno.readFile(`${FOLDER}${file}`));
    assertEquals(bytes("Ahoy").inputIds, tokenizer("Ahoy").inputIds);
    assertEquals(tokenizer.modelMaxLength, 512);
    const folder = memoryFolder();
    await tokenizer.savePretrained(folder);
    const again = await AutoTokenizer.fromPretrained(folder);
    for (const { text, ids } of own) assertEquals(again(text).inputIds[0], ids, JSON.stringify(text));
    if (file.startsWith("byte_level")) {
      assertEquals(again.applyChatTemplate([{ role: "user", content: "Ahoy" }], { tokenize: false }), "Ahoy");
    }
  });
}

Deno.test("ggufVocabulary() refuses what it cannot read, by name", async () => {
  await using file = await openGguf(`${FOLDER}byte_level_qwen2.gguf`);
  await using pieces = await openGguf(`${FOLDER}sentencepiece.gguf`);
  const changed = (entries: Record<string, GgufValue | undefined>, from = file) => {
    const metadata = new Map(from.metadata);
    for (const [key, value] of Object.entries(entries)) {
      if (value === undefined) metadata.delete(`tokenizer.${key}`);
      else metadata.set(`tokenizer.${key}`, value);
    }
    return () => ggufVocabulary(metadata, "m.gguf");
  };
  const cases: [() => unknown, string][] = [
    [changed({ "ggml.model": undefined }), "the file has no tokenizer"],
    [
      changed({ "ggml.model": "bert" }),
      'a byte-level ("gpt2") or SentencePiece ("llama") tokenizer is required, received "bert"',
    ],
    [changed({ "ggml.pre": "gpt-9" }), 'a pre-tokenizer of "default", "gpt-2", "smollm"'],
    [changed({ "ggml.pre": 3 }), "tokenizer.ggml.pre must be a string, received a number"],
    [changed({ "ggml.tokens": undefined }), "tokenizer.ggml.tokens must be a list of strings, received none"],
    [
      changed({ "ggml.merges": new Uint8Array(3) }),
      "tokenizer.ggml.merges must be a list of strings, received a list of 3",
    ],
    [changed({ "ggml.token_type": new Int32Array(3) }), "numbers, received a list of 3"],
    [changed({ "ggml.eos_token_id": 1e6 }), "tokenizer.ggml.eos_token_id must be an id below"],
    [changed({ "ggml.add_bos_token": "yes" }), "tokenizer.ggml.add_bos_token must be true or false"],
    [changed({ "ggml.scores": undefined }, pieces), "it has no scores"],
  ];
  for (const [run, message] of cases) assertThrows(run, GgufError, message);
  await assertRejects(() => AutoTokenizer.fromPretrained(new Uint8Array(40)), GgufError, "begins with");
});

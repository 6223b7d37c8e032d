/**
 * Base models that jobs may use, known by the hash of their files.
 * @module
 */

import type { CausalLM, Tokenizer } from "@peft/webgpu";
import { type FileInput, sha256Of } from "@peft/webgpu/io";
import type { StorageValues } from "./finetune/model_flags.ts";

/** Files of a model that decide what it computes: weights, configuration, tokenizer, template. */
const MODEL_FILE =
  /\.gguf$|^(?:model(?:-\d+-of-\d+)?\.safetensors|chat_template\.jinja)$|^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$/;
/** What a tokenizer is read from where there is no tokenizer.json. */
const VOCABULARY = /^(?:vocab\.json|merges\.txt|vocab\.txt)$/;

/** A base model that a worker has. */
export interface Base {
  /** As the user calls it. */
  readonly name: string;
  /** Hash of its files' contents, whatever they are called. */
  readonly hash: string;
  /** Reads its tokenizer. */
  loadTokenizer(): Promise<Tokenizer>;
  /** Loads its weights on to the device. */
  loadModel(storage: StorageValues): Promise<CausalLM>;
}

/** Of the names of a folder's files those that tell a model from others. */
export function baseFiles(names: readonly string[]): string[] {
  const isPart = names.includes("tokenizer.json") ? () => false : (name: string) => VOCABULARY.test(name);
  return names.filter((name) => MODEL_FILE.test(name) || isPart(name));
}

/** Hash of a model's files, in any order. @param onProgress told how many bytes of them were read */
export async function hashOfBase(
  files: readonly FileInput[],
  onProgress?: (bytes: number) => void,
): Promise<string> {
  const hashes: string[] = [];
  let before = 0;
  for (const file of files) {
    let read = 0;
    hashes.push(await sha256Of(file, (bytes) => onProgress?.(before + (read = bytes))));
    before += read;
  }
  return await sha256Of(new TextEncoder().encode(hashes.sort().join("\n")));
}

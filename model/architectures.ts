/**
 * Every architecture, by the `model_type` of its config.json. A new one is a folder and a line in `FAMILIES`.
 * @module
 */

import { GgufError } from "../io/gguf_header.ts";
import type { JsonObject } from "../io/json.ts";
import { quote } from "../io/relative_path.ts";
import type { Family } from "./family.ts";
import type { GgufMetadata } from "./gguf_layout.ts";
import { LLAMA } from "./llama/model.ts";
import { GPT2, type GPT2LMHeadModel } from "./gpt2/model.ts";

/** The architectures. */
const FAMILIES: readonly Family[] = [
  GPT2,
  LLAMA,
];

/** The class that `fromPretrained` is typed to return where the caller names no other. */
export type DefaultModel = GPT2LMHeadModel;

/** The architecture of a config.json. @throws {TypeError} naming an unknown one, and those that are known */
export function familyOf(json: Readonly<JsonObject>, families: readonly Family[] = FAMILIES): Family {
  const { model_type: type } = json;
  const family = families.find(({ modelTypes, readsUntyped }) =>
    type === undefined ? readsUntyped : modelTypes.some((known) => known === type)
  );
  if (family) return family;
  const known = families.flatMap(({ modelTypes }) => modelTypes).map((name) => `"${name}"`);
  throw new TypeError(
    `Cannot load the model: model_type must be ${known.length > 1 ? "one of " : ""}${
      known.join(", ")
    }, received ${type === undefined ? "none" : JSON.stringify(type)}`,
  );
}

/** The architecture of a GGUF file. @throws {GgufError} naming an unknown one, and those that are known */
export function familyOfGguf(metadata: GgufMetadata): Family {
  const { architecture, name } = metadata;
  const family = FAMILIES.find(({ gguf }) => gguf?.architectures.includes(architecture));
  if (family) return family;
  const known = FAMILIES.flatMap(({ gguf }) => gguf?.architectures ?? []).map((known) => `"${known}"`);
  throw new GgufError(
    `Cannot load ${quote(name)}: general.architecture must be one of ${known.join(", ")}, received ${
      quote(architecture)
    }`,
  );
}

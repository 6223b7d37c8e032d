/**
 * The architecture of a GGUF file.
 * @module
 */

import { GgufError } from "../io/gguf_header.ts";
import { quote } from "../io/relative_path.ts";
import { ARCHITECTURES } from "./architectures.ts";
import type { ModelConfig } from "./facts.ts";
import type { Family } from "./family.ts";
import type { GgufLayout, GgufMetadata } from "./gguf_layout.ts";

/** An architecture, and how GGUF files hold it. */
export interface GgufFamily {
  readonly family: Family;
  readonly layout: GgufLayout<ModelConfig>;
}

/** The architecture of a GGUF file. @throws {GgufError} naming an unknown one, and those that are known */
export async function familyOfGguf({ architecture, name }: GgufMetadata): Promise<GgufFamily> {
  const found = await Promise.all(ARCHITECTURES.map(async ({ load }) => {
    const family = await load();
    return { family, layout: await family.loadGguf?.() };
  }));
  const families = found.filter((each): each is GgufFamily => each.layout !== undefined);
  const chosen = families.find(({ layout }) => layout.architectures.includes(architecture));
  if (chosen) return chosen;
  const known = families.flatMap(({ layout }) => layout.architectures).map((known) => `"${known}"`);
  throw new GgufError(
    `Cannot load ${quote(name)}: general.architecture must be one of ${known.join(", ")}, received ${
      quote(architecture)
    }`,
  );
}

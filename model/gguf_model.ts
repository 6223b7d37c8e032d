/**
 * Models in GGUF files, of any architecture.
 * @module
 */

import { loadQuantizedFormats } from "../autograd/mod.ts";
import type { FileInput } from "../io/file_source.ts";
import { openGguf } from "../io/gguf_reader.ts";
import type { CausalLM } from "./causal_lm.ts";
import { type LoadOptions, loadWeights } from "./checkpoint.ts";
import { familyOfGguf } from "./gguf_architectures.ts";
import { GgufMetadata } from "./gguf_layout.ts";
import { GgufWeights } from "./gguf_weights.ts";

/**
 * Loads a GGUF file, in eval mode.
 * @throws {GgufError} for a file that is not valid, or of an architecture that is not known
 * @throws {TypeError} listing every missing, unexpected or mis-shaped tensor, before memory for any is allocated
 */
export async function loadGguf(input: FileInput, options: LoadOptions = {}): Promise<CausalLM> {
  await loadQuantizedFormats();
  const file = await openGguf(input);
  try {
    const metadata = new GgufMetadata(file);
    const { family, layout } = await familyOfGguf(metadata);
    const config = family.readConfig(await layout.readConfig(metadata));
    config.nameOrPath = file.name;
    return await loadWeights(family, config, new GgufWeights(file, layout, config), options);
  } finally {
    await file.close();
  }
}

/**
 * `@peft/webgpu/gguf`: files of llama.cpp. Models are written by `exportGguf` and read by
 * `AutoModelForCausalLM.fromPretrained("m.gguf")`, tokenizers by `AutoTokenizer.fromPretrained("m.gguf")`; adapters are
 * written by `peftModel.savePretrained(folder, { format: "gguf" })`.
 * @module
 */

export { GgufError } from "../io/gguf_header.ts";
export type { GgufOptions } from "../io/gguf_source.ts";
export {
  AutoModelForCausalLM,
  AutoTokenizer,
  exportGguf,
  type ExportGgufOptions,
  type GgufOutput,
} from "../model/mod.ts";

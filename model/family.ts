/**
 * What the library asks of an architecture. A folder holds each, and `architectures.ts` lists them.
 * @module
 */

import type { JsonObject } from "../io/json.ts";
import type { CausalLM, CausalLMOptions } from "./causal_lm.ts";
import type { ModelConfig } from "./facts.ts";
import type { GgufLayout } from "./gguf_layout.ts";
import type { ParameterSource } from "./parameter_source.ts";

/** An architecture, or several whose differences are data. */
export interface Family<
  Config extends ModelConfig = ModelConfig,
  Model extends CausalLM<Config> = CausalLM<Config>,
> {
  /** The configuration in config.json. @throws {TypeError} or {RangeError} for one that cannot be run */
  readConfig(json: Readonly<JsonObject>): Config;
  /** The module tree, with parameters from `source`; default random ones. */
  build(config: Config, options: CausalLMOptions, source?: ParameterSource): Model;
  /** Names that a checkpoint may have for the parameter at `path`, the usual one first. */
  fileNames(path: string): readonly string[];
  /** Whether a checkpoint may hold a tensor of this name that no parameter wants, such as a buffer. */
  ignores(name: string): boolean;
  /** How llama.cpp's files hold it; absent: GGUF files of it are refused. */
  loadGguf?(): Promise<GgufLayout<Config>>;
}

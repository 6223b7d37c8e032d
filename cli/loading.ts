/**
 * Loading models for commands.
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  PeftConfig,
  PeftModel,
  type Tokenizer,
} from "@peft/webgpu";
import { loadTuning, readTuning } from "@peft/webgpu/tuning";
import { type ModelValues, storageOf } from "../jobs/finetune/model_flags.ts";
import { isUserError } from "../jobs/user_errors.ts";
import { UsageError } from "./command.ts";
import { isGgufName } from "./model_files.ts";
import { LoadingLine } from "./loading_line.ts";

/** What the flags name. */
export interface Loaded {
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly base: CausalLM;
  /** Folder or hub id of the base. */
  readonly baseName: string;
}

/** Whether a folder holds a GGUF file where another has adapter_config.json. */
async function isGgufFolder(path: string): Promise<boolean> {
  try {
    const names = (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name);
    return names.some(isGgufName) && !names.includes("adapter_config.json");
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false; // a hub id, or nothing: said where it is read
  }
}

/** The base model: `--model`, else what the adapter's configuration names. @throws {UsageError} if neither says it */
export async function baseName(command: string, { model, adapter }: ModelValues): Promise<string> {
  if (model !== undefined) return model;
  if (adapter === undefined) throw new UsageError(`Cannot run ${command}: --model or --adapter is required`);
  const isGguf = isGgufName(adapter) || await isGgufFolder(adapter);
  const baseModelNameOrPath = isGguf ? null : (await PeftConfig.fromPretrained(adapter)).baseModelNameOrPath;
  if (baseModelNameOrPath) return baseModelNameOrPath;
  throw new UsageError(
    `Cannot run ${command}: --model is required, since the adapter "${adapter}" does not name its base model`,
  );
}

/** Loads the tokenizer of a base model. */
export async function loadTokenizer(
  name: string,
  values: Pick<ModelValues, "gguf-file">,
): Promise<Tokenizer> {
  using line = new LoadingLine();
  return await AutoTokenizer.fromPretrained(name, {
    ggufFile: values["gguf-file"],
    onProgress: line.show,
  });
}

/** Loads a base model alone. */
export const loadBase = async (values: ModelValues): Promise<CausalLM> =>
  (await load("finetune", { ...values, adapter: undefined })).base;

/** Tokens that end a text or an answer: those of generation_config.json or config.json, and the tokenizer's. */
export function endTokens(model: CausalLM, { eosTokenId }: Tokenizer): number[] {
  return [...new Set([...model.facts.eosTokenIds, ...eosTokenId === null ? [] : [eosTokenId]])];
}

/** Fails with the base that an adapter was trained on, where that is another than the one it does not fit. */
async function explainMisfit(error: unknown, adapter: string, name: string): Promise<never> {
  if (!isUserError(error) || isGgufName(adapter)) throw error;
  const own = await PeftConfig.fromPretrained(adapter).then(
    (config) => config.baseModelNameOrPath,
    () => null,
  );
  if (!own || own === name) throw error;
  throw new UsageError(`${error.message}; the adapter "${adapter}" was trained on "${own}"`, {
    cause: error,
  });
}

/** Loads a model and its adapter, and the kernel picks that `./run tune` kept for this adapter. */
export async function load(command: string, values: ModelValues): Promise<Loaded> {
  const name = await baseName(command, values);
  using line = new LoadingLine();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(name, {
    ...storageOf(values),
    ggufFile: values["gguf-file"],
    onProgress: line.show,
  }).catch((error) => {
    if (values.model !== undefined || !isUserError(error) || error.name === "NotCapable") throw error;
    throw new UsageError(
      `${error.message}; the adapter "${values.adapter}" names this base: --model gives another place`,
      { cause: error },
    );
  });
  const [{ device }] = base.parameters();
  loadTuning(device, await readTuning(device.adapterName));
  const { adapter } = values;
  const model = adapter
    ? await PeftModel.fromPretrained(base, adapter).catch((error) => explainMisfit(error, adapter, name))
    : base;
  return { base, model, baseName: name };
}

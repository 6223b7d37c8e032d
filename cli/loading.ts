/**
 * Loading models for commands.
 * @module
 */

import {
  AutoModelForCausalLM,
  type GPT2LMHeadModel,
  loadTuning,
  PeftModel,
  readTuning,
  type WeightDType,
} from "@peft/webgpu";

/** Flags of every command that loads a model. */
export const MODEL_FLAGS = {
  model: {
    type: "text",
    required: true,
    help: "Model folder in Hugging Face's layout, or a hub id such as gpt2",
  },
  adapter: { type: "text", help: "Adapter folder (adapter_config.json and adapter_model.safetensors)" },
  dtype: {
    type: "text",
    default: "float32",
    choices: ["float32", "float16"],
    help: "Storage of the base weights on the device",
  },
} as const;

/** What the flags name. */
export interface Loaded {
  readonly model: GPT2LMHeadModel | PeftModel<GPT2LMHeadModel>;
  readonly base: GPT2LMHeadModel;
}

/** Loads a model and its adapter, and the kernel picks that `deno task tune` kept for this adapter, if any. */
export async function load(
  values: { readonly model: string; readonly adapter: string | undefined; readonly dtype: string },
): Promise<Loaded> {
  const base = await AutoModelForCausalLM.fromPretrained(values.model, {
    dtype: values.dtype as WeightDType,
  });
  const [{ device }] = base.parameters();
  loadTuning(device, await readTuning(device.adapterName));
  const model = values.adapter ? await PeftModel.fromPretrained(base, values.adapter) : base;
  return { base, model };
}

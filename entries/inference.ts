/**
 * What a page needs that answers with a model and its adapters: the browser bundle `inference.js`.
 * @module
 */

export { noGrad, setSeed, Tensor, tidy, VERSION } from "../autograd/mod.ts";
export {
  Device,
  DeviceLostError,
  GpuError,
  initDevice,
  NoAdapterError,
  OutOfDeviceMemoryError,
} from "../gpu/mod.ts";
export { memoryFolder, urlFolder } from "../io/open_file.ts";
export { AutoModelForCausalLM } from "../model/auto.ts";
export { TextStreamer } from "../model/generation/text_streamer.ts";
export { AutoTokenizer } from "../model/tokenizer/auto.ts";
export { LoraConfig } from "../peft/lora/lora_config.ts";
export { PeftModel } from "../peft/peft_model.ts";

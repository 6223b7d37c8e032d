/**
 * What pages do first with `inference.js`: run in Chromium, and in Deno on the whole library. A page that does no more than one
 * of these needs nothing but the first files.
 * @module
 */

const PROMPT = "Once upon a time";

/** Answers with a LoRA adapter: the most likely tokens. */
export async function greedy({ AutoModelForCausalLM, AutoTokenizer, PeftModel }, at) {
  const tokenizer = await AutoTokenizer.fromPretrained(at("model"));
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const model = await PeftModel.fromPretrained(base, at("lora"));
  const [ids] = await model.generate(PROMPT, { tokenizer, maxNewTokens: 4 });
  model.dispose();
  return tokenizer.decode(ids);
}

/** Draws an answer, and shows it as it comes. */
export async function streamed({ AutoModelForCausalLM, AutoTokenizer, PeftModel, TextStreamer }, at) {
  const tokenizer = await AutoTokenizer.fromPretrained(at("model"));
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const model = await PeftModel.fromPretrained(base, at("lora"));
  let text = "";
  const streamer = new TextStreamer(tokenizer, { skipPrompt: true, onFinalizedText: (part) => text += part });
  const drawn = { doSample: true, temperature: 0.8, topK: 40, topP: 0.9, seed: 3 };
  await model.generate(PROMPT, { tokenizer, maxNewTokens: 4, streamer, ...drawn });
  model.dispose();
  return text;
}

/** Answers with a model of Llama's family, whose prompt is tokens. */
export async function llama({ AutoModelForCausalLM, PeftModel }, at) {
  const base = await AutoModelForCausalLM.fromPretrained(at("llama"));
  const model = await PeftModel.fromPretrained(base, at("llama_lora"));
  const [ids] = await model.generate([[1, 2, 3, 4, 5]], { maxNewTokens: 3, eosTokenId: null });
  model.dispose();
  return ids;
}

/** Answers with and without an adapter, one right after the other, with calls that cannot wait. */
export async function compared({ AutoModelForCausalLM, PeftModel }, at) {
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const model = await PeftModel.fromPretrained(base, at("lora"));
  const answer = (answering) => answering.generate([[1, 2, 3]], { maxNewTokens: 3 });
  const on = await answer(model);
  const off = await model.disableAdapter(() => answer(model));
  model.setAdapter("default");
  const names = [...model.activeAdapters, ...Object.keys(model.peftConfig)];
  const plain = await answer(model.unload());
  return { on, off, names, plain };
}

/** Refuses an adapter of another shape, and takes the model's layers back: the model answers as before, and takes another. */
export async function refused({ AutoModelForCausalLM, PeftModel }, at) {
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  let message = "";
  try {
    await PeftModel.fromPretrained(base, at("misshapen"));
  } catch (error) {
    message = error.message.replace(/"[^"]*(?=misshapen)/, '"');
  }
  const alone = await base.generate([[1, 2, 3]], { maxNewTokens: 3 });
  const model = await PeftModel.fromPretrained(base, at("lora"));
  const tokens = await model.generate([[1, 2, 3]], { maxNewTokens: 3 });
  model.dispose();
  return { message, alone, tokens };
}

/** Answers a long prompt on an adapter that says of itself what `info` says: the same one runs another's programs. */
async function answerOn(info, { AutoModelForCausalLM, Device, PeftModel }, at) {
  const adapter = await navigator.gpu.requestAdapter();
  Object.defineProperty(adapter, "info", { value: info });
  const device = await Device.create({ adapter });
  const base = await AutoModelForCausalLM.fromPretrained(at("model"), { device });
  const model = await PeftModel.fromPretrained(base, at("lora"));
  const prompt = Array.from({ length: 90 }, (_, i) => i % 50);
  const [ids] = await model.generate([prompt], { maxNewTokens: 3, eosTokenId: null });
  device.gpuDevice.destroy();
  return ids;
}

/** Answers with the programs for hardware. */
export const hardware = (lib, at) => answerOn({ vendor: "hardware", isFallbackAdapter: false }, lib, at);

/** Answers with the programs for software whose threads hand nothing on. */
export const withoutSubgroups = (lib, at) =>
  answerOn({ description: "SwiftShader", isFallbackAdapter: true }, lib, at);

/** Answers with the programs for the adapter that runs the test. */
export async function longPrompt(lib, at) {
  const { info } = await navigator.gpu.requestAdapter();
  return await answerOn(info, lib, at);
}

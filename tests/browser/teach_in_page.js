/**
 * What the README teaches, in a page: a model and tokenizer from a URL, training, an adapter saved into memory, loaded
 * again and merged. Run by the browser test.
 * @module
 */

/**
 * @param {object} lib the public names of the library
 * @param {URL} address folder of the demo's model on the page's server
 * @returns {Promise<object>} what happened, as JSON
 */
export async function teachInPage(lib, address) {
  const tokenizer = await lib.AutoTokenizer.fromPretrained(address);
  const model = await lib.AutoModelForCausalLM.fromPretrained(address);
  const peftModel = lib.getPeftModel(model, new lib.LoraConfig({ r: 4, targetModules: ["c_attn"] }));
  const texts = Array.from(
    { length: 4 },
    (_, i) => `Ahoy, mateys! Hear the tale of Captain Pip number ${i}.`,
  );
  const trainDataset = lib.TextDataset.fromTexts(texts, tokenizer, { blockSize: 16 });
  const lines = [];
  const { log } = console;
  console.log = (line) => lines.push(line);
  const trainer = new lib.Trainer({
    model: peftModel,
    args: { maxSteps: 2, perDeviceTrainBatchSize: 2, learningRate: 1e-2, loggingSteps: 1 },
    trainDataset,
  });
  const { globalStep } = await trainer.train();
  console.log = log;
  const folder = lib.memoryFolder();
  await peftModel.savePretrained(folder);
  const fresh = await lib.AutoModelForCausalLM.fromPretrained(address);
  const loaded = await lib.PeftModel.fromPretrained(fresh, folder);
  const inputs = tokenizer("Ahoy");
  const [first] = await loaded.generate(inputs, { maxNewTokens: 4 });
  const merged = await loaded.mergeAndUnload();
  const [second] = await merged.generate(inputs, { maxNewTokens: 4 });
  const gpt2 = await lib.AutoTokenizer.fromPretrained("gpt2");
  const withoutFiles = await lib.AutoModelForCausalLM.fromPretrained("gpt2").catch((error) => error.message);
  return {
    globalStep,
    lines: lines.length,
    files: [...folder.files.keys()].sort(),
    text: tokenizer.decode(first),
    merged: tokenizer.decode(second),
    gpt2: gpt2.encode("Hello, PEFT!"),
    withoutFiles,
  };
}

/**
 * What pages do with the bundles by area: run by the browser test in Chromium, and in Deno on the whole library.
 * @module
 */

const PROMPT = "Once upon a time";

/** Scripts that a page has fetched. Nothing in Deno. */
const scripts = () =>
  performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname.slice(1));

/**
 * Answers with a LoRA adapter, then with what is loaded on first use.
 * @param {object} lib what `inference.js` exports
 * @param {(name: string) => URL | string} at the place of a folder or file
 */
export async function answer(lib, at) {
  const { AutoModelForCausalLM, AutoTokenizer, PeftModel } = lib;
  const tokenizer = await AutoTokenizer.fromPretrained(at("model"));
  const tokensOf = async (model, prompt = PROMPT) =>
    (await model.generate(prompt, { tokenizer, maxNewTokens: 4 }))[0];
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const lora = await PeftModel.fromPretrained(base, at("lora"));
  const tokens = { lora: await tokensOf(lora) };
  const first = scripts();

  const [beams] = await lora.generate(PROMPT, { tokenizer, maxNewTokens: 3, numBeams: 2 });
  tokens.beams = beams;
  await lora.loadAdapter(at("dora"), "dora");
  await lora.loadAdapter(at("lora"), "second");
  tokens.mixed = await lora.generate([[1, 2], [1, 2]], {
    maxNewTokens: 2,
    adapterNames: ["second", "__base__"],
  });
  lora.setAdapter("dora", { inferenceMode: true });
  tokens.dora = await tokensOf(lora);
  await lora.mergeAdapter();
  tokens.merged = await tokensOf(lora);
  const saved = lib.memoryFolder();
  lora.unmergeAdapter();
  await lora.savePretrained(saved);
  const ia3 = await PeftModel.fromPretrained(lora.unload(), at("ia3"));
  tokens.ia3 = await tokensOf(ia3);
  ia3.dispose();

  const gguf = await AutoModelForCausalLM.fromPretrained(at("model.gguf"));
  tokens.gguf = await tokensOf(gguf);
  const { logits } = lib.noGrad(() => gguf.forward({ inputIds: [[1, 2, 3]] }));
  let refused = "";
  try {
    lib.Tensor.from([1], { requiresGrad: true }).backward();
  } catch (error) {
    refused = error.message;
  }
  return {
    first,
    later: scripts(),
    tokens,
    shape: [...logits.shape],
    refused,
    saved: [...saved.files.keys()],
  };
}

/**
 * Answers with a LoRA adapter for a model of Llama's family.
 * @param {object} lib what `inference.js` exports
 */
export async function answerLlama(lib, at) {
  const base = await lib.AutoModelForCausalLM.fromPretrained(at("llama"));
  const model = await lib.PeftModel.fromPretrained(base, at("llama_lora"));
  const [tokens] = await model.generate([[1, 2, 3, 4, 5]], { maxNewTokens: 3, eosTokenId: null });
  return { first: scripts(), tokens };
}

/**
 * Calls that cannot wait: one before the first answer, and all of them after it.
 * @param {object} lib what `inference.js` exports
 */
export async function callsThatCannotWait(lib, at) {
  const { AutoModelForCausalLM, AutoTokenizer, PeftModel } = lib;
  const tokenizer = await AutoTokenizer.fromPretrained(at("model"));
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const model = await PeftModel.fromPretrained(base, at("lora"));
  const prompt = [[1, 2, 3]];
  let early = "";
  const forward = () => lib.noGrad(() => model.forward({ inputIds: prompt }));
  try {
    forward().logits.dispose();
  } catch (error) {
    early = error.message;
  }
  const on = await model.generate(prompt, { maxNewTokens: 2 });
  await new Promise((done) => setTimeout(done, 1000));
  const { logits } = forward();
  const first = (await logits.data()).slice(0, 4).map((value) => Math.round(value * 100));
  model.setAdapter("default");
  tokenizer.padToken = tokenizer.eosToken;
  const result = {
    early,
    on,
    first: [...first],
    active: [...model.activeAdapters],
    batch: tokenizer(["One", "Once upon a time"], { padding: true, truncation: true, maxLength: 3 }),
    piece: lib.Tensor.from([[1, 2], [3, 4]]).shape,
    config: new lib.LoraConfig({ r: 4, targetModules: ["c_attn"] }).toJSON().r,
  };
  model.unload();
  return { ...result, plain: await base.generate(prompt, { maxNewTokens: 2 }) };
}

/**
 * Answers in other ways than a page does first: float16 weights, a long prompt, padded rows, sampling, a stream, chats.
 * @param {object} lib what `inference.js` exports
 * @param {() => Promise<unknown>} chats loads what a chat template needs that is given to a tokenizer without one
 * @param {() => Promise<object>} models loads what `inference_models.js` exports
 */
export async function answerOtherwise(lib, at, chats, models) {
  const { AutoModelForCausalLM, AutoTokenizer, PeftModel, TextStreamer } = lib;
  const messages = [{ role: "user", content: "Ahoy, matey!" }];
  const template = "{{ messages[0].content }}!";
  const tokenizer = await AutoTokenizer.fromPretrained(at("model"));
  let refused = "";
  try {
    tokenizer.chatTemplate = template;
  } catch (error) {
    refused = error.message;
  }
  const first = scripts();
  const chatting = await AutoTokenizer.fromPretrained(at("chat"));
  const chat = [chatting.applyChatTemplate(messages, { tokenize: false })];
  await chats();
  const given = await AutoTokenizer.fromPretrained(at("model"));
  given.chatTemplate = template;
  chat.push(given.applyChatTemplate(messages, { tokenize: false }));

  const base = await AutoModelForCausalLM.fromPretrained(at("model"), { dtype: "float16" });
  const lora = await PeftModel.fromPretrained(base, at("lora"));
  const options = { tokenizer, maxNewTokens: 3 };
  const long = Array.from({ length: 120 }, (_, i) => (7 * i) % 700 + 1);
  const llama = await AutoModelForCausalLM.fromPretrained(at("llama"));
  const tokens = {
    long: await lora.generate([long], { maxNewTokens: 3 }),
    padded: await lora.generate([PROMPT, "One"], options),
    sampled: await lora.generate(PROMPT, { ...options, doSample: true, topK: 5, temperature: 0.7, seed: 3 }),
    banned: await lora.generate(PROMPT, { ...options, noRepeatNgramSize: 2, repetitionPenalty: 1.2 }),
    llamaPadded: await llama.generate(
      { inputIds: [[0, 0, 5, 6], [1, 2, 3, 4]], attentionMask: [[0, 0, 1, 1], [1, 1, 1, 1]] },
      { maxNewTokens: 3, eosTokenId: null },
    ),
    llamaLong: await llama.generate([long.slice(0, 60).map((id) => id % 60)], {
      maxNewTokens: 3,
      eosTokenId: null,
    }),
  };
  let streamed = "";
  const onFinalizedText = (text) => streamed += text;
  await lora.generate(PROMPT, { ...options, streamer: new TextStreamer(tokenizer, { onFinalizedText }) });
  await lora.mergeAdapter();
  tokens.merged = await lora.generate(PROMPT, options);
  const { GPT2LMHeadModel } = await models();
  const { logits } = lora.forward({ inputIds: [[1, 2, 3]], positionIds: [[0, 1, 0]] });
  const isGpt2 = base instanceof GPT2LMHeadModel;
  return { first, later: scripts(), refused, chat, tokens, streamed, isGpt2, shape: [...logits.shape] };
}

/**
 * Trains a LoRA with the Trainer and answers with it, then trains another method, which is loaded on first use.
 * @param {object} lib what `training.js` exports
 * @param {() => Promise<object>} adapters loads what `training_adapters.js` exports
 */
export async function train(lib, at, adapters) {
  const tokenizer = await lib.AutoTokenizer.fromPretrained(at("model"));
  const base = await lib.AutoModelForCausalLM.fromPretrained(at("model"));
  const texts = ["Ahoy, matey!", "Arr, the sea be calm.", "Ahoy, the treasure be ours!"];
  const trainDataset = lib.TextDataset.fromTexts(texts, tokenizer, { blockSize: 8 });
  const lossesOf = async (model) => {
    const args = { maxSteps: 3, learningRate: 0.05, loggingSteps: 1, reportTo: "none" };
    const trainer = new lib.Trainer({ model, trainDataset, args });
    await trainer.train();
    return trainer.state.logHistory.flatMap(({ loss }) => loss ?? []);
  };
  const model = lib.getPeftModel(base, new lib.LoraConfig({ r: 4, targetModules: ["c_attn"] }));
  const lora = await lossesOf(model);
  const [tokens] = await model.eval().generate(PROMPT, { tokenizer, maxNewTokens: 3 });
  const first = scripts();
  const { IA3Config } = await adapters();
  const ia3 = lib.getPeftModel(
    model.unload(),
    new IA3Config({ targetModules: ["c_attn"], feedforwardModules: [] }),
  );
  return { first, later: scripts(), losses: { lora, ia3: await lossesOf(ia3) }, tokens };
}

/**
 * Trains an adapter of Llama's family that lies in a folder with settings of which a first training has none, and writes it.
 * @param {object} lib what `training.js` exports
 * @param {() => Promise<object>} adapters loads what `training_adapters.js` exports
 */
export async function trainOtherwise(lib, at, adapters) {
  const rows = [[1, 5, 9, 2, 6], [3, 7, 11, 4, 8]];
  const dataset = { length: 2, at: (i) => ({ inputIds: rows[i], labels: rows[i] }) };
  const llama = await lib.AutoModelForCausalLM.fromPretrained(at("llama"));
  const model = await lib.PeftModel.fromPretrained(llama, at("llama_lora"), { isTrainable: true });
  const args = {
    ...{
      maxSteps: 2,
      learningRate: 0.05,
      loggingSteps: 1,
      reportTo: "none",
      fp16: true,
      neftuneNoiseAlpha: 5,
    },
    ...{
      loraplusLrRatio: 4,
      lrSchedulerType: "cosine",
      gradientCheckpointing: true,
      lossWatchdogThreshold: 50,
    },
    ...{ evalStrategy: "steps", evalSteps: 1, metricForBestModel: "evalLoss", optim: "lion" },
  };
  const trainer = new lib.Trainer({ model, trainDataset: dataset, evalDataset: dataset, args });
  await trainer.train();
  const { logHistory, bestGlobalStep } = trainer.state;
  const losses = logHistory.flatMap(({ loss, evalLoss }) => loss ?? evalLoss ?? []);
  const folder = lib.memoryFolder();
  await trainer.saveModel(folder);
  const again = await lib.PeftModel.fromPretrained(model.unload(), folder);
  const options = { maxNewTokens: 3, eosTokenId: null };
  const tokens = [await again.generate([rows[0]], options)];
  const { getPeftModelStateDict, setPeftModelStateDict } = await adapters();
  await setPeftModelStateDict(again, getPeftModelStateDict(again));
  await again.mergeAdapter({ safeMerge: true });
  tokens.push(await again.generate([rows[0]], options));
  const config = await lib.PeftConfig.fromPretrained(folder);
  return { losses, bestGlobalStep, tokens, saved: [...folder.files.keys()], r: config.r };
}

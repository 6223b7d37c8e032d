/**
 * What a page does first with `inference.js` that needs more than its first files: calls begin again in the midst of their work.
 * Run in Chromium, each on a bundle of which nothing else is loaded, and in Deno on the whole library.
 * @module
 */

/** A streamer that keeps what it is given. */
function recorder() {
  const shown = [];
  return {
    shown,
    begin: (prompts) => shown.push(structuredClone(prompts)),
    put: (tokens) => shown.push([...tokens]),
    end: () => shown.push("end"),
  };
}

/** Answers with one adapter, then without: what the page is shown, and the model's own answer. */
const withAdapter = (name) => async ({ AutoModelForCausalLM, PeftModel }, at) => {
  const base = await AutoModelForCausalLM.fromPretrained(at("model"));
  const model = await PeftModel.fromPretrained(base, at(name));
  const streamer = recorder();
  const tokens = await model.generate([[1, 2, 3]], { maxNewTokens: 3, streamer });
  await new Promise((done) => setTimeout(done, 500)); // the file of what cannot wait comes after the first answer
  model.unload();
  return { tokens, shown: streamer.shown, alone: await base.generate([[1, 2, 3]], { maxNewTokens: 3 }) };
};

/** Answers with options, and what the page is shown. */
const withOptions = (inputs, options) => async ({ AutoModelForCausalLM }, at) => {
  const model = await AutoModelForCausalLM.fromPretrained(at("model"));
  const streamer = recorder();
  const tokens = await model.generate(inputs, { maxNewTokens: 4, streamer, ...options });
  const memory = model.device.memory.liveBytes;
  await model.generate(inputs, { maxNewTokens: 4, ...options });
  return { tokens, shown: streamer.shown, held: model.device.memory.liveBytes - memory };
};

/** Adds an adapter once the file beside the first is there, and reads what it says of itself. */
async function added({ AutoModelForCausalLM, LoraConfig, PeftModel }, at, beside) {
  await beside("adapters");
  const model = await PeftModel.fromPretrained(
    await AutoModelForCausalLM.fromPretrained(at("model")),
    at("lora"),
  );
  model.addAdapter("new", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
  model.setAdapter(["default", "new"]);
  return {
    active: [...model.activeAdapters],
    tokens: await model.generate([[1, 2, 3]], { maxNewTokens: 3 }),
  };
}

/** Gives `forward` positions of the page's own. */
async function positions({ AutoModelForCausalLM, noGrad }, at, beside) {
  await beside("models");
  const model = await AutoModelForCausalLM.fromPretrained(at("model"));
  return noGrad(() => model.forward({ inputIds: [[1, 2, 3]], positionIds: [[0, 1, 0]] })).logits.shape;
}

/** Streams two rows, which a text streamer refuses. */
async function refused({ AutoModelForCausalLM, AutoTokenizer, TextStreamer }, at) {
  const streamer = new TextStreamer(await AutoTokenizer.fromPretrained(at("model")), {
    onFinalizedText() {},
  });
  const model = await AutoModelForCausalLM.fromPretrained(at("model"));
  return await model.generate([[1], [2]], { streamer }).catch(({ message }) => message);
}

/** The pages by name; each is given what the bundle exports, the places of folders, and what loads a file beside the first. */
export const FIRST = {
  added,
  positions,
  refused,
  bias: withAdapter("bias"),
  dora: withAdapter("dora"),
  ia3: withAdapter("ia3"),
  padded: withOptions(
    { inputIds: [[0, 0, 5], [1, 2, 3]], attentionMask: [[0, 0, 1], [1, 1, 1]] },
    { eosTokenId: null },
  ),
  withoutCache: withOptions([[1, 2, 3]], { useCache: false }),
  banned: withOptions([[1, 2, 3]], { suppressTokens: [5], badWordsIds: [[14, 221]], noRepeatNgramSize: 2 }),
};

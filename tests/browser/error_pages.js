/**
 * Calls with wrong arguments: what their errors say in a page, and in Deno on the whole library.
 * @module
 */

/** A file's bytes. */
async function read(place) {
  if (typeof Deno !== "undefined") return await Deno.readFile(place);
  return new Uint8Array(await (await fetch(place)).arrayBuffer());
}

/** A folder in memory with a model or adapter of a folder, of which `changes` gives other files; null: there is none. */
async function folderWith(lib, place, changes) {
  const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
  const files = /lora/.test(String(place)) ? ["adapter_config.json", "adapter_model.safetensors"] : names;
  const entries = [];
  for (const name of files) entries.push([name, await read(`${place}/${name}`)]);
  const all = { ...Object.fromEntries(entries), ...changes };
  const given = Object.entries(all).filter(([, file]) => file !== null);
  return lib.memoryFolder(Object.fromEntries(given), "a folder");
}

const encode = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

/** A safetensors file of a header and so many bytes of data. */
function safetensors(header, length) {
  const json = encode(header);
  const bytes = new Uint8Array(8 + json.length + length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

/** A file of JSON with other values. */
async function changed(place, values) {
  return encode({ ...JSON.parse(new TextDecoder().decode(await read(place))), ...values });
}

const loadModel = async (lib, at, changes, options) =>
  await lib.AutoModelForCausalLM.fromPretrained(await folderWith(lib, at("model"), changes), options);
const loadAdapter = async (lib, at, changes) =>
  await lib.PeftModel.fromPretrained(await loadModel(lib, at), await folderWith(lib, at("lora"), changes));
const generate = async (lib, at, inputs, options) =>
  await (await loadModel(lib, at)).generate(inputs, options);
const withTokenizer = async (lib, at, options) => {
  const tokenizer = await lib.AutoTokenizer.fromPretrained(await folderWith(lib, at("model")));
  return { tokenizer, maxNewTokens: 2, ...options };
};

/** Calls that fail with `await`, by what is wrong: each is given what a bundle exports and the places of folders. */
export const FAILING = {
  option: (lib, at) => loadModel(lib, at, {}, { dtyp: "float16" }),
  dtype: (lib, at) => loadModel(lib, at, {}, { dtype: "float8" }),
  noConfig: (lib, at) => loadModel(lib, at, { "config.json": null }),
  noJson: (lib, at) => loadModel(lib, at, { "config.json": encode("{") }),
  nested: (lib, at) => loadModel(lib, at, { "config.json": encode("[".repeat(3000) + "]".repeat(3000)) }),
  architecture: (lib, at) => loadModel(lib, at, { "config.json": encode({ model_type: "unheard" }) }),
  sizes: async (lib, at) =>
    await loadModel(lib, at, { "config.json": await changed(`${at("model")}/config.json`, { n_inner: 64 }) }),
  weights: (lib, at) => loadModel(lib, at, { "model.safetensors": encode("version https://git-lfs") }),
  header: (lib, at) => loadModel(lib, at, { "model.safetensors": safetensors("{", 0) }),
  twice: (lib, at) =>
    loadModel(lib, at, { "model.safetensors": safetensors('{"a": {"dtype": "F32", "dtype": "F32"}}', 0) }),
  offsets: (lib, at) =>
    loadModel(lib, at, {
      "model.safetensors": safetensors({ a: { dtype: "F32", shape: [2], data_offsets: [0, 4] } }, 4),
    }),
  vocabulary: async (lib, at) =>
    await lib.AutoTokenizer.fromPretrained(
      await folderWith(lib, at("model"), { "tokenizer.json": encode("[]") }),
    ),
  tokenizer: async (lib, at) =>
    await lib.AutoTokenizer.fromPretrained(
      await folderWith(lib, at("model"), { "tokenizer.json": encode("{}") }),
    ),
  setting: (lib, at) => generate(lib, at, [[1]], { max_new_tokens: 2 }),
  length: (lib, at) => generate(lib, at, [[1]], { maxNewTokens: -1 }),
  rows: (lib, at) => generate(lib, at, [], { maxNewTokens: 1 }),
  id: (lib, at) => generate(lib, at, [[5000]], { maxNewTokens: 1 }),
  prompt: (lib, at) => generate(lib, at, "Once", { maxNewTokens: 1 }),
  temperature: async (lib, at) =>
    await generate(lib, at, "Once", await withTokenizer(lib, at, { doSample: true, temperature: -1 })),
  noAdapter: (lib, at) => loadAdapter(lib, at, { "adapter_config.json": null }),
  method: (lib, at) => loadAdapter(lib, at, { "adapter_config.json": encode({ peft_type: "UNHEARD" }) }),
  rank: async (lib, at) =>
    await loadAdapter(lib, at, {
      "adapter_config.json": await changed(`${at("lora")}/adapter_config.json`, { r: 0 }),
    }),
  otherRank: async (lib, at) =>
    await loadAdapter(lib, at, {
      "adapter_config.json": await changed(`${at("lora")}/adapter_config.json`, { r: 3 }),
    }),
  otherBase: async (lib, at) => {
    const adapter = await folderWith(lib, at("llama_lora"));
    return await lib.PeftModel.fromPretrained(await loadModel(lib, at), adapter);
  },
  name: async (lib, at) => await (await loadAdapter(lib, at)).loadAdapter(at("lora"), "a.b"),
  target: async (lib, at) => await (await loadAdapter(lib, at)).savePretrained(3),
  disposed: async (lib, at) => {
    await loadModel(lib, at); // and with it a device
    const tensor = lib.Tensor.from([1, 2]);
    tensor.dispose();
    return await tensor.data();
  },
};

/** A call whose server does not answer as it should: what it says does not depend on other files. */
export async function noServer(lib) {
  const fetch = () => Promise.resolve(new Response("", { status: 503 }));
  await lib.AutoModelForCausalLM.fromPretrained(lib.urlFolder("http://127.0.0.1/model", { fetch }));
}

/** The same for training. */
export const FAILING_TRAINING = {
  evaluation: async (lib, at) => await (await trainer(lib, at)).evaluate(),
  checkpoint: async (lib, at) => await (await trainer(lib, at)).train({ resumeFromCheckpoint: true }),
  labels: async (lib, at) => {
    const dataset = { length: 1, at: () => ({ inputIds: [1, 2], labels: [1] }) };
    return await (await trainer(lib, at, dataset)).train();
  },
  id: async (lib, at) => {
    const dataset = { length: 1, at: () => ({ inputIds: [1, 9000], labels: [1, 9000] }) };
    return await (await trainer(lib, at, dataset)).train();
  },
};

async function trainer(lib, at, dataset) {
  const base = await loadModel(lib, at);
  const model = lib.getPeftModel(base, new lib.LoraConfig({ r: 2, targetModules: ["c_attn"] }));
  const trainDataset = dataset ?? { length: 1, at: () => ({ inputIds: [1, 2], labels: [1, 2] }) };
  return new lib.Trainer({ model, trainDataset, args: { maxSteps: 1, reportTo: "none" } });
}

/** The error of a call. */
async function failureOf(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("the call did not fail");
}

/** What the errors of calls say, by their names; `libOf` gives each a bundle of its own, whose texts are not loaded yet. */
export async function failures(calls, libOf, at) {
  const found = {};
  for (const [name, call] of Object.entries(calls)) {
    const error = await failureOf(async () => await call(await libOf(name), at));
    found[name] = `${error.name}: ${error.message}`;
  }
  return found;
}

/** Calls that fail at once: each is given what it needs and makes. */
export const FAILING_AT_ONCE = {
  padding: async (lib, at) => {
    const tokenizer = await lib.AutoTokenizer.fromPretrained(await folderWith(lib, at("model")));
    return () => tokenizer(["one", "one two three"], { padding: true });
  },
  configuration: (lib) => () => new lib.LoraConfig({ r: 2, targetModule: ["c_attn"] }),
  adapter: async (lib, at) => {
    const model = await loadAdapter(lib, at);
    return () => model.setAdapter("unheard");
  },
  inputs: async (lib, at) => {
    const model = await loadModel(lib, at);
    return () => model.forward({ inputIds: [[1, 5000]] });
  },
};

/**
 * What errors that are thrown at once say first, and once the file of their texts was asked for, at most `timeoutMs` later.
 * @returns {Promise<{ first: Record<string, string>, later: Record<string, { message: string, isInStack: boolean }> }>}
 */
export async function failuresAtOnce(calls, libOf, at, timeoutMs) {
  const first = {};
  const later = {};
  for (const [name, make] of Object.entries(calls)) {
    const call = await make(await libOf(name), at);
    const error = await failureOf(call);
    first[name] = error.message;
    const end = performance.now() + timeoutMs;
    while (error.message === first[name] && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    later[name] = { message: error.message, isInStack: error.stack.includes(error.message) };
  }
  return { first, later };
}

/**
 * `./run serve` under 64 clients for a minute, asked by the official client, beside llama.cpp under the same load:
 * SmolLM2, questions through the base and two adapters. Every greedy answer must be the one that the model
 * gives alone, every sampled one that of its seed; the device's bytes and the process's memory must not grow.
 * Run: deno run -A bench/serve_bench.ts MODEL.gguf [SECONDS] [CLIENTS] [DTYPE]
 * @module
 */

import OpenAI from "openai";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  getPeftModel,
  LoraConfig,
  type WeightDType,
} from "@peft/webgpu";
import { fetchLlamaCpp } from "../tools/fetch_llama_cpp.ts";
import { type Answered, describeLoad, keepAsking, QUESTIONS } from "./serve_load.ts";

const [path, seconds = "60", clients = "64", dtype = "float16"] = Deno.args;
if (path === undefined) throw new Error("Cannot run the bench: the path of SmolLM2's GGUF file is required");
const TOKENS = 24;
const ADAPTERS = [null, "one", "two"] as const;
const folder = await Deno.makeTempDir();

/** Writes two adapters, and gives the greedy answer of each question through each, alone. */
async function prepare(): Promise<Map<string, string>> {
  const tokenizer = await AutoTokenizer.fromPretrained(path);
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(path, { dtype: dtype as WeightDType });
  const model = getPeftModel(base, new LoraConfig({ r: 8, targetModules: ["q_proj", "v_proj"] }), "one");
  model.addAdapter("two", new LoraConfig({ r: 16, targetModules: ["q_proj", "v_proj", "down_proj"] }));
  for (const name of ["one", "two"]) {
    model.setAdapter(name);
    let seed = name.length * 7 + name.charCodeAt(0);
    for (const [key, parameter] of model.namedParameters()) {
      if (!key.includes(`lora_B.${name}`)) continue;
      const values = new Float32Array(parameter.size);
      for (let i = 0; i < values.length; i++) {
        values[i] = ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31 - 0.5) * 0.3;
      }
      parameter.write(values);
    }
  }
  await model.savePretrained(folder);
  model.eval();
  const answers = new Map<string, string>();
  for (const question of QUESTIONS) {
    const prompt = tokenizer.applyChatTemplate([{ role: "user", content: question }], {
      addGenerationPrompt: true,
    });
    for (const adapter of ADAPTERS) {
      const ask = () =>
        model.generate([prompt], { maxNewTokens: TOKENS, eosTokenId: base.facts.eosTokenIds });
      if (adapter) model.setAdapter(adapter, { inferenceMode: true });
      const [ids] = adapter ? await ask() : await model.disableAdapter(ask);
      const end = ids.findIndex((id, at) => at >= prompt.length && base.facts.eosTokenIds.includes(id));
      answers.set(
        `${question} ${adapter}`,
        tokenizer.decode(ids.slice(prompt.length, end < 0 ? undefined : end), { skipSpecialTokens: true }),
      );
    }
  }
  model.dispose();
  return answers;
}

const expected = await prepare();
console.log(`${new Set(expected.values()).size} different answers of ${expected.size}`);

const server = new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "-A",
    "--no-check",
    "cli/main.ts",
    "serve",
    "--model",
    path,
    "--dtype",
    dtype,
    "--served-model-name",
    "base",
    "--adapters",
    folder,
    "--port",
    "0",
    "--max-rows",
    clients,
  ],
  stdout: "piped",
  stderr: "inherit",
}).spawn();
let url = "";
const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
for (let text = ""; url === "";) {
  const { value, done } = await reader.read();
  if (done) throw new Error(`the server ended: ${text}`);
  text += value;
  url = /listening on (\S+)/.exec(text)?.[1] ?? "";
}
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const gauge = async (name: string) => {
  const text = await (await fetch(`${url.replace("/v1", "")}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)`, "m").exec(text)?.[1]);
};
const rss = async () => {
  const status = await Deno.readTextFile(`/proc/${server.pid}/status`);
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

const sampled = new Map<string, string>();
let wrong = 0;
let repeated = 0;
async function ask(i: number): Promise<Answered> {
  const question = QUESTIONS[i % QUESTIONS.length];
  const adapter = ADAPTERS[Math.floor(i / 3) % 3];
  const greedy = i % 4 !== 3;
  const seed = Math.floor(i / 4) % 2;
  const start = performance.now();
  const stream = await client.chat.completions.create({
    model: adapter ?? "base",
    messages: [{ role: "user", content: question }],
    max_tokens: TOKENS,
    temperature: greedy ? 0 : 0.8,
    seed,
    stream: true,
    stream_options: { include_usage: true },
  });
  let [text, first, tokens] = ["", 0, 0];
  for await (const { choices: [choice], usage } of stream) {
    const part = choice?.delta.content ?? "";
    if (part !== "" && first === 0) first = performance.now() - start;
    text += part;
    tokens = usage?.completion_tokens ?? tokens;
  }
  const key = `${question} ${adapter}`;
  const known = greedy ? expected.get(key) : sampled.get(`${key} ${seed}`);
  if (!greedy && known !== undefined) repeated++;
  if (known !== undefined && known !== text) {
    wrong++;
    console.log(
      `different: ${key}${greedy ? "" : `, seed ${seed}`}\n  ${JSON.stringify(known)}\n  ${
        JSON.stringify(text)
      }`,
    );
  }
  if (!greedy) sampled.set(`${key} ${seed}`, text);
  return { first, whole: performance.now() - start, tokens };
}

await ask(0); // compiles what a row alone needs
await Promise.all(Array.from({ length: Number(clients) }, (_, i) => ask(i))); // and what many need
const before = { bytes: await gauge("peft_device_bytes"), rss: await rss() };
const load = await keepAsking(Number(clients), Number(seconds), ask);
console.log(`${clients} clients: ${describeLoad(load)}`);
console.log(
  `greedy and repeated sampled answers that differ: ${wrong} (${repeated} sampled ones were repeated)`,
);
const after = { bytes: await gauge("peft_device_bytes"), rss: await rss() };
console.log(
  `device bytes when idle: ${before.bytes} before, ${after.bytes} after; resident: ${
    before.rss.toFixed(0)
  } MB, ${after.rss.toFixed(0)} MB`,
);
const one = await keepAsking(1, 10, ask);
console.log(`1 client: ${describeLoad(one)}`);
server.kill("SIGINT");
await server.status;
await Deno.remove(folder, { recursive: true });

const llama = await fetchLlamaCpp(() => console.log("fetching llama.cpp (85 MB)"));
if (llama === null) console.log("llama.cpp: no npm");
else {
  const runner = new URL("./serve_llama_cpp.mjs", import.meta.url).pathname;
  await new Deno.Command("node", {
    args: [runner, llama, path, seconds, clients, String(TOKENS), JSON.stringify(QUESTIONS)],
    stdout: "inherit",
    stderr: "inherit",
  }).spawn().status;
}

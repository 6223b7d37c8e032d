/**
 * llama.cpp, as node-llama-cpp ships it, under the load of `serve_bench.ts`, in its own process and without HTTP:
 * `node serve_llama_cpp.mjs FOLDER MODEL SECONDS CLIENTS TOKENS QUESTIONS`. A context has a sequence for each client.
 */
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { pathToFileURL } from "node:url";

const [folder, modelPath, seconds, clients, count, questions] = process.argv.slice(2);
const entry = createRequire(`${folder}/package.json`).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const model = await llama.loadModel({ modelPath });
const prompts = JSON.parse(questions).map((question) =>
  model.tokenize(
    `<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n`,
    true,
  )
);

async function load(sequences, duration) {
  const context = await model.createContext({
    contextSize: 128,
    batchSize: 512,
    threads: availableParallelism(),
    sequences,
  });
  const answers = [];
  const begin = performance.now();
  let number = 0;
  const client = async () => {
    const sequence = context.getSequence();
    while (performance.now() - begin < duration * 1000) {
      await sequence.clearHistory();
      const start = performance.now();
      let [first, tokens] = [0, 0];
      for await (const _ of sequence.evaluate(prompts[number++ % prompts.length], { temperature: 0 })) {
        first ||= performance.now() - start;
        if (++tokens >= Number(count)) break;
      }
      answers.push({ first, whole: performance.now() - start, tokens });
    }
  };
  await Promise.all(Array.from({ length: sequences }, client));
  const taken = (performance.now() - begin) / 1000;
  const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0);
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] / 1000;
  console.log(
    `llama.cpp, ${sequences} clients: ${answers.length} answers, ${tokens} tokens in ${taken.toFixed(0)} s: ${
      (tokens / taken).toFixed(1)
    } tokens/s, median first token ${median(answers.map(({ first }) => first)).toFixed(2)} s, median answer ${
      median(answers.map(({ whole }) => whole)).toFixed(2)
    } s`,
  );
  await context.dispose();
}

await load(Number(clients), Number(seconds));
await load(1, 10);
process.exit(0);

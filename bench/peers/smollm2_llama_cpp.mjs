/**
 * llama.cpp's side of smollm2_bench.ts, as node-llama-cpp ships it, on the CPU:
 * `node smollm2_llama_cpp.mjs FOLDER FILE [threads]`; FOLDER has the package in its node_modules. Prints one line of JSON.
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, modelPath, threads = "2"] = process.argv.slice(2);
const entry = createRequire(`${folder}/package.json`).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);

const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const start = performance.now();
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: 64, threads: Number(threads), sequences: 1 });
const loadMs = performance.now() - start;
const sequence = context.getSequence();
const prompt = Array.from({ length: 8 }, (_, i) => 37 * i + 5);
/** Milliseconds until `count` tokens are there. */
async function generate(count) {
  await sequence.clearHistory();
  const start = performance.now();
  let tokens = 0;
  for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (++tokens >= count) break;
  }
  return performance.now() - start;
}
await generate(4);
const firstMs = await generate(1);
const rest = await generate(25) - firstMs;
process.stdout.write(
  `\n${JSON.stringify({ loadMs, firstMs, tokensPerSecond: 24e3 / rest })}\n`,
  () => process.exit(0),
);

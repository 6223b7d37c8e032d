/**
 * Runs llama.cpp, as node-llama-cpp ships it, in Node: `node llama_cpp_runner.mjs FOLDER` reads requests as a JSON list
 * from stdin and prints the answers as one line of JSON. FOLDER has the package in its node_modules.
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const entry = createRequire(`${folder}/package.json`).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry).href);

let text = "";
for await (const chunk of process.stdin) text += chunk;
const answers = [];
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
for (const { model: modelPath, adapter, prompts, texts = [], special = false, count } of JSON.parse(text)) {
  try {
    const model = await llama.loadModel({ modelPath });
    const lora = adapter && { adapters: [{ filePath: adapter, scale: 1 }] };
    const context = await model.createContext({
      contextSize: 64,
      threads: 1,
      sequences: 1,
      ...(lora && { lora }),
    });
    const sequence = context.getSequence();
    const rows = [];
    for (const prompt of prompts) {
      await sequence.clearHistory();
      const row = [];
      for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
        row.push(token);
        if (row.length >= count) break;
      }
      rows.push(row);
    }
    answers.push({ rows, ids: texts.map((text) => [...model.tokenize(text, special)]) });
    await model.dispose();
  } catch (error) {
    answers.push({ error: String(error?.message ?? error) });
  }
}
process.stdout.write(`\n${JSON.stringify(answers)}\n`, () => process.exit(0));

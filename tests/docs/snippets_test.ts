/**
 * The TypeScript of README and pages, run as it stands there, in a folder that has what its reader has: files of the names
 * that pages use, models small enough for a test under the names of real ones, and a server of that folder.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { AutoTokenizer, exportGguf, initDevice } from "@peft/webgpu";
import { LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
import { listFiles } from "../../tools/list_files.ts";
import { fileServer } from "../../tools/serve_studio.ts";
import { blocksOf, type Snippet, snippetsOfComments } from "./snippets.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct";
const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** README and every page, blocks that `deno check` leaves out included. */
async function snippetsOfPages(): Promise<Snippet[]> {
  const pages = ["README.md", ...await listFiles(ROOT, /\.md$/, ["docs"])];
  const blocks = await Promise.all(
    pages.map(async (page) =>
      blocksOf(await Deno.readTextFile(`${ROOT}${page}`), page, /^```ts(?: ignore)?\n([^]*?)^```$/gm)
    ),
  );
  return blocks.flat();
}

/** Blocks that other tests run, by a text in them. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "Hello, PEFT!": "tests/readme_test.ts, with GPT-2 at its real size",
  "mergeAndUnload();\nconst streamer": "tests/readme_test.ts",
  addWeightedAdapter: "tests/readme_test.ts",
  "chat.completions.create": "tests/serve, with a server to answer",
  "tuneKernels(device, { model })": "tests/tuning, with a few variants: all of them take half a minute",
  "createApp(engine": "tests/serve, which ends its server again",
};

const CHAT = [
  { messages: [{ role: "user", content: "who are you?" }, { role: "assistant", content: "a pirate" }] },
  { messages: [{ role: "user", content: "where are you?" }, { role: "assistant", content: "on the ship" }] },
];
const PAIRS = [
  { prompt: "Once upon a time", chosen: " there was a dog.", rejected: " there was a cat." },
  { prompt: "One day", chosen: " the dog was happy.", rejected: " the cat was sad." },
];
const FACTS = "prompt,completion\nWhat is it?,A dog.\nWho is it?,A cat.\n";

const lines = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");

const MODEL = `await AutoModelForCausalLM.fromPretrained("examples/demo/model")`;
const ADAPTED = `getPeftModel(${MODEL}, new LoraConfig({ targetModules: ["c_attn"] }))`;
const TOKENIZER = `const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");`;
const DATA = `${TOKENIZER}
const trainDataset = TextDataset.fromTexts(["Ahoy, matey! The sea be calm, arr."], tokenizer, { blockSize: 8 });`;

/** What a reader has before a block that goes on from it, by a text in the block. */
const BEFORE: Readonly<Record<string, string>> = {
  "clipGradNorm(": `const peftModel = ${ADAPTED}, batches = [[[1, 2, 3]], [[4, 5, 6]]];`,
  "planMemory(": DATA,
  "webkitdirectory": `const input = { files: await filesOf("examples/demo/model") };`,
  "document.body": "const adapter = await adapterInMemory();",
  "exportGguf(await":
    `${TOKENIZER} const model = ${MODEL}; const peftModel = getPeftModel(${MODEL}, new LoraConfig());`,
  sequenceIds: `const model = await AutoModelForCausalLM.fromPretrained("${SMOLLM2}");
const first = [1, 2, 3], second = [4, 5];`,
  "new SampleCallback(": `${DATA} const model = ${ADAPTED}, evalDataset = trainDataset;`,
  "resilientTrain(": DATA,
  updateAndAllocate:
    `const peftModel = getPeftModel(${MODEL}, new AdaLoraConfig({ totalStep: 9, targetModules: ["c_attn"] }));
const optimizer = new AdamW([...peftModel.parameters()].filter((p) => p.requiresGrad), { lr: 1e-3 }), step = 1;
const inputIds = [[1, 2, 3]];
peftModel.forward({ inputIds, labels: inputIds }).loss!.backward();`,
};

/** The same for examples of comments. */
const BEFORE_EXAMPLES: Readonly<Record<string, string>> = {
  "captureStep(device": `const model = ${MODEL}, device = model.device, batches = [[[1, 2, 3]], [[4, 5, 6]]];
const optimizer = new AdamW([...model.parameters()].filter((p) => p.requiresGrad), { lr: 1e-3 });`,
  "const folder = memoryFolder();\nawait peftModel": `const peftModel = ${ADAPTED};`,
  'new SampleCallback({ prompts: ["Once upon"]':
    `${DATA} const options = { model: ${ADAPTED}, trainDataset, args: { maxSteps: 1 } };`,
  "new DataLoader(dataset": `${DATA} const dataset = trainDataset;`,
  createLoraplusOptimizer: `const model = ${ADAPTED};`,
};

/** Names that what comes before blocks uses. */
const USED = [
  "AdaLoraConfig",
  "AdamW",
  "AutoModelForCausalLM",
  "AutoTokenizer",
  "getPeftModel",
  "LoraConfig",
  "Tensor",
  "TextDataset",
];

/** The block as a module that runs. */
function moduleOf({ place, code }: Snippet): string {
  const table = place.includes(".md:") ? BEFORE : BEFORE_EXAMPLES;
  const before = Object.entries(table).find(([text]) => code.includes(text))?.[1] ?? "";
  const rest = code.replaceAll(/^declare const [^]*?;(?: \/\/.*)?$/gm, "")
    .replaceAll('"https://example.com/', 'location.href + "')
    .replaceAll(/\bport: \d+/g, "port: 0"); // another program may have the one of the page
  const missing = USED.filter((name) => {
    const imported = new RegExp(`import [^;]*\\b${name}\\b`).test(code);
    return !imported && new RegExp(`\\b${name}\\b`).test(before + code);
  });
  return [
    `import { ${missing.join(", ")} } from "@peft/webgpu";`,
    `import { adapterInMemory, filesOf } from "./reader.ts";`,
    "void [adapterInMemory, filesOf];",
    before,
    rest,
  ].join("\n");
}

/** What stands in for a browser. */
const READER = `
import { AutoModelForCausalLM, getPeftModel, LoraConfig, memoryFolder } from "@peft/webgpu";
Object.assign(globalThis, { document: { body: {} } });
export async function filesOf(folder: string): Promise<FileList> {
  const files: File[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const file = new File([await Deno.readFile(folder + "/" + name)], name);
    files.push(Object.defineProperty(file, "webkitRelativePath", { value: "model/" + name }));
  }
  return files as unknown as FileList;
}
export async function adapterInMemory() {
  const folder = memoryFolder();
  const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
  await getPeftModel(model, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained(folder);
  return folder;
}
`;

/** Puts a model into a cache of Hugging Face's layout. */
async function cacheModel(cache: string, id: string, folder: string): Promise<void> {
  const repository = `${cache}/models--${id.replace("/", "--")}`;
  await Deno.mkdir(`${repository}/refs`, { recursive: true });
  await Deno.mkdir(`${repository}/snapshots`);
  await Deno.writeTextFile(`${repository}/refs/main`, COMMIT);
  await Deno.symlink(folder, `${repository}/snapshots/${COMMIT}`);
}

/** A small chat model of Llama's family with random weights, as a folder and as a GGUF file. */
async function writeChatModel(folder: string, gguf: string): Promise<void> {
  const tokenizer = await AutoTokenizer.fromPretrained(`${ROOT}examples/demo/model`);
  tokenizer.chatTemplate =
    "{% for m in messages %}{{ m.role + ': ' + m.content + '<|endoftext|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
  const end = tokenizer.eosTokenId!;
  const config = new LlamaConfig("llama", {
    ...{ vocabSize: tokenizer.vocabSize, hiddenSize: 64, intermediateSize: 96, numHiddenLayers: 2 },
    ...{
      numAttentionHeads: 2,
      numKeyValueHeads: 1,
      maxPositionEmbeddings: 512,
      bosTokenId: end,
      eosTokenId: end,
    },
  });
  const model = new LlamaForCausalLM(config, { device: await initDevice(), seed: 1 });
  await model.savePretrained(folder);
  await tokenizer.savePretrained(folder);
  await exportGguf(model, gguf, { dtype: "f16", tokenizer });
  model.dispose();
}

/** Fills a folder with what the pages' reader has. */
async function prepare(folder: string): Promise<void> {
  await Deno.symlink(`${ROOT}examples`, `${folder}/examples`);
  await Deno.mkdir(`${folder}/more`);
  await Deno.mkdir(`${folder}/models`);
  await Deno.symlink(`${ROOT}examples/demo/model`, `${folder}/models/small`);
  const write = (name: string, text: string) => Deno.writeTextFile(`${folder}/${name}`, text);
  for (const name of ["chats.jsonl", "conversations.jsonl", "more/chats.jsonl"]) {
    await write(name, lines(CHAT));
  }
  await write("pairs.jsonl", lines(PAIRS));
  await write("robots.jsonl", lines([{ text: "Once upon a time there was a robot." }]));
  await write("reader.ts", READER);
  const zipped = new Blob([FACTS]).stream().pipeThrough(new CompressionStream("gzip"));
  await Deno.writeFile(`${folder}/facts.csv.gz`, zipped);
  await Deno.copyFile(`${ROOT}tests/fixtures/parquet/texts.parquet`, `${folder}/facts.parquet`);
  await writeChatModel(`${folder}/chat`, `${folder}/SmolLM2-135M-Instruct.Q4_1.gguf`);
  await Deno.symlink(`${folder}/SmolLM2-135M-Instruct.Q4_1.gguf`, `${folder}/model.gguf`);
  await Deno.symlink(`${folder}/chat`, `${folder}/model`);
  await Deno.symlink(`${folder}/model.gguf`, `${folder}/small.gguf`);
  await Deno.mkdir(`${folder}/ggufs`);
  await Deno.symlink(`${folder}/model.gguf`, `${folder}/ggufs/name-Q8_0.gguf`);
  await cacheModel(`${folder}/hub`, "org/name-GGUF", `${folder}/ggufs`);
  await cacheModel(`${folder}/hub`, SMOLLM2, `${folder}/chat`);
  await cacheModel(`${folder}/hub`, "gpt2", `${ROOT}examples/demo/model`);
}

/** Deno's own cache, which lies in the folder of all caches. */
async function denoFolder(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

/** Runs blocks one after the other in one process, in a folder that was prepared. */
async function runAll(snippets: readonly Snippet[]): Promise<void> {
  const folder = await Deno.makeTempDir();
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    fileServer(folder, { policy: "" }),
  );
  try {
    await prepare(folder);
    for (const [i, snippet] of snippets.entries()) {
      await Deno.writeTextFile(`${folder}/block_${i}.ts`, moduleOf(snippet));
    }
    const run = snippets.map(({ place }, i) =>
      `console.log("block", ${JSON.stringify(place)}); await import("./block_${i}.ts");`
    );
    await Deno.writeTextFile(
      `${folder}/all.ts`,
      `${run.join("\n")}\nconsole.log("all ran"); Deno.exit(0);\n`,
    );
    const origin = `http://127.0.0.1:${server.addr.port}/`;
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--no-check", "--config", `${ROOT}deno.json`, "--location", origin],
        `${folder}/all.ts`,
      ],
      cwd: folder,
      env: {
        HF_HUB_CACHE: `${folder}/hub`,
        HF_HUB_OFFLINE: "1",
        XDG_CACHE_HOME: `${folder}/cache`, // what is tuned is not kept for other programs
        DENO_DIR: await denoFolder(),
        MESA_SHADER_CACHE_DIR: Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`,
        NO_COLOR: "1",
      },
      stdin: "null",
    }).output();
    const said = new TextDecoder().decode(stdout);
    const last = said.split("\n").findLast((line) => line.startsWith("block "));
    assertEquals(code, 0, `${last}\n${new TextDecoder().decode(stderr)}`);
    assert(said.trimEnd().endsWith("all ran"), said.slice(-500));
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("the TypeScript of README and pages runs as it stands there", async () => {
  const snippets = (await snippetsOfPages()).filter(({ code }) =>
    !Object.keys(ELSEWHERE).some((text) => code.includes(text))
  );
  assert(snippets.length >= 20, `${snippets.length} blocks`);
  await runAll(snippets);
});

Deno.test("the examples in comments run as they stand there", async () => {
  const snippets = await snippetsOfComments();
  assert(snippets.length >= 180, `${snippets.length} examples`);
  await runAll(snippets);
});

/**
 * The demo and the model that ships with it.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer, initDevice, PeftModel, tidy } from "@peft/webgpu";
import { LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
import { demo, readSettings } from "../../examples/demo.ts";
import { makeTexts } from "../../examples/demo/grammar.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;

Deno.test("the demo's model gives transformers' tokens and logits", async () => {
  // Made by tests/oracle/demo_fixture.py.
  const { cases } = JSON.parse(await Deno.readTextFile(`${root}tests/fixtures/demo/expected.json`));
  const device = await initDevice();
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const model = await AutoModelForCausalLM.fromPretrained(MODEL, { device });
  for (const { text, ids, logits } of cases) {
    assertEquals(tokenizer.encode(text), ids);
    using last = tidy(() => model.lastLogits({ inputIds: [ids] }));
    assertAllClose(await last.data(), logits, { rtol: 0, atol: 2e-5 });
  }
  model.dispose();
});

Deno.test("the demo's model is at most 6 MB and continues a story as it was trained to", async () => {
  assert((await Deno.stat(`${MODEL}/model.safetensors`)).size <= 6e6);
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const model = await AutoModelForCausalLM.fromPretrained(MODEL);
  const [ids] = await model.generate(tokenizer("Once upon a time"), { maxNewTokens: 40 });
  const words = new Set(makeTexts("plain", 400, 9).join(" ").split(" "));
  const told = tokenizer.decode(ids, { skipSpecialTokens: true }).split(" ").slice(0, -1); // the last may be cut
  assertEquals(told.filter((word) => !words.has(word)), []);
  model.dispose();
});

Deno.test("the base has seen every token of the pirate's stories, and does better than guessing on them", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const seen = new Map<number, number>();
  // the counts and seeds of examples/demo/train_base.ts
  const base = [...makeTexts("plain", 2000, 1), ...makeTexts("facts", 500, 1), ...makeTexts("words", 334, 1)];
  for (const id of base.flatMap((text) => tokenizer.encode(text))) seen.set(id, (seen.get(id) ?? 0) + 1);
  const rare = new Set<string>();
  for (const name of ["pirate", "pirate_held_out"]) {
    const lines = (await Deno.readTextFile(`${root}examples/demo/data/${name}.jsonl`)).trim().split("\n");
    for (const id of lines.flatMap((line) => tokenizer.encode(JSON.parse(line).text))) {
      if ((seen.get(id) ?? 0) < 30) rare.add(tokenizer.decode([id]));
    }
  }
  assertEquals([...rare], []);
});

Deno.test("the demo takes a model of any architecture, and refuses bad flags and outputs before it computes", async () => {
  const folder = await Deno.makeTempDir();
  await initDevice();
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const sizes = { hiddenSize: 32, intermediateSize: 48, numHiddenLayers: 1, maxPositionEmbeddings: 64 };
  const heads = { numAttentionHeads: 2, numKeyValueHeads: 1, vocabSize: tokenizer.vocabSize };
  const llama = new LlamaForCausalLM(new LlamaConfig("llama", { ...sizes, ...heads }));
  await llama.savePretrained(`${folder}/llama`);
  await tokenizer.savePretrained(`${folder}/llama`);
  llama.dispose();
  const { log } = console;
  const lines: string[] = [];
  const run = async (...args: string[]) => {
    console.log = (line = "") => void lines.push(line);
    try {
      return await demo(readSettings(["--steps", "1", "--batch-size", "1", ...args])!);
    } finally {
      console.log = log;
    }
  };
  const data = ["--data", `${root}examples/demo/data/pirate_held_out.jsonl`];
  await run("--model", `${folder}/llama`, ...data, "--output", `${folder}/out`);
  assertEquals((await Deno.stat(`${folder}/out/adapter_model.safetensors`)).isFile, true);

  lines.length = 0;
  await Deno.writeTextFile(`${folder}/file`, "");
  await assertRejects(
    () => run("--output", `${folder}/file`),
    Error,
    "Cannot run the demo: --output: a folder that can be written to is required",
  );
  assertEquals(lines, []);
  for (
    const [args, reason] of [[["--stepz", "3"], "Unknown option '--stepz'"], [
      ["x"],
      "Unexpected argument 'x'",
    ]] as const
  ) {
    assertThrows(
      () => readSettings([...args]),
      TypeError,
      `Cannot run the demo: ${reason}; see ./run demo --help`,
    );
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("demo() as ./run demo calls it teaches the model to speak in whole sentences without a broken word", async () => {
  const output = await Deno.makeTempDir();
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(line);
  const start = performance.now();
  let losses: Awaited<ReturnType<typeof demo>>;
  try {
    losses = await demo(readSettings(["--output", output])!);
  } finally {
    console.log = log;
  }
  console.log(`demo took ${((performance.now() - start) / 1000).toFixed(0)} s: ${JSON.stringify(losses)}`);
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  assert(losses!.before < Math.log(tokenizer.vocabSize), "the untrained model is worse than guessing");
  assert(losses!.after < 0.25, JSON.stringify(losses));
  assert(lines.some((line) => line.includes("trainable params: ")));

  const after = lines.slice(lines.findIndex((line) => line.includes("after (")) + 1).map((line) =>
    line.trim()
  );
  assertEquals(after.length, 2);
  const words = new Set(makeTexts("pirate", 600, 9).join(" ").split(" "));
  for (const [i, prompt] of ["Once upon a time", "Ahoy"].entries()) {
    const text = after[i];
    assert(text.startsWith(prompt), text);
    assert(text.split(/[.!?]/).length > 3, `few sentences: ${text}`);
    assert(/[.!?]"?$/.test(text), `no end of a sentence: ${text}`);
    assertEquals(text.split(" ").filter((word) => !words.has(word)), [], text);
  }

  const curve = await Deno.readTextFile(`${output}/loss.svg`);
  assert(curve.startsWith("<svg") && curve.includes("LoRA on pirate.jsonl"));
  // a point before training, and one every 15 of 90 steps
  assertEquals(curve.match(/<circle/g)?.length, 7);
  for (const label of ["optimizer step", "loss (nats per token)", ">training<", ">held out<", ">0<"]) {
    assert(curve.includes(label), label);
  }
  const base = await AutoModelForCausalLM.fromPretrained(MODEL);
  const adapted = await PeftModel.fromPretrained(base, output);
  assertEquals(adapted.peftConfig.default.peftType, "LORA");
  adapted.dispose();
  await Deno.remove(output, { recursive: true });
});

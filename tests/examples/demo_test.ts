/**
 * The demo and the model that ships with it.
 * @module
 */

import { assert, assertAllClose, assertEquals } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer, initDevice, PeftModel, tidy } from "@peft/webgpu";
import { demo } from "../../examples/demo.ts";
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

Deno.test("demo() lets the held-out loss fall by more than a third and writes adapter and curve", async () => {
  const output = await Deno.makeTempDir();
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(line);
  let losses: Awaited<ReturnType<typeof demo>>;
  try {
    losses = await demo({
      model: MODEL,
      data: `${root}examples/demo/data/pirate.jsonl`,
      evalData: `${root}examples/demo/data/pirate_held_out.jsonl`,
      prompts: ["Ahoy"],
      steps: 12,
      batchSize: 4,
      learningRate: 4e-3,
      output,
    });
  } finally {
    console.log = log;
  }
  assert(losses!.after < losses!.before * 2 / 3, JSON.stringify(losses));
  assert(lines.some((line) => line.includes("trainable params: ")));
  assert((await Deno.readTextFile(`${output}/loss.svg`)).startsWith("<svg"));
  const base = await AutoModelForCausalLM.fromPretrained(MODEL);
  const adapted = await PeftModel.fromPretrained(base, output);
  assertEquals(adapted.peftConfig.default.peftType, "LORA");
  adapted.dispose();
  await Deno.remove(output, { recursive: true });
});

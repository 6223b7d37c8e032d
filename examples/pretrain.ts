/**
 * Continued pre-training: all weights of a model go on learning from plain text of a new kind, mixed with some of the
 * old kind so that it is not forgotten. `deno run -A examples/pretrain.ts` takes a model that has read stories alone
 * through a page of this project's documentation; `--model`, `--data` (.txt of the new kind) and `--old` (.txt of the
 * old kind) take yours. Prints loss and perplexity on held-out text of both kinds, before and after.
 * @module
 */

import { parseArgs } from "node:util";
import { AutoModelForCausalLM, AutoTokenizer, type CausalLM, initDevice, setSeed } from "@peft/webgpu";
import { TextDataset, Trainer } from "@peft/webgpu";
import { makeTexts } from "./demo/grammar.ts";

const here = new URL(".", import.meta.url).pathname;
const text = { type: "string" } as const;
const { values } = parseArgs({ options: { model: text, data: text, old: text } });
const id = values.model ?? `${here}demo/model`;

setSeed(1);
await initDevice();
const tokenizer = await AutoTokenizer.fromPretrained(id);
const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);

/** Paragraphs of a text; every eighth is held out. */
const paragraphs = async (path: string) =>
  (await Deno.readTextFile(path)).split(/\n{2,}/).filter((one) => one.length > 40);
const fresh = await paragraphs(values.data ?? `${here}../docs/training.md`);
const old = values.old ? await paragraphs(values.old) : makeTexts("plain", 40, 11);
const isHeldOut = (_: string, i: number) => i % 8 === 7;
const isTrained = (_: string, i: number) => i % 8 !== 7;
const dataset = (texts: string[]) => TextDataset.fromTexts(texts, tokenizer, { blockSize: 64 });
/** Three new paragraphs for one old text. */
const learned = fresh.filter(isTrained);
const kept = old.filter(isTrained);
const mixed = learned.flatMap((one, i) => i % 3 === 2 ? [one, kept[i % kept.length]] : [one]);

const trainer = new Trainer({
  model,
  args: {
    maxSteps: 30,
    perDeviceTrainBatchSize: 4,
    learningRate: values.model ? 5e-5 : 1e-3,
    lrSchedulerType: "cosine",
    warmupSteps: 3,
    loggingSteps: 10,
    seed: 1,
  },
  trainDataset: dataset(mixed),
});

/** Prints loss and perplexity on held-out text of both kinds. */
async function measure(title: string): Promise<void> {
  for (const [kind, texts] of [["new", fresh], ["old", old]] as const) {
    const { evalLoss } = await trainer.evaluate(dataset(texts.filter(isHeldOut).slice(0, 12)));
    const perplexity = Math.exp(evalLoss).toPrecision(3);
    console.log(`held-out loss ${title}, ${kind} text: ${evalLoss.toFixed(3)} (perplexity ${perplexity})`);
  }
  console.log();
}

await measure("before");
await trainer.train();
await measure("after");
model.dispose();

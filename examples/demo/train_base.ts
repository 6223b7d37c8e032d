/**
 * Trains the demo's GPT-2 from scratch with this library's Trainer, on stories that the grammar makes:
 * `deno run -A examples/demo/train_base.ts [steps]`. It took 20 minutes on two cores with a software
 * adapter at 530 tokens per second.
 * The tokenizer beside it was made by `tests/oracle/demo_tokenizer.py`.
 * @module
 */

import {
  AutoTokenizer,
  GPT2Config,
  GPT2LMHeadModel,
  initDevice,
  TextDataset,
  Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import { makeTexts } from "./grammar.ts";

const folder = new URL("./model/", import.meta.url).pathname;
const BLOCK_SIZE = 128;

await initDevice();
const tokenizer = await AutoTokenizer.fromPretrained(folder);
const endOfText = tokenizer.eosTokenId!;
const config = new GPT2Config({
  vocabSize: tokenizer.vocabSize,
  nPositions: BLOCK_SIZE,
  nEmbd: 128,
  nLayer: 4,
  nHead: 4,
  bosTokenId: endOfText,
  eosTokenId: endOfText,
  residPdrop: 0,
  embdPdrop: 0,
  attnPdrop: 0,
});
const model = new GPT2LMHeadModel(config, { seed: 1 });
/** Stories with a fact page after every fourth and a page of words after every sixth: a pirate's words, not his style. */
const dataset = (count: number, seed: number) => {
  const facts = makeTexts("facts", Math.ceil(count / 4), seed);
  const words = makeTexts("words", Math.ceil(count / 6), seed);
  const texts = makeTexts("plain", count, seed).flatMap((text, i) => [
    text,
    ...(i % 4 === 3 ? [facts[i >> 2]] : []),
    ...(i % 6 === 5 ? [words[Math.floor(i / 6)]] : []),
  ]);
  return TextDataset.fromTexts(texts, tokenizer, { blockSize: BLOCK_SIZE });
};

const report: TrainerCallback = {
  onLog: (_args, state, _control, { logs }) =>
    console.log(
      `step ${state.globalStep}/${state.maxSteps} loss ${logs?.loss?.toFixed(4)} ${
        Math.round(state.tokensPerSecond)
      } tokens/s`,
    ),
};
const trainer = new Trainer({
  model,
  args: {
    maxSteps: Number(Deno.args[0] ?? 600),
    perDeviceTrainBatchSize: 8,
    learningRate: 2e-3,
    lrSchedulerType: "cosine",
    warmupSteps: 40,
    weightDecay: 0.1,
    loggingSteps: 25,
  },
  trainDataset: dataset(2000, 1),
  evalDataset: dataset(32, 2),
  callbacks: [report],
});
await trainer.train();
console.log(await trainer.evaluate());
await model.savePretrained(folder);
const [ids] = await model.generate(tokenizer("Once upon a time"), {
  maxNewTokens: 110,
  doSample: true,
  seed: 1,
});
console.log(tokenizer.decode(ids));

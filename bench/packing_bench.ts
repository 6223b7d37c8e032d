/**
 * Packed rows beside padded ones: tokens a second of LoRA training steps, and the loss of the same examples, which must be
 * equal to 1e-5. Examples of mixed lengths with a small Llama; the teaching data (examples/teach) with SmolLM2.
 * Run: deno run -A bench/packing_bench.ts [path of SmolLM2's GGUF file, for the teaching data]
 * @module
 */
import { HostRandom } from "../autograd/mod.ts";
import { initDevice } from "../gpu/mod.ts";
import { AutoModelForCausalLM, AutoTokenizer, type CausalLM } from "../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../model/llama/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import {
  DataLoader,
  loadDataset,
  type SFTConfig,
  type SFTData,
  type SFTTokenizer,
  SFTTrainer,
} from "../train/mod.ts";
import { printTable, type Row } from "./harness.ts";

type Settings = Partial<SFTConfig>;

/** Ways to make rows of examples; each step sees about the same number of tokens. */
function waysOf(batchSize: number, rowsPacked: number, maxLength: number): Record<string, Settings> {
  const padded = { perDeviceTrainBatchSize: batchSize, perDeviceEvalBatchSize: batchSize, maxLength };
  const packed = { perDeviceTrainBatchSize: rowsPacked, perDeviceEvalBatchSize: rowsPacked, maxLength };
  return {
    "padded, random order": padded,
    "padded, grouped by length": { ...padded, trainSamplingStrategy: "group_by_length" },
    "packed": { ...packed, packing: true },
  };
}

/** Positions of an epoch's batches, padding included: what the device computes. */
function positionsOf({ args, trainDataset }: SFTTrainer): number {
  const loader = new DataLoader(trainDataset, {
    batchSize: args.perDeviceTrainBatchSize,
    shuffle: true,
    groupByLength: args.trainSamplingStrategy === "group_by_length",
    seed: args.seed,
  });
  return [...loader.batches(0)].reduce((sum, { inputIds }) => sum + inputIds.length * inputIds[0].length, 0);
}

/** Trains in each way: a step for compiling kernels, then an epoch that is timed. */
async function measure(
  model: CausalLM,
  tokenizer: SFTTokenizer,
  data: SFTData,
  ways: Record<string, Settings>,
  shared: Settings,
): Promise<Row[]> {
  const adapted = getPeftModel(model, new LoraConfig({ r: 8, targetModules: "all-linear" }));
  const table: Row[] = [];
  for (const [rows, way] of Object.entries(ways)) {
    const args = {
      ...shared,
      ...way,
      reportTo: "none",
      gradientCheckpointing: false,
      learningRate: 0,
    } as const;
    const make = (maxSteps: number) =>
      new SFTTrainer({
        ...{ model: adapted, processingClass: tokenizer, trainDataset: data, evalDataset: data },
        args: { ...args, maxSteps, numTrainEpochs: 1 },
      });
    await make(1).train();
    const trainer = make(-1);
    const { metrics, globalStep } = await trainer.train();
    const { evalLoss } = await trainer.evaluate();
    table.push({
      rows,
      positions: positionsOf(trainer),
      "rows in all": trainer.trainDataset.length,
      steps: globalStep,
      seconds: metrics.trainRuntime.toFixed(2),
      "tokens/s": metrics.trainTokensPerSecond.toFixed(0),
      "mean loss of examples": evalLoss.toFixed(6),
    });
  }
  const losses = table.map((row) => Number(row["mean loss of examples"]));
  if (losses.some((loss) => Math.abs(loss - losses[0]) > 1e-5)) {
    throw new Error(`Cannot compare packing: losses must be equal, received ${losses}`);
  }
  return table;
}

/** Ids of mixed lengths: most are short, few are long, as conversations are. */
function mixedLengths(count: number, longest: number, vocabulary: number): { inputIds: number[] }[] {
  const random = new HostRandom(5);
  return Array.from({ length: count }, () => {
    const length = Math.max(8, Math.round(longest * random.uniform() ** 3));
    return { inputIds: Array.from({ length }, () => 1 + random.integer(vocabulary - 1)) };
  });
}

/** Conversations of mixed lengths with a small Llama. */
async function mixed(): Promise<void> {
  const config = new LlamaConfig("llama", {
    ...{ vocabSize: 1024, hiddenSize: 128, intermediateSize: 384, numHiddenLayers: 2, numAttentionHeads: 4 },
    ...{ numKeyValueHeads: 2, maxPositionEmbeddings: 512 },
  });
  const model = new LlamaForCausalLM(config, { device: await initDevice(), seed: 1 });
  const tokenizer = await AutoTokenizer.fromPretrained(
    new URL("../examples/demo/model", import.meta.url).pathname,
  );
  printTable(
    "Mixed lengths (96 examples of 8 to 512 tokens), a Llama of 2 layers x 128, LoRA of rank 8 on every linear layer",
    await measure(model, tokenizer, mixedLengths(96, 512, 1024), waysOf(8, 4, 512), {}),
  );
}

/** The teaching data with the model at `path`. */
async function teaching(path: string): Promise<void> {
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(path, { dtype: "auto" });
  const tokenizer = await AutoTokenizer.fromPretrained(path);
  const rows = await loadDataset(new URL("../examples/teach/support.jsonl", import.meta.url));
  printTable(
    `The teaching data (${rows.length} questions), SmolLM2-135M Q4_1, LoRA of rank 8 on every linear layer`,
    await measure(model, tokenizer, rows, waysOf(5, 1, 256), { assistantOnlyLoss: null }),
  );
}

if (import.meta.main) await (Deno.args[0] === undefined ? mixed() : teaching(Deno.args[0]));

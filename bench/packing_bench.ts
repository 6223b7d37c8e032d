/**
 * Packed rows beside padded ones: tokens a second of LoRA training steps, and the loss of the same examples, which must be
 * equal to 1e-5. The teaching data (examples/teach) with SmolLM2 where it is at hand, and conversations of mixed lengths
 * with a small Llama.
 * Run: deno run -A bench/packing_bench.ts [path of SmolLM2's GGUF file]
 * @module
 */
import { HostRandom } from "../autograd/mod.ts";
import { initDevice } from "../gpu/mod.ts";
import { AutoModelForCausalLM, AutoTokenizer, type CausalLM } from "../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../model/llama/mod.ts";
import { getPeftModel, LoraConfig } from "../peft/mod.ts";
import { loadDataset, type SFTConfig, type SFTData, type SFTTokenizer, SFTTrainer } from "../train/mod.ts";
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

/** Trains in each way; one epoch is for compiling kernels, the next is timed. */
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
    const make = () =>
      new SFTTrainer({
        ...{ model: adapted, processingClass: tokenizer, trainDataset: data, evalDataset: data },
        args: { ...args, numTrainEpochs: 1 },
      });
    await make().train();
    const trainer = make();
    const { metrics, globalStep } = await trainer.train();
    const { evalLoss } = await trainer.evaluate();
    table.push({
      rows,
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

if (import.meta.main) {
  const device = await initDevice();
  const config = new LlamaConfig("llama", {
    ...{ vocabSize: 4096, hiddenSize: 192, intermediateSize: 512, numHiddenLayers: 4, numAttentionHeads: 6 },
    ...{ numKeyValueHeads: 2, maxPositionEmbeddings: 512 },
  });
  const small = new LlamaForCausalLM(config, { device, seed: 1 });
  const demo = await AutoTokenizer.fromPretrained(
    new URL("../examples/demo/model", import.meta.url).pathname,
  );
  const mixed = mixedLengths(96, 512, 4096);
  printTable(
    `Mixed lengths (96 examples of 8 to 512 tokens), a Llama of 4 layers x 192, steps of at most 8 x 512 tokens`,
    await measure(small, demo, mixed, waysOf(8, 4, 512), {}),
  );
  small.dispose();
  const path = Deno.args[0];
  if (path !== undefined) {
    const [model, tokenizer] = [
      await AutoModelForCausalLM.fromPretrained<CausalLM>(path, { dtype: "auto" }),
      await AutoTokenizer.fromPretrained(path),
    ];
    const folder = new URL("../examples/teach/", import.meta.url);
    const rows = await loadDataset(
      new URL("support.jsonl", folder),
    );
    printTable(
      "The teaching data (10 questions), SmolLM2-135M Q4_1, LoRA of rank 8 on every linear layer",
      await measure(model, tokenizer, rows, waysOf(8, 2, 256), { assistantOnlyLoss: null }),
    );
  }
}

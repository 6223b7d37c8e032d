/**
 * Every PEFT method on GPT-2 small: what it trains, what its optimizer and its file take, its step beside LoRA's and
 * beside training every weight, and its worst errors against the fixtures in tests/fixtures.
 * Run: deno run -A bench/methods_bench.ts [--only NAME] [--steps 5] [--errors] [--json FILE]
 * @module
 */
import { parseArgs } from "node:util";
import { type Device, initDevice } from "../gpu/mod.ts";
import { load } from "../io/safetensors.ts";
import { AutoModelForCausalLM, type CausalLM, GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { hubFormat } from "../peft/bottleneck/bottleneck_format.ts";
import type { PeftConfig } from "../peft/config/peft_config.ts";
import { readAdapterConfig } from "../peft/files/adapter_files.ts";
import { isPromptLearning } from "../peft/virtual_tokens/virtual_token_types.ts";
import {
  AdaLoraConfig,
  BitFitConfig,
  BOFTConfig,
  BottleneckConfig,
  FourierFTConfig,
  getPeftModel,
  IA3Config,
  LNTuningConfig,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  OFTConfig,
  PeftModel,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
  TrainableTokensConfig,
  VeraConfig,
} from "../peft/mod.ts";
import { AdamW } from "../train/mod.ts";
import { LEARNING_RATE, tokenRows } from "./gpt_cases.ts";
import { trainingStep } from "./training_step.ts";
import { formatTable, median, type Row } from "./harness.ts";

const FIXTURES = new URL("../tests/fixtures/", import.meta.url).pathname;

/** A method: a usual configuration, and the fixtures whose errors count (folders of tests/fixtures). */
interface MethodCase {
  readonly name: string;
  readonly config: () => PeftConfig;
  readonly fixtures: RegExp;
}

const CASES: readonly MethodCase[] = [
  { name: "LoRA r=8", config: () => new LoraConfig(), fixtures: /^lora\// },
  {
    name: "LoRA r=8, all-linear",
    config: () => new LoraConfig({ targetModules: "all-linear" }),
    fixtures: /^$/,
  },
  { name: "DoRA r=8", config: () => new LoraConfig({ useDora: true }), fixtures: /^methods\/dora/ },
  {
    name: "PiSSA r=8 (4 iterations)",
    config: () => new LoraConfig({ initLoraWeights: "pissa_niter_4" }),
    fixtures: /^lora_variants\/pissa/,
  },
  { name: "OLoRA r=8", config: () => new LoraConfig({ initLoraWeights: "olora" }), fixtures: /^$/ },
  {
    name: "LoRA r=8 on wte",
    config: () => new LoraConfig({ targetModules: ["wte"] }),
    fixtures: /^lora_variants\/(embeddings|dora_embedding)/,
  },
  {
    name: "10 trained tokens",
    config: () => new TrainableTokensConfig({ tokenIndices: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }),
    fixtures: /^lora_variants\/.*token/,
  },
  {
    name: "AdaLoRA 12 to 8",
    config: () => new AdaLoraConfig({ totalStep: 100 }),
    fixtures: /^methods\/adalora/,
  },
  { name: "VeRA r=256", config: () => new VeraConfig(), fixtures: /^methods\/vera/ },
  {
    name: "LoHa r=8",
    config: () => new LoHaConfig({ targetModules: ["c_attn"] }),
    fixtures: /^methods\/loha/,
  },
  {
    name: "LoKr r=8",
    config: () => new LoKrConfig({ targetModules: ["c_attn"] }),
    fixtures: /^methods\/lokr/,
  },
  {
    name: "OFT, blocks of 32",
    config: () => new OFTConfig({ targetModules: ["c_attn"] }),
    fixtures: /^methods\/oft/,
  },
  {
    name: "BOFT, blocks of 4",
    config: () => new BOFTConfig({ targetModules: ["c_attn"] }),
    fixtures: /^methods\/boft/,
  },
  { name: "FourierFT, n=1000", config: () => new FourierFTConfig(), fixtures: /^methods\/fourierft/ },
  { name: "(IA)^3", config: () => new IA3Config(), fixtures: /^methods\/ia3/ },
  { name: "LN tuning", config: () => new LNTuningConfig(), fixtures: /^methods\/ln_tuning/ },
  { name: "BitFit", config: () => new BitFitConfig(), fixtures: /^bitfit$/ },
  {
    name: "bottleneck, Pfeiffer",
    config: () => BottleneckConfig.named("seq_bn"),
    fixtures: /^bottleneck\/seq/,
  },
  {
    name: "bottleneck, Houlsby",
    config: () => BottleneckConfig.named("double_seq_bn"),
    fixtures: /^bottleneck\/double/,
  },
  {
    name: "bottleneck, parallel",
    config: () => BottleneckConfig.named("par_bn"),
    fixtures: /^bottleneck\/(scaled_)?par/,
  },
  {
    name: "prefix tuning, 20 tokens",
    config: () => new PrefixTuningConfig({ numVirtualTokens: 20 }),
    fixtures: /^prompt\/prefix/,
  },
  {
    name: "prompt tuning, 20 tokens",
    config: () => new PromptTuningConfig({ numVirtualTokens: 20 }),
    fixtures: /^prompt\/prompt/,
  },
  {
    name: "P-tuning (MLP), 20 tokens",
    config: () => new PromptEncoderConfig({ numVirtualTokens: 20 }),
    fixtures: /^prompt\/p_tuning$/,
  },
  {
    name: "P-tuning (LSTM), 20 tokens",
    config: () => new PromptEncoderConfig({ numVirtualTokens: 20, encoderReparameterizationType: "LSTM" }),
    fixtures: /^prompt\/p_tuning_lstm/,
  },
];

/** GPT-2 small without dropout, random weights. */
function smallModel(device: Device): CausalLM {
  const config = new GPT2Config({ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 });
  return new GPT2LMHeadModel(config, { device, seed: 1 });
}

type Trained = CausalLM | PeftModel<CausalLM>;

/** Milliseconds of a training step of 1 x 64 tokens, median of all after the second; the loss must fall. */
async function timeSteps(model: Trained, steps: number): Promise<number> {
  const inputIds = tokenRows(1, 64, 50257);
  const optimizer = new AdamW([...model.parameters()].filter((p) => p.requiresGrad), { lr: LEARNING_RATE });
  const times: number[] = [];
  const losses: number[] = [];
  for (let i = 0; i < steps + 2; i++) {
    const start = performance.now();
    losses.push(await trainingStep(model, optimizer, inputIds));
    times.push(performance.now() - start);
  }
  optimizer.dispose();
  if (!(losses.at(-1)! < losses[0])) {
    throw new Error(`Cannot time a step: losses must fall, received ${losses}`);
  }
  return median(times.slice(2));
}

const relativeL2 = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) [difference, norm] = [difference + (a[i] - b[i]) ** 2, norm + b[i] ** 2];
  return norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
};
const maxAbs = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from({ length: b.length }, (_, i) => Math.abs(a[i] - b[i])));

/** Errors of logits, gradients (relative L2, worst tensor) and ten AdamW losses against one fixture. */
async function fixtureErrors(device: Device, folder: string): Promise<[number, number, number]> {
  const path = FIXTURES + folder;
  const json = JSON.parse(await Deno.readTextFile(`${path}/expected.json`));
  const expected = new Map(
    [...await load(`${path}/expected.safetensors`)].map(([name, { data }]) =>
      [name, new Float32Array(data.slice().buffer)] as const
    ),
  );
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  const config = await readAdapterConfig(path);
  const adapterName = folder.startsWith("bottleneck") ? "pirate" : "default";
  let model: PeftModel<CausalLM>;
  if (isPromptLearning(config)) { // its file holds what the network gives, not the network
    model = getPeftModel(base, config);
    for (const [name, parameter] of model.namedParameters()) {
      if (parameter.requiresGrad) parameter.write(expected.get(`param.${name}`)!.slice());
    }
  } else model = await PeftModel.fromPretrained(base, path, { isTrainable: true, adapterName });
  model.eval();
  /** The gradient of a parameter in the fixture. BitFit's file is a LoRA of the base's biases. */
  const gradientOf = (name: string) =>
    adapterName === "pirate"
      ? expected.get(`grad.${hubFormat.toDisk(name.replace(".adapters.pirate", ""), "pirate")}`)
      : ["", ".base_layer"].map((layer) =>
        expected.get(`grad.${name.replace(".bitfit_bias.default", `${layer}.bias`)}`)
      ).find((values) => values !== undefined);
  const inputs = { inputIds: json.input_ids, labels: json.labels };
  const { lr, betas, eps, weight_decay: weightDecay } = json.adamw;
  const trained = [...model.parameters()].filter((p) => p.requiresGrad);
  const optimizer = new AdamW(trained, { lr, betas, eps, weightDecay });
  let [logits, gradients, losses] = [0, NaN, 0];
  for (let step = 0; step < 10; step++) {
    const output = model.forward(inputs);
    if (step === 0) logits = maxAbs(await output.logits.data(), expected.get("logits")!);
    losses = Math.max(losses, Math.abs(await output.loss!.item() - json.adamw.losses[step]));
    output.loss!.backward();
    if (step === 0) {
      for (const [name, { grad }] of model.namedParameters()) {
        const wanted = gradientOf(name);
        if (grad && wanted) gradients = Math.max(gradients || 0, relativeL2(await grad.data(), wanted));
      }
    }
    output.dispose();
    optimizer.step();
    optimizer.zeroGrad();
  }
  if (Number.isNaN(gradients)) {
    throw new Error(`Cannot compare ${folder}: no gradient has a name of the fixture`);
  }
  optimizer.dispose();
  model.dispose();
  device.trim();
  return [logits, gradients, losses];
}

/** Folders of adapters in tests/fixtures. */
function fixtureFolders(): string[] {
  return ["lora", "lora_variants", "methods", "prompt", "bottleneck"].flatMap((kind) =>
    [...Deno.readDirSync(FIXTURES + kind)].filter(({ isDirectory }) => isDirectory).map(({ name }) =>
      `${kind}/${name}`
    )
  ).concat("bitfit").sort();
}

/** Bytes of an adapter's files. */
async function savedBytes(model: PeftModel<CausalLM>): Promise<number> {
  const folder = await Deno.makeTempDir();
  try {
    await model.savePretrained(folder);
    let bytes = 0;
    for (const { name } of Deno.readDirSync(folder)) {
      if (name.endsWith(".safetensors")) bytes += (await Deno.stat(`${folder}/${name}`)).size;
    }
    return bytes;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Measures every method; `steps` timed steps each, none for 0. */
export async function benchMethods(
  device: Device,
  cases: readonly MethodCase[],
  steps: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  let [whole, lora] = [NaN, NaN];
  if (steps > 0) {
    const model = smallModel(device).train();
    whole = await timeSteps(model, steps);
    model.dispose();
    device.trim();
    rows.push({ method: "every weight", parameters: 124439808, "optimizer MB": 995.5, ms: whole });
  }
  for (const { name, config, fixtures } of cases) {
    const row: Record<string, string | number> = { method: name };
    if (steps > 0) {
      const model = getPeftModel(smallModel(device), config());
      const [trainable] = model.getNbTrainableParameters();
      row.parameters = trainable;
      row["optimizer MB"] = 8 * trainable / 1e6;
      row["file MB"] = await savedBytes(model) / 1e6;
      row.ms = await timeSteps(model, steps);
      if (Number.isNaN(lora)) lora = row.ms;
      row["of LoRA's"] = row.ms / lora;
      row["of all weights'"] = row.ms / whole;
      model.dispose();
      device.trim();
    }
    const errors: number[][] = [];
    for (const folder of fixtureFolders().filter((folder) => fixtures.test(folder))) {
      errors.push(await fixtureErrors(device, folder));
    }
    if (errors.length > 0) {
      const worst = (i: number) => Math.max(...errors.map((each) => each[i])).toExponential(1);
      Object.assign(row, { logits: worst(0), gradients: worst(1), "ten losses": worst(2) });
    }
    rows.push(row);
    console.log(formatTable([row]));
  }
  return rows;
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      only: { type: "string" },
      steps: { type: "string", default: "5" },
      errors: { type: "boolean" },
      json: { type: "string" },
    },
  });
  const device = await initDevice();
  const cases = CASES.filter(({ name }) => name.includes(values.only ?? ""));
  const rows = await benchMethods(device, cases, values.errors ? 0 : Number(values.steps));
  console.log(`\nMethods on ${device.adapterName}\n${formatTable(rows)}`);
  if (values.json) {
    const report = {
      date: new Date().toISOString(),
      adapter: device.adapterName,
      load: Deno.loadavg(),
      rows,
    };
    await Deno.writeTextFile(values.json, `${JSON.stringify(report, null, 1)}\n`);
  }
}

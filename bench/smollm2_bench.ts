/**
 * SmolLM2-135M-Instruct: load time, LoRA step (r = 8 on q_proj and v_proj), decoding, peak bytes, launches, with float32
 * and float16 weights; GPT-2 small's step beside it, by multiply-adds, also in turn; PyTorch and llama.cpp on the same
 * cores in the same run. Needs pip or the file in the cache, and for the peers a Python with torch, transformers and peft,
 * and npm.
 * Run: deno run -A bench/smollm2_bench.ts [--steps 4] [--python PATH] [--only float32,float16,gpt2,turns,peers]
 * @module
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Tensor, tidy } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import {
  AutoModelForCausalLM,
  type CausalLM,
  GPT2Config,
  GPT2LMHeadModel,
  type LlamaForCausalLM,
} from "../model/mod.ts";
import { getPeftModel, LoraConfig, type PeftModel } from "../peft/mod.ts";
import { fetchLlamaCpp } from "../tools/fetch_llama_cpp.ts";
import { fetchSmolLM2 } from "../tools/fetch_smollm2.ts";
import { AdamW } from "../train/mod.ts";
import { LEARNING_RATE, tokenRows } from "./gpt_cases.ts";
import { trainingStep } from "./training_step.ts";
import { median, printTable, type Row } from "./harness.ts";

/** Weights that a token is multiplied with: every matrix but embeddings that are only looked up. */
function multiplied(model: CausalLM): number {
  let sum = 0;
  for (const [name, parameter] of model.namedParameters()) {
    const looked = /(wpe|lora_\w+|embed_tokens|wte)\b/.test(name);
    if (parameter.shape.length === 2 && !looked) sum += parameter.size;
  }
  return sum + model.facts.vocabSize * model.facts.hiddenSize; // the head
}

/** Least times of forward and backward of several models that take turns: the machine's own rate moves within minutes. */
async function inTurn(
  models: Readonly<Record<string, PeftModel<CausalLM>>>,
  length: number,
  rounds: number,
): Promise<Row[]> {
  const inputIds = tokenRows(1, length, 40000);
  const least = new Map<string, number>();
  for (let round = 0; round <= rounds; round++) {
    for (const [name, model] of Object.entries(models)) {
      const start = performance.now();
      const loss = tidy(() => {
        const { loss } = model.forward({ inputIds, labels: inputIds }) as { loss: Tensor };
        loss.backward();
        return loss;
      });
      await loss.item();
      loss.dispose();
      for (const parameter of model.parameters()) {
        parameter.grad?.dispose();
        parameter.grad = null;
      }
      const ms = performance.now() - start;
      if (round > 0) least.set(name, Math.min(ms, least.get(name) ?? Infinity)); // the first one compiles
    }
  }
  return Object.entries(models).map(([name, model]) => {
    const ms = least.get(name)!;
    return {
      "forward and backward": `${name}, 1 x ${length}`,
      ms,
      "ps per multiply-add": 1e9 * ms / (length * multiplied(model.getBaseModel())),
    };
  });
}

/** A training step's figures; the loss must fall. */
async function stepRow(
  device: Device,
  name: string,
  model: PeftModel<CausalLM>,
  length: number,
  steps: number,
): Promise<Row> {
  const inputIds = tokenRows(1, length, 40000);
  const trained = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
  const optimizer = new AdamW(trained, { lr: LEARNING_RATE });
  const times: number[] = [];
  const losses: number[] = [];
  let dispatches = 0;
  device.trim();
  for (let i = 0; i < steps + 2; i++) {
    if (i === 1) device.resetPeakMemory();
    const before = device.stats.dispatches;
    const start = performance.now();
    losses.push(await trainingStep(model, optimizer, inputIds));
    times.push(performance.now() - start);
    dispatches = device.stats.dispatches - before;
  }
  const { peakBytes } = device.memory;
  optimizer.dispose();
  if (!(losses.at(-1)! < losses[0])) {
    throw new Error(`Cannot time ${name}: the loss does not fall: ${losses}`);
  }
  const ms = median(times.slice(2));
  const base = model.getBaseModel();
  return {
    step: `${name}, 1 x ${length}`,
    ms,
    "ps per multiply-add": 1e9 * ms / (length * multiplied(base)),
    dispatches,
    "per block": dispatches / base.facts.numLayers,
    "peak MB": peakBytes / 1e6,
    loss: `${losses[0].toFixed(4)} -> ${losses.at(-1)!.toFixed(4)}`,
  };
}

/** Prints a row at once: all of them take over ten minutes. */
function say(row: Row): Row {
  console.log(
    Object.values(row).map((value) => typeof value === "number" ? value.toFixed(2) : value).join("  "),
  );
  return row;
}

const lora = (targetModules: string[]) => new LoraConfig({ r: 8, targetModules, taskType: "CAUSAL_LM" });

/** What a program prints. @throws {Error} if it fails */
async function output(command: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  if (success) return new TextDecoder().decode(stdout).trim();
  throw new Error(`Cannot run ${command}: ${new TextDecoder().decode(stderr).slice(-500)}`);
}

const besideThis = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Decoding, and with PyTorch training, by others on the CPU: what they print, as it is. */
async function runPeers(path: string, python: string | undefined): Promise<void> {
  if (python) {
    console.log("PyTorch, float32, 2 threads");
    console.log(await output(python, [besideThis("./smollm2_torch.py"), dirname(path), "2"]));
  }
  const folder = await fetchLlamaCpp();
  if (folder === null) return;
  console.log("llama.cpp, the file as it is, 2 threads");
  console.log(await output("node", [besideThis("./peers/smollm2_llama_cpp.mjs"), folder, path, "2"]));
}

/** GPT-2 small's steps, and steps of both in turn. */
async function besideGpt2(
  device: Device,
  path: string,
  steps: number,
  only: readonly string[],
): Promise<{ rows: Row[]; turns: Row[] }> {
  const [rows, turns]: [Row[], Row[]] = [[], []];
  const config = new GPT2Config({ residPdrop: 0, embdPdrop: 0, attnPdrop: 0 });
  const gpt2 = getPeftModel(new GPT2LMHeadModel(config, { device, seed: 1 }), lora(["c_attn"]));
  for (const length of only.includes("gpt2") ? [64, 256] : []) {
    rows.push(say(await stepRow(device, "GPT-2 small, float32", gpt2, length, steps)));
  }
  if (!only.includes("turns")) {
    gpt2.dispose();
    return { rows, turns };
  }
  const smol = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(path, { dtype: "float32" });
  const both = {
    "SmolLM2, float32": getPeftModel(smol, lora(["q_proj", "v_proj"])),
    "GPT-2 small, float32": gpt2,
  };
  for (const length of [64, 256]) turns.push(...(await inTurn(both, length, 2 * steps)).map(say));
  for (const model of Object.values(both)) model.dispose();
  return { rows, turns };
}

const PARTS = ["float32", "float16", "gpt2", "turns", "peers"] as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      steps: { type: "string", default: "3" },
      python: { type: "string" },
      only: { type: "string" },
    },
  });
  const steps = Number(values.steps);
  const only = values.only?.split(",") ?? PARTS;
  const strange = only.find((part) => !(PARTS as readonly string[]).includes(part));
  if (strange !== undefined) throw new Error(`Cannot run "${strange}": --only takes ${PARTS.join(", ")}`);
  const path = await fetchSmolLM2();
  if (path === null) throw new Error("Cannot run: pip is required to fetch SmolLM2");
  const device = await initDevice();
  console.log(`${device.adapterName}, ${new Date().toISOString()}`);
  const rows: Row[] = [];
  const turns: Row[] = [];
  const decoding: Row[] = [];
  for (const dtype of (["float32", "float16"] as const).filter((part) => only.includes(part))) {
    const start = performance.now();
    const model = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(path, { dtype });
    await device.sync();
    const load = performance.now() - start;
    const prompt = tokenRows(1, 8, 40000);
    const generate = (maxNewTokens: number) => model.generate(prompt, { maxNewTokens, eosTokenId: null });
    await generate(4);
    let before = performance.now();
    await generate(1);
    const first = performance.now() - before;
    before = performance.now();
    const dispatches = device.stats.dispatches;
    await generate(25);
    const rest = performance.now() - before - first;
    decoding.push(say({
      weights: dtype,
      "load ms": load,
      "first token ms": first,
      "tokens/s": 24e3 / rest,
      "dispatches per token": (device.stats.dispatches - dispatches) / 25,
      "live MB": device.memory.liveBytes / 1e6,
    }));
    const peftModel = getPeftModel(model, lora(["q_proj", "v_proj"]));
    for (const length of [64, 256]) {
      rows.push(say(await stepRow(device, `SmolLM2, ${dtype}`, peftModel, length, steps)));
    }
    peftModel.dispose();
    device.trim();
  }
  if (only.includes("peers")) await runPeers(path, values.python);
  if (only.includes("gpt2") || only.includes("turns")) {
    const more = await besideGpt2(device, path, steps, only);
    rows.push(...more.rows);
    turns.push(...more.turns);
  }
  if (rows.length > 0) printTable("Step: LoRA r = 8", rows);
  if (turns.length > 0) printTable("In turn, least of each", turns);
  if (decoding.length > 0) printTable("Decoding after 8 tokens", decoding);
}

if (import.meta.main) await main();

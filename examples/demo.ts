/**
 * The whole pipeline: load a model, fine-tune it with LoRA, save the adapter, load it into a fresh model, merge it, and
 * compare texts before and after. `./run demo` uses the small model and the pirate stories beside this file;
 * `./run demo --model gpt2 --data my.txt` takes yours.
 * @module
 */

import { basename } from "@std/path";
import { parseArgs } from "node:util";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  checkWritableFolder,
  formatProgress,
  getPeftModel,
  initDevice,
  LoraConfig,
  PeftModel,
  TextDataset,
  type Tokenizer,
  Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import { lossCurve, type LossPoint } from "./loss_curve.ts";

const HELP = `Fine-tunes a model with LoRA and shows what changed.

Usage: ./run demo [flags]

  --model <folder, .gguf or hub id>  Default: the small GPT-2 that ships here
  --data <file>                      .txt or .jsonl to learn; default: pirate stories
  --eval-data <file>                 Held-out data; default: more pirate stories, or none with --data
  --prompt <text>                    Text that the samples continue
  --steps <n>                        Optimizer steps; default 90
  --batch-size <n>                   Rows per step; default 8
  --lr <number>                      Learning rate; default 0.006, or 0.0002 with --model
  --output <folder>                  Default: out/demo
  --help                             Show this text`;

const here = new URL("./demo/", import.meta.url).pathname;

/** Targets for the small model, chosen by held-out loss. */
export const SMALL_MODEL_TARGETS = ["c_attn", "c_proj", "c_fc", "lm_head"] as const;
/** Steps between two measurements of the held-out loss. */
const EVAL_STEPS = 15;

/** What the demo was asked for. */
export interface Settings {
  readonly model: string;
  readonly data: string;
  readonly evalData: string | null;
  readonly prompts: readonly string[];
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  /** What LoRA adapts: for the small model also its head, which has to learn a pirate's words. */
  readonly targetModules: string | readonly string[];
  readonly output: string;
}

/** The flags as they were given. @throws {TypeError} for others */
function readFlags(args: string[]) {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      args,
      options: {
        model: text,
        data: text,
        "eval-data": text,
        prompt: text,
        steps: text,
        "batch-size": text,
        lr: text,
        output: text,
        help: { type: "boolean" },
      },
    }).values;
  } catch (cause) {
    const [reason] = (cause as Error).message.split(".");
    throw new TypeError(`Cannot run the demo: ${reason}; see ./run demo --help`, { cause });
  }
}

/** What the command line asks for; null for `--help`. @throws {Error} for flags that do not exist or are no numbers */
export function readSettings(args: string[]): Settings | null {
  const values = readFlags(args);
  if (values.help) return null;
  const number = (name: "steps" | "batch-size" | "lr", fallback: number) => {
    const value = Number(values[name] ?? fallback);
    if (!(value > 0)) {
      throw new RangeError(`Cannot run the demo: --${name} must be positive, received "${values[name]}"`);
    }
    return value;
  };
  return {
    model: values.model ?? `${here}model`,
    data: values.data ?? `${here}data/pirate.jsonl`,
    evalData: values["eval-data"] ?? (values.data ? null : `${here}data/pirate_held_out.jsonl`),
    prompts: values.prompt
      ? [values.prompt]
      : values.data
      ? ["Once upon a time"]
      : ["Once upon a time", "Ahoy"],
    steps: number("steps", 90),
    batchSize: number("batch-size", 8),
    learningRate: number("lr", values.model ? 2e-4 : 6e-3),
    targetModules: values.model ? "all-linear" : [...SMALL_MODEL_TARGETS],
    output: values.output ?? "out/demo",
  };
}

/** Prints a line over the last one on a terminal, and every two seconds elsewhere; collects the losses. */
function progressLine(points: LossPoint[]): TrainerCallback {
  let last = 0;
  const show = (line: string, final: boolean) => {
    const terminal = Deno.stdout.isTerminal();
    if (!terminal && !final && performance.now() - last < 2000) return;
    last = performance.now();
    if (!terminal) return console.log(line); // goes on where nobody reads it
    Deno.stdout.writeSync(new TextEncoder().encode(`\r${line.padEnd(78)}${final ? "\n" : ""}`));
  };
  return {
    onLog: (_args, state, _control, { logs }) => {
      if (logs?.loss !== undefined) {
        points.push({ step: state.globalStep, loss: logs.loss, series: "training" });
      }
    },
    onEvaluate: (_args, state, _control, { logs }) => {
      if (logs?.evalLoss !== undefined) {
        points.push({ step: state.globalStep, loss: logs.evalLoss, series: "held out" });
      }
    },
    onStepEnd: (_args, state) => show(formatProgress(state), false),
    onTrainEnd: (_args, state) => show(formatProgress(state), true),
  };
}

/** A text up to the end of its last whole sentence; all of it where no sentence ends. */
function wholeSentences(text: string): string {
  return /^[\s\S]*[.!?]["\u201d]?(?=\s|$)/.exec(text)?.[0] ?? text;
}

async function sample(
  model: CausalLM | PeftModel<CausalLM>,
  tokenizer: Tokenizer,
  prompt: string,
) {
  const options = { maxNewTokens: 60, doSample: true, topK: 20, temperature: 0.6, seed: 5 };
  const [ids] = await model.generate(tokenizer(prompt), options);
  return wholeSentences(tokenizer.decode(ids, { skipSpecialTokens: true }));
}

async function samples(
  title: string,
  model: CausalLM,
  tokenizer: Tokenizer,
  prompts: readonly string[],
) {
  console.log(`\n${title}`);
  for (const prompt of prompts) console.log(`  ${await sample(model, tokenizer, prompt)}`);
}

/** Runs the demo; returns held-out losses before and after, where there is held-out data. */
export async function demo(settings: Settings): Promise<{ before: number; after: number } | null> {
  const { model: id, output } = settings;
  await checkWritableFolder(output, "run the demo: --output");
  const device = await initDevice();
  console.log(`device: ${device.adapterName}`);
  const tokenizer = await AutoTokenizer.fromPretrained(id);
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);
  const blockSize = Math.min(128, base.facts.maxPositions);
  const trainDataset = await TextDataset.fromFile(settings.data, tokenizer, { blockSize });
  const evalDataset = settings.evalData === null
    ? undefined
    : await TextDataset.fromFile(settings.evalData, tokenizer, { blockSize });
  await samples("before:", base, tokenizer, settings.prompts);

  const peftModel = getPeftModel(
    base,
    new LoraConfig({ r: 16, loraAlpha: 32, targetModules: settings.targetModules as string[] | string }),
  );
  console.log();
  peftModel.printTrainableParameters();
  const points: LossPoint[] = [];
  const trainer = new Trainer({
    model: peftModel,
    args: {
      maxSteps: settings.steps,
      perDeviceTrainBatchSize: settings.batchSize,
      learningRate: settings.learningRate,
      lrSchedulerType: "cosine",
      warmupSteps: Math.ceil(settings.steps / 20),
      loggingSteps: 2,
      loggingFirstStep: true,
      reportTo: "none",
      ...(evalDataset ? { evalStrategy: "steps", evalSteps: EVAL_STEPS } : {}),
    },
    trainDataset,
    evalDataset,
    callbacks: [progressLine(points)],
  });
  console.log(`training: ${settings.steps} steps (the first one compiles the kernels)`);
  const before = evalDataset && await trainer.evaluate();
  if (before) points.push({ step: 0, loss: before.evalLoss, series: "held out" });
  await trainer.train();
  const after = evalDataset && await trainer.evaluate();
  if (before && after) {
    if (settings.steps % EVAL_STEPS !== 0) {
      points.push({ step: settings.steps, loss: after.evalLoss, series: "held out" });
    }
    const fall = 100 * (1 - after.evalLoss / before.evalLoss);
    console.log(
      `held-out loss: ${before.evalLoss.toFixed(3)} -> ${after.evalLoss.toFixed(3)} (${
        fall.toFixed(0)
      } % less)`,
    );
  }
  await peftModel.savePretrained(output);
  await Deno.writeTextFile(`${output}/loss.svg`, lossCurve(points, `LoRA on ${basename(settings.data)}`));
  console.log(`written: ${output}/adapter_config.json, adapter_model.safetensors, loss.svg`);

  const fresh = await AutoModelForCausalLM.fromPretrained<CausalLM>(id);
  const loaded = await PeftModel.fromPretrained(fresh, output);
  const merged = await loaded.mergeAndUnload();
  await samples("after (adapter loaded into a fresh model and merged):", merged, tokenizer, settings.prompts);
  return before && after ? { before: before.evalLoss, after: after.evalLoss } : null;
}

if (import.meta.main) {
  try {
    const settings = readSettings(Deno.args);
    if (settings) await demo(settings);
    else console.log(HELP);
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    Deno.exit(1);
  }
}

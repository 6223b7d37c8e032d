/**
 * What each PEFT method learns of the demo's pirate texts: held-out loss after the same steps, by trained parameters, at
 * the best of a few learning rates. `--json` adds the results to those that the file has, and `--picture` draws
 * docs/pictures/methods.svg of all of them: with a file and no names, of what it has.
 * Run: deno run -A bench/method_quality_bench.ts [lora full …] [--steps 60] [--json FILE] [--picture]
 * @module
 */
import { parseArgs } from "node:util";
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  getPeftModel,
  TextDataset,
  Trainer,
} from "@peft/webgpu";
import { type AdapterMethod, FULL, METHODS } from "../jobs/finetune/methods.ts";
import { learningRateOf } from "../options/method_defaults.ts";
import { formatTable } from "./harness.ts";

const HERE = new URL("../", import.meta.url).pathname;
const DEMO = `${HERE}examples/demo/`;
/** The commands' learning rate times these, as the model is small and the steps are few: the best counts. */
const FACTORS = [5, 25];
/** The least rate that these multiply: that of whole models is meant for those that know much already. */
const LEAST_RATE = 2e-4;

/** A method at its best learning rate. */
interface Result {
  readonly method: string;
  readonly trained: number;
  readonly learningRate: number;
  readonly before: number;
  readonly after: number;
  /** Milliseconds of a step. */
  readonly step: number;
}

const { values, positionals } = parseArgs({
  options: {
    steps: { type: "string", default: "60" },
    json: { type: "string" },
    picture: { type: "boolean" },
  },
  allowPositionals: true,
});
const steps = Number(values.steps);
const tokenizer = await AutoTokenizer.fromPretrained(`${DEMO}model`);
const dataOf = (name: string) => TextDataset.fromFile(`${DEMO}data/${name}`, tokenizer, { blockSize: 64 });
const [trainDataset, evalDataset] = [await dataOf("pirate.jsonl"), await dataOf("pirate_held_out.jsonl")];

/** One training. */
async function train(method: AdapterMethod | typeof FULL, learningRate: number): Promise<Result> {
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${DEMO}model`);
  const flags = {
    ...{ method, rank: 8, alpha: undefined, dropout: 0, rslora: false, targets: undefined },
    ...{ "virtual-tokens": 20, "method-options": undefined },
  };
  const model = method === FULL
    ? base
    : getPeftModel(base, METHODS[method].make(METHODS[method].fields(flags, steps)));
  const trained = [...model.parameters()].filter(({ requiresGrad }) => requiresGrad)
    .reduce((sum, { size }) => sum + size, 0);
  const trainer = new Trainer({
    model,
    trainDataset,
    evalDataset,
    args: {
      ...{ maxSteps: steps, learningRate, warmupSteps: 3, lrSchedulerType: "cosine", reportTo: "none" },
      ...{ perDeviceTrainBatchSize: 8, perDeviceEvalBatchSize: 16 },
    },
  });
  const before = (await trainer.evaluate()).evalLoss;
  const start = performance.now();
  await trainer.train();
  const step = (performance.now() - start) / steps;
  const after = (await trainer.evaluate()).evalLoss;
  model.dispose();
  return { method, trained, learningRate, before, after, step };
}

/** Whether a point's name stands below it, as that of its left neighbour stands where it would. */
function isBelow(point: Result, all: readonly Result[]): boolean {
  return all.some(({ trained, after }) =>
    trained < point.trained && point.trained < 1.15 * trained && Math.abs(after - point.after) < 0.2
  );
}

/** Held-out loss by trained parameters. */
function picture(results: readonly Result[]): string {
  const { document } = parseHTML("<html><body></body></html>");
  const figure = Plot.plot({
    document,
    ...{
      width: 760,
      height: 460,
      marginLeft: 50,
      marginRight: 70,
      marginTop: 50,
      marginBottom: 45,
      grid: true,
    },
    x: { type: "log", label: "trained parameters", tickFormat: "~s" },
    y: { label: "loss on held-out texts (nats per token)", zero: true, nice: true },
    marks: [
      Plot.ruleY([results[0].before], { stroke: "#999999", strokeDasharray: "4 4" }),
      Plot.text([`before: ${results[0].before.toFixed(2)}`], {
        ...{ x: Math.min(...results.map(({ trained }) => trained)), y: results[0].before },
        ...{ dy: -8, textAnchor: "start", fill: "#777777" },
      }),
      Plot.dot(results, { x: "trained", y: "after", fill: "#3b6fb6", r: 5 }),
      ...[-11, 16].map((dy) =>
        Plot.text(results.filter((result) => isBelow(result, results) === dy > 0), {
          ...{ x: "trained", y: "after", text: "method", dy, fontSize: 12 },
        })
      ),
    ],
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const background = `<rect width="100%" height="100%" fill="#ffffff"/>`;
  return figure.outerHTML.replace(/(<svg[^>]*>)/, `$1${background}`);
}

type Name = AdapterMethod | typeof FULL;
const all: readonly Name[] = [...Object.keys(METHODS) as Name[], FULL];
const names = positionals.length > 0 ? positionals as Name[] : values.picture && values.json ? [] : all;
const results: Result[] = values.json
  ? JSON.parse(await Deno.readTextFile(values.json).catch(() => "[]"))
  : [];
for (const method of names) {
  const tried: Result[] = [];
  for (const factor of FACTORS) {
    tried.push(await train(method, Math.max(LEAST_RATE, learningRateOf(method)) * factor));
  }
  const sound = tried.filter(({ after }) => Number.isFinite(after));
  results.push(sound.toSorted((a, b) => a.after - b.after)[0]);
  console.log(tried.map((one) => `${method} lr ${one.learningRate}: ${one.after.toFixed(3)}`).join(", "));
}
console.log(formatTable(results.map(({ method, trained, learningRate, before, after, step }) => ({
  ...{ method, trained: trained.toLocaleString("en-US"), lr: learningRate.toPrecision(2) },
  ...{ before: before.toFixed(3), after: after.toFixed(3), "ms per step": step.toFixed(0) },
}))));
if (values.json) await Deno.writeTextFile(values.json, JSON.stringify(results, null, 2));
if (values.picture) {
  await Deno.mkdir(`${HERE}docs/pictures`, { recursive: true });
  await Deno.writeTextFile(`${HERE}docs/pictures/methods.svg`, picture(results));
}

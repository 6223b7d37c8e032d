/**
 * A batch of 4 x 64 tokens through two blocks as wide as GPT-2 small: one LoRA adapter for all rows, another adapter for
 * each row in one forward, and the rows one after the other with their adapters. The mixed batch must have the logits of
 * the single rows before a figure is printed.
 * Run: deno run -A bench/mixed_batch_bench.ts
 * @module
 */
import { noGrad } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { type CausalLM, GPT2Config, GPT2LMHeadModel } from "../model/mod.ts";
import { getPeftModel, LoraConfig, type PeftModel } from "../peft/mod.ts";
import { tokenRows } from "./gpt_cases.ts";
import { checkResult, median, printTable, type Row, sampleIndices } from "./harness.ts";

/** Adapters under the clock. */
export interface MixedBatchCase {
  readonly name: string;
  readonly r: number;
  readonly targetModules: string[];
}

const CASES: readonly MixedBatchCase[] = [
  { name: "r=8 on c_attn", r: 8, targetModules: ["c_attn"] },
  { name: "r=16 on every linear layer", r: 16, targetModules: ["c_attn", "c_proj", "c_fc"] },
];

const NAMES = ["a", "b", "c", "d"];
const LENGTH = 64;

function build(device: Device, { r, targetModules }: MixedBatchCase): PeftModel<CausalLM> {
  const config = new GPT2Config({ nLayer: 2, vocabSize: 1024, bosTokenId: 0, eosTokenId: 0 });
  const base = new GPT2LMHeadModel(config, { device, seed: 1 }).eval();
  const fields = { r, targetModules, initLoraWeights: false } as const;
  const model = getPeftModel(base, new LoraConfig(fields), NAMES[0], { seed: 1 });
  for (const [i, name] of NAMES.slice(1).entries()) {
    model.addAdapter(name, new LoraConfig(fields), { seed: 2 + i });
  }
  return model.eval();
}

/** Median times of the three ways, round by round in turn. */
export async function benchMixedBatch(device: Device, test: MixedBatchCase, rounds = 15): Promise<Row> {
  const model = build(device, test);
  const inputIds = tokenRows(NAMES.length, LENGTH, model.getBaseModel().facts.vocabSize);
  const one = () => noGrad(() => model.forward({ inputIds }));
  const mixed = () => model.forward({ inputIds, adapterNames: NAMES });
  const row = (i: number) => {
    model.setAdapter(NAMES[i]);
    return noGrad(() => model.forward({ inputIds: [inputIds[i]] }));
  };

  const together = mixed();
  const logits = await together.logits.data() as Float32Array;
  together.dispose();
  for (const [i, name] of NAMES.entries()) {
    const alone = row(i);
    const expected = await alone.logits.data();
    alone.dispose();
    const own = logits.subarray(i * expected.length, (i + 1) * expected.length);
    checkResult(`row ${name}`, own, sampleIndices(own.length, 2000), (at) => expected[at], 1e-5);
  }
  model.setAdapter(NAMES[0]);

  const ways = {
    one: () => one().dispose(),
    mixed: () => mixed().dispose(),
    loop: () => {
      for (const i of NAMES.keys()) row(i).dispose();
      model.setAdapter(NAMES[0]);
    },
  };
  const times = { one: [] as number[], mixed: [] as number[], loop: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    for (const way of ["one", "mixed", "loop"] as const) {
      await device.sync();
      const start = performance.now();
      ways[way]();
      await device.sync();
      times[way].push(performance.now() - start);
    }
  }
  model.dispose();
  device.trim();
  const [first, second, third] = [times.one, times.mixed, times.loop].map(median);
  return {
    adapters: test.name,
    "one adapter, ms": first,
    "four in one batch, ms": second,
    "times one": second / first,
    "row by row, ms": third,
  };
}

/** Both cases. */
export async function benchMixedBatches(device: Device): Promise<Row[]> {
  const rows: Row[] = [];
  for (const test of CASES) rows.push(await benchMixedBatch(device, test));
  return rows;
}

if (import.meta.main) {
  const device = await initDevice();
  printTable(
    `4 x ${LENGTH} tokens, 2 blocks of width 768 on ${device.adapterName}`,
    await benchMixedBatches(device),
  );
}

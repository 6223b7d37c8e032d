/**
 * The contract of a PEFT method, every method against every check on GPT-2, and against those that depend on the module
 * tree on the others: one line in `contract_cases.ts` runs them all.
 * @module
 */
import {
  assert,
  assertAllClose,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { captureStep, noGrad, type Tensor } from "../../autograd/mod.ts";
import { safetensors } from "../../io/safetensors.ts";
import type { CausalLM } from "../../model/mod.ts";
import type { Parameter } from "../../nn/mod.ts";
import { peftFormat } from "../../peft/methods/adapter_format.ts";
import { formatOf } from "../../peft/registry.ts";
import { getPeftModel, NoMatchingModuleError, PeftModel } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { trainingStep } from "../reference/training_step.ts";
import { type Case, type Cases, casesOn, type Tree, TREES } from "./contract_cases.ts";
import { bytesOf, logitsOf as logitsOfBatch, randomise, withFolder } from "./tiny_model.ts";

/** A case on a tree. */
interface Placed extends Case {
  /** Its name. */
  readonly name: string;
  readonly tree: Tree;
}

/** Logits and bytes of a tree's base as its file has it, by the tree's name and the dtype. */
const bases = new Map<string, { readonly base: Float32Array; readonly baseBytes: Map<string, string> }>();

/** A tiny model under a fresh adapter, in eval mode, and what the base was. */
async function wrapped({ config, tree }: Placed, dtype: "float32" | "float16" = "float32") {
  const { device, model } = await tree.load(dtype);
  const baseParameters = [...model.namedParameters()];
  const key = `${tree.name}, ${dtype}`;
  const { base, baseBytes } = bases.get(key) ??
    { base: await logitsOfBatch(model, tree.batch), baseBytes: await bytesOf(model) };
  bases.set(key, { base, baseBytes });
  const peftModel = getPeftModel(model, config()).eval();
  const logitsOf = (model: CausalLM | PeftModel<CausalLM>) => logitsOfBatch(model, tree.batch);
  return { device, model, peftModel, base, baseBytes, baseParameters, logitsOf, batch: tree.batch };
}

/** Bytes of parameters by the names they had before an adapter was put in. */
async function bytesOfAll(parameters: readonly [string, Parameter][]): Promise<Map<string, string>> {
  const named = { namedParameters: () => parameters[Symbol.iterator]() };
  return await bytesOf(named as unknown as Parameters<typeof bytesOf>[0]);
}

/** The same model with an adapter that was moved away from its start. */
async function acting(test: Placed) {
  const all = await wrapped(test);
  await randomise(all.peftModel);
  return { ...all, logits: await all.logitsOf(all.peftModel) };
}

const trainable = (model: PeftModel) => [...model.parameters()].filter((p) => p.requiresGrad);

/** One optimizer step; its loss. */
function stepOf(model: PeftModel<CausalLM>, optimizer: AdamW) {
  return (inputIds: number[][] | Tensor): Tensor => trainingStep(model, optimizer, inputIds);
}

/** Losses of steps, read back together. */
async function lossesOf(
  step: (inputIds: number[][]) => Tensor,
  inputIds: number[][],
  steps: number,
): Promise<number[]> {
  const losses = Array.from({ length: steps }, () => step(inputIds));
  const values = await Promise.all(losses.map((loss) => loss.item()));
  for (const loss of losses) loss.dispose();
  return values;
}

/** Losses of a few steps from the same start. */
async function losses(
  test: Placed,
  steps: number,
  { captured = false, checkpointed = false } = {},
): Promise<number[]> {
  const { model } = await test.tree.load();
  const peftModel = getPeftModel(model, test.config()).train();
  if (checkpointed) peftModel.gradientCheckpointingEnable();
  const optimizer = new AdamW(trainable(peftModel), { lr: 1e-2 });
  const step = stepOf(peftModel, optimizer);
  const replay = captureStep(model.device, ({ inputIds }: { inputIds: Tensor }) => step(inputIds));
  const values: number[] = [];
  if (captured) {
    for (let i = 0; i < steps; i++) { // a replay writes its loss where the last one was
      values.push(await replay({ inputIds: test.tree.batch.inputIds }).item());
    }
  } else values.push(...await lossesOf(step, test.tree.batch.inputIds, steps));
  replay.dispose();
  optimizer.dispose();
  peftModel.dispose();
  return values;
}

/** Logits [T, V] of one row of the batch under one adapter alone, or under none. */
async function rowAlone(
  peftModel: PeftModel<CausalLM>,
  name: string,
  row: number[],
): Promise<Float32Array> {
  const run = async () => {
    using output = noGrad(() => peftModel.forward({ inputIds: [row] }));
    return await output.logits.data() as Float32Array;
  };
  if (name === "__base__") return await peftModel.disableAdapter(run);
  peftModel.setAdapter(name, { inferenceMode: true });
  return await run();
}

/** The words of a refusal of mixed batches, by method; all others mix. */
const UNMIXABLE: Readonly<Record<string, string>> = {
  "DoRA": "Cannot mix adapters: Cannot pass `adapter_names` when DoRA is enabled.",
  PREFIX_TUNING: "Cannot mix adapters: adapters that wrap layers are required, received virtual tokens",
  PROMPT_TUNING: "Cannot mix adapters: adapters that wrap layers are required, received virtual tokens",
  P_TUNING: "Cannot mix adapters: adapters that wrap layers are required, received virtual tokens",
};

/** Whether rows of a batch may use different adapters of a case. */
function mixes(test: Placed): boolean {
  return !(test.name in UNMIXABLE || test.config().peftType in UNMIXABLE);
}

const CHECKS: Readonly<Record<string, (test: Placed) => Promise<void>>> = {
  "starts as the identity, or as documented": async (test) => {
    const { peftModel, base, logitsOf } = await wrapped(test);
    const logits = await logitsOf(peftModel);
    if (test.start === "nothing") assertAllClose(logits, base, { rtol: 0, atol: 1e-5 });
    else assertNotEquals(logits, base);
    peftModel.dispose();
  },

  "trains its own parameters alone, all of them, and the base keeps every byte": async (test) => {
    const { peftModel, baseParameters, baseBytes, batch } = await wrapped(test);
    const before = await bytesOf(peftModel);
    const optimizer = new AdamW(trainable(peftModel), { lr: 1e-2 });
    const values = await lossesOf(stepOf(peftModel, optimizer), batch.inputIds, 8);
    assert(values.at(-1)! < values[0], `the loss falls, received ${values}`);
    assertEquals(await bytesOfAll(baseParameters), baseBytes);
    const after = await bytesOf(peftModel);
    for (const [name, parameter] of peftModel.namedParameters()) {
      assertEquals(after.get(name) !== before.get(name), parameter.requiresGrad, name);
    }
    optimizer.dispose();
    peftModel.dispose();
  },

  "is saved as its format says, and loads under another name to the same logits": async (test) => {
    const { peftModel, logits, logitsOf } = await acting(test);
    await withFolder(async (folder) => {
      await peftModel.savePretrained(folder);
      const { weightsFile } = formatOf(test.config());
      const file = await safetensors.load(`${folder}/${weightsFile}`);
      const named = weightsFile === peftFormat.weightsFile ? 0 : file.size; // AdapterHub's keys carry the name
      assertEquals([...file.keys()].filter((key) => /(^|\.)default(\.|$)/.test(key)).length, named);
      const { model } = await test.tree.load();
      const loaded = await PeftModel.fromPretrained(model, folder, { adapterName: "other" });
      assertEquals(trainable(loaded), []);
      assertEquals(loaded.training, false);
      assertAllClose(await logitsOf(loaded), logits, { rtol: 0, atol: 1e-6 });
      loaded.dispose();
      const again = await PeftModel.fromPretrained((await test.tree.load()).model, folder, {
        isTrainable: true,
      });
      assertEquals(trainable(again).length, trainable(peftModel).length);
      again.dispose();
    });
    peftModel.dispose();
  },

  "refuses to merge, and goes on": async (test) => {
    const { peftModel, logits, logitsOf } = await acting(test);
    await assertRejects(() => peftModel.mergeAdapter(), Error, "Cannot merge");
    assertEquals(await logitsOf(peftModel), logits);
    peftModel.dispose();
  },

  "merges to what it computes unmerged, and unmerges to the base's bytes": async (test) => {
    const { peftModel, logits, baseParameters, baseBytes, base, model, logitsOf } = await acting(test);
    for (const safeMerge of [false, true]) {
      await peftModel.mergeAdapter({ safeMerge });
      assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 1e-5 });
      peftModel.unmergeAdapter();
      assertEquals(await bytesOfAll(baseParameters), baseBytes);
      assertEquals(await logitsOf(peftModel), logits);
    }
    const plain = await peftModel.mergeAndUnload();
    assertEquals(plain, model);
    assertAllClose(await logitsOf(plain), logits, { rtol: 0, atol: 1e-5 });
    assertNotEquals(await logitsOf(plain), base);
    plain.dispose();
  },

  "switched off is the base bit for bit, also after an exception": async (test) => {
    const { peftModel, logits, base, logitsOf } = await acting(test);
    assertNotEquals(logits, base);
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    assertThrows(() =>
      peftModel.disableAdapter(() => {
        throw new RangeError("stop");
      }), RangeError);
    assertEquals(await logitsOf(peftModel), logits);
    peftModel.dispose();
  },

  "lists candidates where no target matches, and changes nothing": async ({ unmatched, tree }) => {
    const { model } = await tree.load();
    const [names, bytes] = [[...model.namedModules()].map(([name]) => name), await bytesOf(model)];
    const error = assertThrows(() => getPeftModel(model, unmatched!()), NoMatchingModuleError);
    assert(tree.listed.test(error.message), error.message);
    assertEquals([...model.namedModules()].map(([name]) => name), names);
    assertEquals(await bytesOf(model), bytes);
    model.dispose();
  },

  "lives beside a second adapter of its kind, and goes without a trace": async (test) => {
    const { device, peftModel, model, logits, base, baseParameters, baseBytes, logitsOf } = await acting(
      test,
    );
    const live = device.memory.liveBytes;
    peftModel.addAdapter("second", test.config(), { seed: 5 });
    assertEquals(peftModel.activeAdapters, ["default"]);
    assertEquals(await logitsOf(peftModel), logits, "one that rests changes nothing");
    peftModel.setAdapter("second");
    await randomise(peftModel, 7);
    const second = await logitsOf(peftModel);
    assertNotEquals(second, logits);
    peftModel.setAdapter("default");
    assertEquals(await logitsOf(peftModel), logits);
    peftModel.deleteAdapter("second");
    assertEquals(await logitsOf(peftModel), logits);
    assertEquals(device.memory.liveBytes, live);
    const plain = peftModel.unload();
    assertEquals(plain, model);
    assertEquals(await logitsOf(plain), base);
    assertEquals(await bytesOfAll(baseParameters), baseBytes);
    assertEquals([...plain.namedParameters()].map(([name]) => name), baseParameters.map(([name]) => name));
    plain.dispose();
    assertEquals(device.memory.liveBytes, 0);
  },

  "gives each row of a mixed batch its own adapter's logits, and base rows the base's": async (test) => {
    const { peftModel, batch } = await acting(test);
    peftModel.addAdapter("second", test.config(), { seed: 5 });
    peftModel.setAdapter("second");
    await randomise(peftModel, 7);
    for (const names of [["__base__", "__base__"], ["second", "__base__"], ["default", "second"]]) {
      peftModel.setAdapter("default", { inferenceMode: true });
      using output = peftModel.forward({ inputIds: batch.inputIds, adapterNames: names });
      const logits = await output.logits.data() as Float32Array;
      const size = logits.length / names.length;
      for (const [i, name] of names.entries()) {
        const own = await rowAlone(peftModel, name, batch.inputIds[i]);
        const label = `${names}: row ${i}`;
        assertAllClose(logits.slice(i * size, (i + 1) * size), own, { rtol: 0, atol: 2e-6, label });
      }
    }
    peftModel.dispose();
  },

  "refuses rows with adapters of their own by name, and goes on": async (test) => {
    const { peftModel, logits, logitsOf, batch } = await acting(test);
    const error = assertThrows(
      () => peftModel.forward({ inputIds: batch.inputIds, adapterNames: ["default", "__base__"] }),
      Error,
    );
    const { peftType } = test.config();
    assertEquals(error.message, UNMIXABLE[peftType] ?? UNMIXABLE[test.name]);
    assertEquals(await logitsOf(peftModel), logits);
    peftModel.dispose();
  },

  "works over frozen float16 weights": async (test) => {
    const { peftModel, base, logitsOf } = await wrapped(test, "float16");
    const logits = await logitsOf(peftModel);
    if (test.start === "nothing") assertAllClose(logits, base, { rtol: 0, atol: 1e-5 });
    await randomise(peftModel);
    assertNotEquals(await logitsOf(peftModel), base);
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    peftModel.dispose();
  },

  "generates the same tokens with and without the cache": async (test) => {
    const { peftModel, batch } = await acting(test);
    const prompts = batch.inputIds.map((row) => row.slice(0, 4));
    const options = { maxNewTokens: 6, eosTokenId: null };
    const cached = await peftModel.generate(prompts, options);
    assertEquals(await peftModel.generate(prompts, { ...options, useCache: false }), cached);
    peftModel.dispose();
  },

  "gives the same losses bit for bit from a captured step, and with gradient checkpointing": async (test) => {
    const eager = await losses(test, 5);
    assertEquals(await losses(test, 5, { captured: true }), eager);
    assertEquals(await losses(test, 5, { captured: true, checkpointed: true }), eager, "checkpointed");
    assertEquals(new Set(eager).size, eager.length);
  },

  "has no gradient for the base, and for each of its own": async (test) => {
    const { peftModel, baseParameters, batch } = await acting(test);
    const { loss } = noGrad(() => peftModel.forward({ inputIds: batch.inputIds, labels: batch.labels }));
    loss!.dispose();
    const output = peftModel.forward({ inputIds: batch.inputIds, labels: batch.labels });
    output.loss!.backward();
    for (const [name, parameter] of baseParameters) assertEquals(parameter.grad, null, name);
    for (const [name, parameter] of peftModel.namedParameters()) {
      assertEquals(parameter.grad !== null, parameter.requiresGrad, name);
      parameter.grad?.dispose();
    }
    output.dispose();
    peftModel.dispose();
  },
};

/** Which cases a check is for; one that is not listed is for all of them. */
const APPLIES: Readonly<Record<string, (test: Placed) => boolean>> = {
  "refuses to merge, and goes on": ({ merges }) => !merges,
  "merges to what it computes unmerged, and unmerges to the base's bytes": ({ merges }) => merges,
  "lists candidates where no target matches, and changes nothing": ({ unmatched }) => unmatched !== undefined,
  "gives each row of a mixed batch its own adapter's logits, and base rows the base's": mixes,
  "refuses rows with adapters of their own by name, and goes on": (test) => !mixes(test),
};

for (const criterion of Object.keys(APPLIES)) {
  if (!(criterion in CHECKS)) throw new Error(`there is no check "${criterion}"`);
}

/** Checks of each tree but GPT-2's, which has all: those that depend on heads, positions, ties, and stored weights. */
const CHECKS_ON: Readonly<Record<Exclude<keyof typeof TREES, "gpt2">, readonly string[]>> = {
  llama: [
    "merges to what it computes unmerged, and unmerges to the base's bytes",
    "lives beside a second adapter of its kind, and goes without a trace",
    "gives each row of a mixed batch its own adapter's logits, and base rows the base's",
    "works over frozen float16 weights",
    "generates the same tokens with and without the cache",
    "gives the same losses bit for bit from a captured step, and with gradient checkpointing",
  ],
  gemma3: [
    "gives each row of a mixed batch its own adapter's logits, and base rows the base's",
    "generates the same tokens with and without the cache",
    "gives the same losses bit for bit from a captured step, and with gradient checkpointing",
  ],
};

for (const [key, tree] of Object.entries(TREES)) {
  const chosen = CHECKS_ON[key as keyof typeof CHECKS_ON] ?? Object.keys(CHECKS);
  for (const criterion of chosen) {
    if (!(criterion in CHECKS)) throw new Error(`there is no check "${criterion}"`);
  }
  for (const [method, cases] of Object.entries(casesOn(tree))) {
    const refusal = tree.refused?.[method as keyof Cases];
    if (refusal !== undefined) {
      Deno.test(`${tree.name} refuses ${method} by name, and is as it was`, async () => {
        const { model } = await tree.load();
        const names = [...model.namedParameters()].map(([name]) => name);
        for (const { config } of Object.values(cases)) {
          assertThrows(() => getPeftModel(model, config()), TypeError, refusal);
        }
        assertEquals([...model.namedParameters()].map(([name]) => name), names);
        model.dispose();
      });
      continue;
    }
    for (const [name, test] of Object.entries(cases)) {
      if (tree !== TREES.gpt2 && test.isLocal) continue;
      const placed = { ...test, name, tree };
      for (const criterion of chosen) {
        if (!(APPLIES[criterion]?.(placed) ?? true)) continue;
        const label = tree === TREES.gpt2 ? name : `${name} on ${tree.name}`;
        Deno.test(`${label} ${criterion}`, () => CHECKS[criterion](placed));
      }
    }
  }
}

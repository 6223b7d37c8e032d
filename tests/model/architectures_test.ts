import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AdamW } from "../../train/mod.ts";
import { noGrad } from "../../autograd/mod.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { type SafetensorsInput, serialize } from "../../io/safetensors.ts";
import { architectureOf, ARCHITECTURES } from "../../model/architectures.ts";
import { loadModel } from "../../model/checkpoint.ts";
import { LlamaConfig } from "../../model/llama/config.ts";
import { VARIANTS } from "../../model/llama/variants.ts";
import { AutoModelForCausalLM } from "../../model/mod.ts";
import {
  AdaLoraConfig,
  BOFTConfig,
  FourierFTConfig,
  getPeftModel,
  IA3Config,
  LNTuningConfig,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  OFTConfig,
  type PeftConfig,
  PeftModel,
  PrefixTuningConfig,
  PromptEncoderConfig,
  PromptTuningConfig,
  TrainableTokensConfig,
  VeraConfig,
} from "../../peft/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { TOY, ToyConfig, ToyForCausalLM } from "./toy_model.ts";

const device = await ownDevice({ fresh: true });
const inputIds = [[3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4]];

const toy = (seed = 1) => new ToyForCausalLM(new ToyConfig(), { device, seed });

async function logitsOf(model: ToyForCausalLM): Promise<number[]> {
  using output = noGrad(() => model.forward({ inputIds }));
  return [...await output.logits.data() as Float32Array];
}

const encode = (json: unknown) => new TextEncoder().encode(JSON.stringify(json));

/** Files of a toy; its tensors under other names or edited. */
async function filesOf(
  model: ToyForCausalLM,
  rename: (name: string) => string = (name) => name,
): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const tensors: Record<string, SafetensorsInput> = {};
  for (const [name, parameter] of model.namedParameters()) {
    const data = await parameter.data() as Float32Array<ArrayBuffer>;
    tensors[rename(name)] = { dtype: "F32", shape: parameter.shape, data };
  }
  tensors["body.counter"] = { dtype: "F32", shape: [1], data: Float32Array.of(1) };
  return { "config.json": encode(model.config.toJSON()), "model.safetensors": serialize(tensors) };
}

Deno.test("architectureOf() finds an architecture by model_type, and names an unknown one with those that are known", async () => {
  const known = { modelTypes: ["toy"] };
  assertEquals(architectureOf({ model_type: "gpt2" }, ARCHITECTURES).modelTypes, ["gpt2"]);
  assertEquals(architectureOf({}, ARCHITECTURES).modelTypes, ["gpt2"]);
  assertEquals(architectureOf({ model_type: "toy" }, [known]), known);
  const llama = architectureOf({ model_type: "qwen3" }, ARCHITECTURES);
  assertEquals(llama.modelTypes, Object.keys(VARIANTS)); // each has its entry, and no other
  assert((await llama.load()).readConfig({ model_type: "qwen3" }) instanceof LlamaConfig);
  assertThrows(
    () => architectureOf({ model_type: "falcon" }, ARCHITECTURES),
    TypeError,
    'Cannot load the model: model_type must be one of "gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3", received "falcon"',
  );
  assertThrows(
    () => architectureOf({}, [known, { modelTypes: ["toy2", "toy3"] }]),
    TypeError,
    'Cannot load the model: model_type must be one of "toy", "toy2", "toy3", received none',
  );
});

Deno.test("AutoModelForCausalLM refuses an unknown architecture before a tensor is read", async () => {
  const opened: string[] = [];
  const files = memoryFolder({ "config.json": encode({ model_type: "toy" }) }, "a toy");
  const source = {
    name: files.name,
    open: (name: string) => {
      opened.push(name);
      return files.open(name);
    },
  };
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(source),
    TypeError,
    'Cannot load the model: model_type must be one of "gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3", received "toy"',
  );
  assertEquals(opened, ["config.json"]);
});

Deno.test("loadModel() fills a new architecture's tree from the names its family gives", async () => {
  const model = toy();
  const files = await filesOf(model, (name) => name.replace("body.", "stack."));
  const loaded = await loadModel(memoryFolder(files, "toy"), () => TOY, { device });
  assertEquals(await logitsOf(loaded), await logitsOf(model.eval()));
  assertEquals(loaded.config.nameOrPath, "toy");
  const saved = memoryFolder({}, "saved");
  await loaded.savePretrained(saved);
  const again = await loadModel(saved, () => TOY, { device });
  assertEquals(await logitsOf(again), await logitsOf(model));
  const half = await loadModel(saved, () => TOY, { device, dtype: "float16" });
  assertEquals(half.body.layers[0].mix.inFeatures, 24);
  assertEquals(new Set([...half.parameters()].map(({ dtype }) => dtype)), new Set(["float16", "float32"]));
  for (const each of [model, loaded, again, half]) each.dispose();
});

Deno.test("loadModel() compares a checkpoint with the tree before it allocates memory", async () => {
  const model = toy();
  const fresh = await ownDevice({ fresh: true });
  const files = await filesOf(model, (name) => name.replace("layers.1.mix", "layers.1.mixed"));
  files["config.json"] = encode({ ...model.config.toJSON(), words: 31 });
  const error = await assertRejects(
    () => loadModel(memoryFolder(files, "a toy"), () => TOY, { device: fresh }),
    TypeError,
  );
  assertEquals(
    error.message,
    'Cannot load model "a toy/model.safetensors", 4 tensors differ: "body.words.weight" expected [31, 24], found [29, 24]; ' +
      '"body.layers.1.mix.weight" is missing; "lm_head.weight" expected [31, 24], found [29, 24]; ' +
      '"body.layers.1.mixed.weight" is unexpected',
  );
  assertEquals(fresh.memory.peakBytes, 0);
  model.dispose();
});

Deno.test("a new architecture generates, with a cache and without, greedily and with beams", async () => {
  const model = toy().eval();
  const prompts = [[3, 4, 5], [6, 7, 8]];
  const options = { maxNewTokens: 12, eosTokenId: null };
  const cached = await model.generate(prompts, options);
  assertEquals(await model.generate(prompts, { ...options, useCache: false }), cached);
  assertEquals(cached.map((row) => row.length), [15, 15]);
  assertEquals((await model.generate(prompts, { ...options, numBeams: 3 })).length, 2);
  await assertRejects(
    () => model.generate(prompts, { maxNewTokens: 46 }),
    RangeError,
    "Cannot generate 46 tokens after 3: longest 48 allows 45",
  );
  assertThrows(
    () => model.forward({ inputIds: [new Array(49).fill(2)] }),
    RangeError,
    "Cannot run Toy on 49 tokens: at most longest 48 are allowed",
  );
  model.dispose();
});

Deno.test("a new architecture learns with LoRA, and its merged weights give the same logits", async () => {
  const model = toy();
  const peft = getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["mix", "down"] }));
  assertEquals(peft.isCapturable, true);
  const optimizer = new AdamW(peft.parameters(), { lr: 0.02 });
  const losses: number[] = [];
  for (let step = 0; step < 12; step++) {
    using output = peft.forward({ inputIds, labels: inputIds });
    losses.push(await output.loss!.item());
    output.loss!.backward();
    optimizer.step();
    optimizer.zeroGrad();
  }
  assert(losses[11] < losses[0] / 2, losses.join());
  peft.eval();
  using output = noGrad(() => peft.forward({ inputIds }));
  const tuned = await output.logits.data() as Float32Array;
  const merged = await logitsOf(await peft.mergeAndUnload());
  assert(merged.every((value, i) => Math.abs(value - tuned[i]) < 1e-4));
  optimizer.dispose();
  model.dispose();
});

Deno.test("a new architecture takes virtual tokens", async () => {
  for (const config of [PrefixTuningConfig, PromptTuningConfig]) {
    const model = toy();
    const peft = getPeftModel(model, new config({ numVirtualTokens: 4 }));
    const { tokenDim, numLayers, numAttentionHeads } = peft.peftConfig.default as PrefixTuningConfig;
    assertEquals([tokenDim, numLayers, numAttentionHeads], [24, 2, 3]);
    const optimizer = new AdamW(peft.parameters(), { lr: 0.02 });
    const losses: number[] = [];
    for (let step = 0; step < 4; step++) {
      using output = peft.forward({ inputIds, labels: inputIds });
      losses.push(await output.loss!.item());
      output.loss!.backward();
      optimizer.step();
      optimizer.zeroGrad();
    }
    assert(losses[3] < losses[0], losses.join());
    const options = { maxNewTokens: 8, eosTokenId: null };
    const cached = await peft.generate([[3, 4, 5]], options);
    assertEquals(await peft.generate([[3, 4, 5]], { ...options, useCache: false }), cached);
    optimizer.dispose();
    peft.dispose();
  }
});

/** Every method that takes the names of modules, or none, on modules of the toy. */
const METHODS: Readonly<Record<string, PeftConfig>> = (() => {
  const targetModules = ["mix", "down"];
  return {
    "LoRA on one block": new LoraConfig({ targetModules: ["mix"], layersToTransform: [1] }),
    "LoRA on all linear layers": new LoraConfig({ targetModules: "all-linear" }),
    "LoRA on embedding and head": new LoraConfig({ targetModules: ["words", "lm_head"] }),
    "LoRA with tokens": new LoraConfig({ targetModules, trainableTokenIndices: [3, 4] }),
    DoRA: new LoraConfig({ targetModules, useDora: true }),
    AdaLoRA: new AdaLoraConfig({ targetModules, totalStep: 10 }),
    IA3: new IA3Config({ targetModules, feedforwardModules: ["down"] }),
    VeRA: new VeraConfig({ targetModules: ["mix"] }),
    "layer norms": new LNTuningConfig({ targetModules: ["before", "after"] }),
    LoHa: new LoHaConfig({ targetModules }),
    LoKr: new LoKrConfig({ targetModules }),
    OFT: new OFTConfig({ targetModules, oftBlockSize: 8, r: 0 }),
    BOFT: new BOFTConfig({ targetModules, boftBlockSize: 4 }),
    FourierFT: new FourierFTConfig({ targetModules, nFrequency: 50 }),
    tokens: new TrainableTokensConfig({ tokenIndices: [3, 4] }),
    "prefix tuning": new PrefixTuningConfig({ numVirtualTokens: 3 }),
    "prompt tuning": new PromptTuningConfig({ numVirtualTokens: 3 }),
    "P-tuning": new PromptEncoderConfig({ numVirtualTokens: 3, encoderHiddenSize: 8 }),
  };
})();

for (const [name, config] of Object.entries(METHODS)) {
  Deno.test(`a new architecture with ${name}: gradients flow, and the file gives the same logits`, async () => {
    const peft = getPeftModel(toy(), config);
    using output = peft.forward({ inputIds, labels: inputIds });
    output.loss!.backward();
    const trained = [...peft.parameters()].filter(({ requiresGrad }) => requiresGrad);
    assert(trained.length > 0 && trained.some(({ grad }) => grad !== null));
    const optimizer = new AdamW(trained, { lr: 0.02 });
    optimizer.step();
    const folder = memoryFolder({}, "adapter");
    await peft.savePretrained(folder);
    const loaded = await PeftModel.fromPretrained(toy(), folder);
    using mine = noGrad(() => peft.eval().forward({ inputIds }));
    using theirs = noGrad(() => loaded.forward({ inputIds }));
    assertEquals(await theirs.logits.data(), await mine.logits.data());
    optimizer.dispose();
    peft.dispose();
    loaded.dispose();
  });
}

/**
 * GGUF files that we write, in llama.cpp itself: whole models and LoRA adapters.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Device, noGrad } from "../../autograd/mod.ts";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  exportGguf,
  GPT2Config,
  GPT2LMHeadModel,
  LlamaConfig,
  type LlamaConfigFields,
  LlamaForCausalLM,
  type Tokenizer,
} from "../../model/mod.ts";
import {
  type AdaptableModel,
  getPeftModel,
  IA3Config,
  LoraConfig,
  type LoraConfigInput,
} from "../../peft/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { askLlamaCpp, llamaCppFolder, type LlamaCppRequest } from "../reference/llama_cpp.ts";
import { randomise, withFolder } from "./tiny_model.ts";

const llamaCpp = await llamaCppFolder();
const FIXTURES = new URL("../fixtures/gguf/", import.meta.url).pathname;
const PROMPTS = [[300, 17, 512, 9, 411], [3, 650, 77]];
const TEXTS = ["Hello, world 123!", "  two  spaces\nand a line", "naïve café 你好 🙂"];
const COUNT = 12;
/** Logits this near to one another may change places: llama.cpp rounds activations to the format of the weights. */
const TIES = { f16: 0.02, q8_0: 0.3 } as const;

/** Small models of every architecture that llama.cpp has: tokenizer, type, fields and other entries of config.json. */
type Case = readonly [
  tokenizer: string,
  type: LlamaConfig["modelType"],
  fields?: Partial<LlamaConfigFields>,
  json?: Record<string, unknown>,
];
const CASES: Readonly<Record<string, Case>> = {
  llama: ["byte_level_smollm", "llama"],
  "llama, biases, tied": ["byte_level_gpt-2", "llama", {
    attentionBias: true,
    mlpBias: true,
    tieWordEmbeddings: true,
  }],
  "llama3 rope": ["byte_level_llama-bpe", "llama", {}, {
    rope_parameters: {
      rope_type: "llama3",
      rope_theta: 10000,
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
  }],
  "linear rope": ["byte_level_smollm", "llama", {}, {
    rope_parameters: { rope_type: "linear", rope_theta: 10000, factor: 4 },
  }],
  "yarn rope": ["byte_level_smollm", "llama", {}, {
    rope_parameters: {
      rope_type: "yarn",
      rope_theta: 10000,
      factor: 4,
      original_max_position_embeddings: 16,
    },
  }],
  mistral: ["sentencepiece", "mistral", { slidingWindow: 48 }],
  qwen2: ["byte_level_qwen2", "qwen2"],
  qwen3: ["byte_level_qwen2", "qwen3", { headDim: 32 }],
  gemma3: ["sentencepiece", "gemma3_text", {
    numHiddenLayers: 6,
    slidingWindow: 64,
    queryPreAttnScalar: 16,
    tieWordEmbeddings: true,
  }],
  smollm3: ["byte_level_llama-bpe", "smollm3", { numHiddenLayers: 4, tieWordEmbeddings: true }],
};
const VOCABULARY = 768;

function smallLlama(device: Device, [, type, fields, json]: Case): CausalLM {
  const config = new LlamaConfig(type, {
    vocabSize: VOCABULARY,
    hiddenSize: 64,
    intermediateSize: 96,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 16,
    maxPositionEmbeddings: 64,
    initializerRange: 0.3,
    tieWordEmbeddings: false,
    bosTokenId: 1,
    eosTokenId: 2,
    padTokenId: 0,
    ...fields,
  }, json);
  return new LlamaForCausalLM(config, { device });
}

function smallGpt2(device: Device): CausalLM {
  const sizes = { vocabSize: VOCABULARY, nEmbd: 64, nHead: 4, nLayer: 2, nPositions: 64 };
  const tokens = { bosTokenId: 1, eosTokenId: 2 };
  return new GPT2LMHeadModel(new GPT2Config({ ...sizes, ...tokens, initializerRange: 0.3 }), { device });
}

const tokenizerOf = (name: string): Promise<Tokenizer> =>
  AutoTokenizer.fromPretrained(`${FIXTURES}${name}.gguf`);

/** Vectors are ones and zeros at the start: moved, so that a lost one shows. */
async function moveVectors(model: CausalLM): Promise<void> {
  let state = 7;
  for (const parameter of model.parameters()) {
    if (parameter.shape.length !== 1) continue;
    const data = await parameter.data() as Float32Array<ArrayBuffer>;
    parameter.write(data.map((value) => {
      state = (state * 1664525 + 1013904223) >>> 0;
      return value + (state / 2 ** 32 - 0.5) * 0.4;
    }));
  }
}

/** The most probable next tokens, up to the first step at which two are almost as probable. */
async function greedy(
  model: { forward: AdaptableModel["forward"] },
  prompt: readonly number[],
  tie: number = TIES.f16,
): Promise<number[]> {
  const row = [...prompt];
  while (row.length < prompt.length + COUNT) {
    using output = noGrad(() => model.forward({ inputIds: [row] })) as ReturnType<CausalLM["forward"]>;
    const logits = (await output.logits.data() as Float32Array).slice(-VOCABULARY);
    const [best, second] = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
    if (logits[best] - logits[second] < tie) break;
    row.push(best);
  }
  return row.slice(prompt.length);
}

/** What was asked, and what must be answered. */
interface Question extends LlamaCppRequest {
  readonly name: string;
  readonly wanted: readonly (readonly number[])[];
  readonly wantedIds: readonly (readonly number[])[];
}

async function check(questions: readonly Question[], share: number): Promise<void> {
  const answers = await askLlamaCpp(llamaCpp!, questions);
  let compared = 0;
  for (const [i, { name, wanted, wantedIds }] of questions.entries()) {
    const { error, rows, ids } = answers[i];
    assertEquals(error, undefined, name);
    for (const [j, row] of wanted.entries()) {
      compared += row.length;
      assertEquals(rows![j].slice(0, row.length), row, `${name}, prompt ${j}`);
    }
    assertEquals(ids, wantedIds, name);
  }
  const all = questions.length * PROMPTS.length * COUNT;
  assert(compared > share * all, `${compared} of ${all} tokens were far enough from a tie to be compared`);
}

Deno.test({
  name: "llama.cpp continues exported models of every architecture as we do, and reads their tokenizers",
  ignore: llamaCpp === null,
  fn: () =>
    withFolder(async (folder) => {
      const device = await ownDevice();
      const questions: Question[] = [];
      const all: [string, string, CausalLM][] = [
        ["gpt2", "byte_level_gpt-2", smallGpt2(device)],
        ...Object.entries(CASES).map(([name, entry]): [string, string, CausalLM] => [
          name,
          entry[0],
          smallLlama(device, entry),
        ]),
      ];
      for (const [name, tokenizerName, model] of all) {
        const tokenizer = await tokenizerOf(tokenizerName);
        await moveVectors(model);
        for (const dtype of ["f16", "q8_0"] as const) {
          const path = `${folder}/${name} ${dtype}.gguf`;
          await exportGguf(model, path, { dtype, tokenizer });
          const back = await AutoModelForCausalLM.fromPretrained(path, { device });
          const wanted = [];
          for (const prompt of PROMPTS) wanted.push(await greedy(back, prompt, TIES[dtype]));
          questions.push({
            name: `${name} ${dtype}`,
            model: path,
            prompts: PROMPTS,
            texts: TEXTS,
            count: COUNT,
            wanted,
            wantedIds: TEXTS.map((text) => tokenizer.encode(text, { addSpecialTokens: false })),
          });
          back.dispose();
        }
        model.dispose();
      }
      await check(questions, 0.4);
    }),
});

const LORAS: Readonly<Record<string, [family: "gpt2" | "llama" | "qwen2", config: LoraConfigInput]>> = {
  "q, k, v, o with patterns": ["llama", {
    r: 4,
    loraAlpha: 8,
    targetModules: ["q_proj", "k_proj", "v_proj", "o_proj"],
    rankPattern: { k_proj: 2 },
    alphaPattern: { "layers.1.self_attn.v_proj": 20 },
  }],
  "rsLoRA on every layer": ["qwen2", { r: 9, useRslora: true, targetModules: "all-linear" }],
  "embedding and head": ["llama", { r: 4, targetModules: ["embed_tokens", "lm_head", "down_proj"] }],
  "GPT-2's Conv1D, square ones too": ["gpt2", { r: 4, targetModules: ["c_attn", "c_proj", "c_fc"] }],
};

Deno.test({
  name: "llama.cpp loads our LoRA adapters and continues as we do with them",
  ignore: llamaCpp === null,
  fn: () =>
    withFolder(async (folder) => {
      const device = await ownDevice();
      const questions: Question[] = [];
      for (const [name, [family, config]] of Object.entries(LORAS)) {
        const start = family === "gpt2"
          ? smallGpt2(device)
          : smallLlama(device, ["", family, family === "llama" ? {} : { attentionBias: true }]);
        await moveVectors(start);
        const path = `${folder}/${name}.gguf`;
        const tokenizer = await tokenizerOf("byte_level_gpt-2");
        await exportGguf(start, path, { tokenizer });
        start.dispose();
        const base = await AutoModelForCausalLM.fromPretrained(path, { device });
        const question = { model: path, prompts: PROMPTS, count: COUNT, wantedIds: [] };
        const plain = [];
        for (const prompt of PROMPTS) plain.push(await greedy(base, prompt));
        const model = getPeftModel(base, new LoraConfig({ ...config, taskType: "CAUSAL_LM" }));
        await randomise(model);
        await model.savePretrained(`${folder}/${name}`, { format: "gguf" });
        assertEquals([...Deno.readDirSync(`${folder}/${name}`)].map(({ name }) => name), [
          "adapter_model.gguf",
        ]);
        const wanted = [];
        for (const prompt of PROMPTS) wanted.push(await greedy(model.eval(), prompt));
        assert(JSON.stringify(wanted) !== JSON.stringify(plain), `${name}: the adapter must show`);
        const adapter = `${folder}/${name}/adapter_model.gguf`;
        questions.push({ ...question, name: `${name}, base alone`, wanted: plain });
        questions.push({ ...question, name, adapter, wanted });
        const merged = `${folder}/${name} merged.gguf`;
        await exportGguf(await model.mergeAndUnload(), merged, { tokenizer });
        const back = await AutoModelForCausalLM.fromPretrained(merged, { device });
        const mergedWanted = [];
        for (const prompt of PROMPTS) mergedWanted.push(await greedy(back, prompt));
        back.dispose();
        assertEquals(mergedWanted.map(([first]) => first), wanted.map(([first]) => first), `${name}, merged`);
        questions.push({ ...question, name: `${name}, merged`, model: merged, wanted: mergedWanted });
        model.dispose();
      }
      await check(questions, 0.65);
    }),
});

Deno.test("what a GGUF adapter cannot hold is refused by name, and nothing is written", () =>
  withFolder(async (folder) => {
    const device = await ownDevice();
    const plain = { r: 2, targetModules: ["q_proj"] };
    const refused: [LoraConfig | IA3Config, RegExp][] = [
      [
        new IA3Config({ targetModules: ["k_proj"], feedforwardModules: [] }),
        /a LoRA adapter is required, received IA3/,
      ],
      [new LoraConfig({ ...plain, useDora: true }), /DoRA cannot be held/],
      [new LoraConfig({ ...plain, loraBias: true, targetModules: ["o_proj"] }), /lora_bias cannot be held/],
      [new LoraConfig({ ...plain, bias: "all" }), /bias must be "none", received "all"/],
      [new LoraConfig({ ...plain, modulesToSave: ["lm_head"] }), /modules_to_save cannot be held/],
      [new LoraConfig({ ...plain, trainableTokenIndices: [1] }), /trained tokens cannot be held/],
      [
        new LoraConfig({ ...plain, initLoraWeights: "olora" }),
        /starts with olora needs \{ convertToLora: true \}/,
      ],
      [new LoraConfig({ r: 2, targetModules: ["lm_head"] }), /head that is the embedding cannot be held/],
    ];
    for (const [config, message] of refused) {
      const tied = config instanceof LoraConfig && String(config.targetModules) === "lm_head";
      const biased = config instanceof LoraConfig && config.loraBias;
      const fields = { tieWordEmbeddings: tied, attentionBias: biased };
      const model = getPeftModel(smallLlama(device, ["", "llama", fields]), config);
      await assertRejects(
        () => model.savePretrained(`${folder}/a`, { format: "gguf" }),
        TypeError,
        "Cannot save the adapter as GGUF",
      );
      const error = await model.savePretrained(`${folder}/a`, { format: "gguf" }).catch((error) => error);
      assert(message.test(error.message), error.message);
      await assertRejects(
        () => exportGguf(model as unknown as CausalLM, `${folder}/m.gguf`),
        TypeError,
        "without adapters",
      );
      await assertRejects(
        () => exportGguf(model.getBaseModel(), `${folder}/m.gguf`),
        TypeError,
        "mergeAndUnload",
      );
      model.dispose();
    }
    const model = smallLlama(device, CASES.llama);
    for (
      const [options, message] of [
        [{ dtype: "q4_0" as "f16" }, 'dtype must be "f16" or "q8_0", received "q4_0"'],
        [
          { tokenizer: await AutoTokenizer.fromPretrained("gpt2") },
          "the model has 768 tokens, the tokenizer 50257",
        ],
      ] as const
    ) await assertRejects(() => exportGguf(model, `${folder}/m.gguf`, options), TypeError, message);
    model.dispose();
    assertEquals([...Deno.readDirSync(folder)], []);
    assertEquals(device.memory.liveBytes, 0);
  }));

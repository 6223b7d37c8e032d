/**
 * What each method takes in a model whose configuration names no modules: the one table of `peft/` that knows models.
 * @module
 */

/** Names of one type of model. */
interface ModelNames {
  /** Modules that a method adapts, by the method's name; those that are missing have no default. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  /** Those of (IA)^3's targets whose inputs are scaled; null: no default. */
  readonly feedforward: readonly string[] | null;
  /** The list of blocks, and its parts. */
  readonly blocks: BlockNames;
}

/** Names of a model's blocks. */
export interface BlockNames {
  /** The list of blocks. */
  readonly list: string;
  /** The attention of a block. */
  readonly attention: string;
  /** The MLP of a block. */
  readonly mlp: string;
  /** Whether a block norms what its parts give before it is added to the stream. */
  readonly hasNormsAfter?: boolean;
}

/** Methods that take the attention's projections, whatever the model. */
const projections = (names: readonly string[]): Record<string, readonly string[]> =>
  Object.fromEntries(["adalora", "boft", "loha", "lokr", "lora", "oft", "vera"].map((name) => [name, names]));

const LLAMA_BLOCKS: BlockNames = { list: "layers", attention: "self_attn", mlp: "mlp" };

/** What `peft` 0.21 adapts in Llama's family. */
function llama(ia3: string, norms: readonly string[]): ModelNames {
  const attention = ["q_proj", "v_proj"];
  return {
    targets: {
      ...projections(attention),
      fourierft: attention,
      ia3: [ia3, "v_proj", "down_proj"],
      ln_tuning: norms,
    },
    feedforward: ["down_proj"],
    blocks: LLAMA_BLOCKS,
  };
}

const LLAMA = llama("k_proj", ["input_layernorm", "post_attention_layernorm", "norm"]);
const QWEN = llama("q_proj", ["post_attention_layernorm"]);
const GEMMA = llama("q_proj", [
  "input_layernorm",
  "post_attention_layernorm",
  "pre_feedforward_layernorm",
  "post_feedforward_layernorm",
  "norm",
]);
const { adalora: _, ...MISTRAL_TARGETS } = LLAMA.targets;

/** By `modelType` of the model's configuration. Source: `peft` 0.21, utils/constants.py. */
const MODELS: Readonly<Record<string, ModelNames>> = {
  gpt2: {
    targets: {
      ...projections(["c_attn"]),
      fourierft: ["mlp.c_proj"],
      ia3: ["c_attn", "mlp.c_proj"],
      ln_tuning: ["ln_1", "ln_2", "ln_f"],
    },
    feedforward: ["mlp.c_proj"],
    blocks: { list: "h", attention: "attn", mlp: "mlp" },
  },
  llama: LLAMA,
  mistral: { ...LLAMA, targets: MISTRAL_TARGETS },
  qwen2: QWEN,
  qwen3: QWEN,
  gemma3_text: { ...GEMMA, blocks: { ...LLAMA_BLOCKS, hasNormsAfter: true } },
  smollm3: { targets: {}, feedforward: null, blocks: LLAMA_BLOCKS }, // not in the tables
};

/** Path of the output head, which "all-linear" leaves out, in every model. */
export const HEAD = "lm_head";

/** Names of embeddings whose base weights are written with an adapter that takes them (`EMBEDDING_LAYER_NAMES`). */
export const EMBEDDING_NAMES: readonly string[] = ["embed_tokens", HEAD];

function namesOf(modelType: string | undefined): ModelNames | undefined {
  return modelType !== undefined && Object.hasOwn(MODELS, modelType) ? MODELS[modelType] : undefined;
}

/** Modules that a method adapts where the configuration names none; null if the user must name them. */
export function defaultTargets(method: string, modelType: string | undefined): readonly string[] | null {
  return namesOf(modelType)?.targets[method] ?? null;
}

/** Those of (IA)^3's default targets whose inputs are scaled; null for a model that is not known. */
export function defaultFeedforward(modelType: string | undefined): readonly string[] | null {
  return namesOf(modelType)?.feedforward ?? null;
}

/** Names of a model's blocks. @throws {TypeError} for a model that is not known */
export function blockNames(method: string, modelType: string | undefined): BlockNames {
  const names = namesOf(modelType)?.blocks;
  if (names) return names;
  const known = Object.keys(MODELS).map((name) => JSON.stringify(name)).join(", ");
  throw new TypeError(
    `Cannot apply ${method}: a model whose parts are known (${known}) is required, received ${modelType}`,
  );
}

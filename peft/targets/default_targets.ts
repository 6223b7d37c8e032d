/**
 * What each method takes in a model whose configuration names no modules: the one table of `peft/` that knows models.
 * @module
 */

/** Names of one type of model. */
interface ModelNames {
  /** Modules that a method adapts, by the method's name; those that are missing have no default. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  /** Those of (IA)^3's targets whose inputs are scaled. */
  readonly feedforward: readonly string[];
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
}

const ATTENTION = ["c_attn"];

/** By `modelType` of the model's configuration. */
const MODELS: Readonly<Record<string, ModelNames>> = {
  gpt2: {
    targets: {
      adalora: ATTENTION,
      bitfit: ["ln_1", "c_attn", "c_proj", "ln_2", "c_fc", "ln_f"],
      boft: ATTENTION,
      fourierft: ["mlp.c_proj"],
      ia3: ["c_attn", "mlp.c_proj"],
      ln_tuning: ["ln_1", "ln_2", "ln_f"],
      loha: ATTENTION,
      lokr: ATTENTION,
      lora: ATTENTION,
      oft: ATTENTION,
      vera: ATTENTION,
    },
    feedforward: ["mlp.c_proj"],
    blocks: { list: "h", attention: "attn", mlp: "mlp" },
  },
};

/** Path of the output head, which "all-linear" leaves out, in every model. */
export const HEAD = "lm_head";

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
  const names = namesOf(modelType);
  if (names) return names.blocks;
  const known = Object.keys(MODELS).map((name) => JSON.stringify(name)).join(", ");
  throw new TypeError(
    `Cannot apply ${method}: a model whose parts are known (${known}) is required, received ${modelType}`,
  );
}

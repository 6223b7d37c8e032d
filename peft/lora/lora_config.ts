/**
 * The configuration of LoRA, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import { flag, number, type Rule, rule } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import {
  BLOCKWISE_OPTIONS,
  COMMON_OPTIONS,
  type ConfigClass,
  MethodConfig,
  type MethodTable,
  readFields,
} from "../config/method_config.ts";
import { type BlockwiseFields, refuseConfig } from "../config/peft_config.ts";
import { alphaTable, bias, probability, rank, rankTable, tokensByModule } from "../config/rules.ts";
import { completeLoftQ, type LoftQConfig, loftQFromJSON, loftQToJSON } from "./loftq_config.ts";
import { completeEva, type EvaConfig, evaFromJSON, evaToJSON } from "./eva_config.ts";
import { LORA_IGNORED, LORA_UNSUPPORTED } from "./lora_file.ts";

/**
 * Ids of the input embedding, or of modules by the ends of their names.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import type { TokenIndices } from "@peft/webgpu/peft";
 *
 * const ofBoth: TokenIndices = { wte: [50257, 50258], wpe: [0] }; // new tokens, and the first position
 * console.log(new LoraConfig({ r: 8, trainableTokenIndices: ofBoth }).trainableTokenIndices);
 * ```
 */
export type TokenIndices = readonly number[] | Readonly<Record<string, readonly number[]>>;

/**
 * Initial values of A [r, in] and B [out, r]:
 * - true: A uniform in ±1/sqrt(in), B zero
 * - false: B uniform in ±1/sqrt(r) too, so that the adapter changes the model at once (for tests)
 * - "gaussian": A normal with standard deviation 1/r, B zero
 * - "orthogonal": A and B random with B A = 0, r even (https://datta0.github.io/posts/rethink-lora-init)
 * - "pissa": the r largest singular values of the weight and their vectors, which are taken off it (Meng et al. 2024,
 *   arXiv:2404.02948); "pissa_niter_N": found by N subspace iterations, quicker on large weights
 * - "olora": the first r columns of Q and rows of R of the weight, which are taken off it (Büyükakyüz 2024,
 *   arXiv:2406.01775)
 * - "loftq": the weight becomes what NF4 (or int8) holds of it, for good, and A and B the best factors of what that lacks
 *   (Li et al. 2023, arXiv:2310.08659), see `loftqConfig`
 * - "eva": as true, until `initializeLoraEvaWeights` sets A from the data (Paischer et al. 2024, arXiv:2410.07170)
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { LoraInit } from "@peft/webgpu/peft";
 *
 * for (const initLoraWeights of [true, "pissa_niter_4"] satisfies LoraInit[]) {
 *   const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 *   const model = getPeftModel(base, new LoraConfig({ r: 4, initLoraWeights, targetModules: ["attn.c_proj"] }));
 *   const [, B] = [...model.namedParameters()].find(([name]) => name.includes("lora_B"))!;
 *   console.log((await B.data()).some((value) => value !== 0)); // false: B begins at 0; true: at the weight's largest part
 * }
 * ```
 */
export type LoraInit =
  | boolean
  | "gaussian"
  | "orthogonal"
  | "pissa"
  | `pissa_niter_${number}`
  | "olora"
  | "loftq"
  | "eva";

/**
 * Fields of a LoRA configuration.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import type { LoraConfigFields } from "@peft/webgpu/peft";
 *
 * const fields: Partial<LoraConfigFields> = {
 *   r: 8,
 *   targetModules: ["c_attn", "c_fc"],
 *   layersToTransform: [0, 1],
 *   rankPattern: { c_fc: 4 }, // half the rank there
 *   loraBias: true,
 * };
 * console.log(new LoraConfig(fields).toJSON().rank_pattern); // { c_fc: 4 }
 * ```
 */
export interface LoraConfigFields extends BlockwiseFields {
  /** Rank; default 8. */
  r: number;
  /** Numerator of the scaling; default 8. */
  loraAlpha: number;
  /** Dropout of the adapter's input while training; default 0. */
  loraDropout: number;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "lora_only";
  /** Scale by alpha / sqrt(r) instead of alpha / r; default false. */
  useRslora: boolean;
  /** Train the length of each output column of the weight apart (DoRA); default false. */
  useDora: boolean;
  /**
   * Tokens whose rows of the embedding train: ids of the input embedding, or `{ wte: ids, wpe: ids }`. A tied head uses the
   * same rows. Default null.
   */
  trainableTokenIndices: TokenIndices | null;
  /** Initial values of A and B, see `LoraInit`; default true. */
  initLoraWeights: LoraInit;
  /** Options of the start "eva"; default null: its defaults. */
  evaConfig: EvaConfig | null;
  /** Options of the start "loftq"; default null: its defaults. */
  loftqConfig: LoftQConfig | null;
  /**
   * Give B a bias that trains; only with initLoraWeights true or false, without DoRA, not on embeddings. Default false.
   */
  loraBias: boolean;
  /** Ranks of modules whose name matches a pattern; default {}. */
  rankPattern: Readonly<Record<string, number>>;
  /** Alphas of modules whose name matches a pattern; default {}. */
  alphaPattern: Readonly<Record<string, number>>;
  /** Whether weights are stored [in, out]; read from the module, and written to the file. */
  fanInFanOut: boolean;
}

/**
 * What a LoRA configuration is made of: any of its fields, and any of EVA's and LoftQ's options.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import type { LoraConfigInput } from "@peft/webgpu/peft";
 *
 * const input: LoraConfigInput = { initLoraWeights: "loftq", loftqConfig: { loftqIter: 5 } }; // one of LoftQ's options
 * console.log(new LoraConfig(input).loftqConfig); // { loftqBits: 4, loftqIter: 5 }: the other has its default
 * ```
 */
export type LoraConfigInput = Partial<Omit<LoraConfigFields, "evaConfig" | "loftqConfig">> & {
  evaConfig?: Partial<EvaConfig> | null;
  loftqConfig?: Partial<LoftQConfig> | null;
};

/** Named initial values; a name that ends in "_" has a number after it. */
const NAMED_INITS = ["gaussian", "orthogonal", "pissa", "pissa_niter_", "olora", "loftq", "eva"] as const;

/** Initial values that `peft` has beside them, and why they are not supported. */
const ABSENT_INITS: Readonly<Record<string, string>> = {
  corda: "use pissa, or eva to start from data",
  lora_ga: "use pissa, or eva to start from data",
  mica: "use pissa",
};

/** `pissa_niter_16` as [`pissa_niter_`, 16]; null for a name that is not supported. */
export function parseInit(
  name: string,
): readonly [name: (typeof NAMED_INITS)[number], argument: number | null] | null {
  const [, key, digits] = /^([^]*?)(\d*)$/.exec(name)!;
  const found = NAMED_INITS.find((init) => init === key);
  if (found === undefined || found.endsWith("_") !== (digits !== "")) return null;
  return [found, digits === "" ? null : Number(digits)];
}

/** Whether initial values are chosen by name. */
export function isNamedInit(value: LoraInit): value is Exclude<LoraInit, boolean> {
  return typeof value === "string";
}

/** Fails for an odd rank, which the start "orthogonal" cannot have. @throws {RangeError} */
export function checkEvenRank(rank: number): void {
  if (rank % 2 !== 0) {
    refuseConfig("lora", `Orthogonal initialization requires the LoRA rank to be even, got ${rank} instead.`);
  }
}

const init: Rule<LoraInit> = {
  ...rule<LoraInit>(
    "a supported start",
    (value) => typeof value === "boolean" || typeof value === "string" && parseInit(value) !== null,
  ),
  message: (name, value) =>
    typeof value === "string" && Object.hasOwn(ABSENT_INITS, value)
      ? `${name}="${value}" is not supported: ${ABSENT_INITS[value]}`
      : `Unknown initialization ${name}=${JSON.stringify(value)}`,
};

const { loftq_config: _, ...UNSUPPORTED } = LORA_UNSUPPORTED;

const TABLE: MethodTable<LoraConfigFields> = {
  method: "lora",
  title: "LoRA",
  peftType: "LORA",
  options: {
    ...COMMON_OPTIONS,
    r: option(8, rank, { inSummary: "always" }),
    loraAlpha: option(8, number(0), { inSummary: "always" }),
    loraDropout: option(0, probability, { inSummary: "changed" }),
    useRslora: option(false, flag, { inSummary: "changed" }),
    useDora: option(false, flag, { inSummary: "changed" }),
    loraBias: option(false, flag, { inSummary: "changed" }),
    initLoraWeights: option<LoraInit>(true, init, { inSummary: "changed" }),
    evaConfig: option<EvaConfig | null>(null, rule("a table of options or null", () => true)), // see completeEva
    loftqConfig: option<LoftQConfig | null>(null, rule("a table of options or null", () => true)), // see completeLoftQ
    rankPattern: option({}, rankTable, { inSummary: "changed" }),
    alphaPattern: option({}, alphaTable, { inSummary: "changed" }),
    trainableTokenIndices: option<TokenIndices | null>(null, tokensByModule, { inSummary: "changed" }),
    bias: option("none", bias("lora_only"), { inSummary: "changed" }),
    fanInFanOut: option(false, flag),
    ...BLOCKWISE_OPTIONS,
  },
  unsupported: UNSUPPORTED,
  ignored: LORA_IGNORED,
  check: (fields, refuse) => {
    if (fields.initLoraWeights === "orthogonal") checkEvenRank(fields.r);
    if (fields.loraBias && isNamedInit(fields.initLoraWeights)) {
      refuse(
        `The argument lora_bias=True is only supported with init_lora_weights=True or False, got init_lora_weights=${fields.initLoraWeights} instead.`,
      );
    }
    if (fields.loraBias && fields.useDora) {
      refuse("The argument lora_bias=True is not supported for DoRA, please pass use_dora=False");
    }
  },
};

/**
 * A LoRA configuration, with Hugging Face's fields and defaults.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 32, targetModules: ["c_attn"], loraDropout: 0.1 }));
 * model.printTrainableParameters();
 * ```
 */
export class LoraConfig extends MethodConfig<LoraConfigFields> {
  /** "LORA". */
  readonly peftType = "LORA";

  /** @internal */
  override get table(): MethodTable<LoraConfigFields> {
    return TABLE;
  }

  /** Fields that are not given take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: LoraConfigInput = {}) {
    const eva = fields.evaConfig ?? (fields.initLoraWeights === "eva" ? {} : null);
    const loftq = fields.loftqConfig ?? (fields.initLoraWeights === "loftq" ? {} : null);
    super({
      ...fields,
      evaConfig: eva === null ? null : completeEva(eva),
      loftqConfig: loftq === null ? null : completeLoftQ(loftq),
    });
  }

  /**
   * The configuration that an `adapter_config.json` holds.
   * @throws {RangeError} for an entry that is not supported, or a value that LoRA cannot have
   */
  static override fromJSON<C extends MethodConfig>(
    this: ConfigClass<C>,
    json: Readonly<Record<string, unknown>>,
  ): C {
    const fields = readFields(TABLE, json);
    const { evaConfig: eva, loftqConfig: loftq } = fields;
    const hasLoftQ = Object.keys(loftq ?? {}).length > 0; // peft writes an empty table for none
    return new this({
      ...fields,
      evaConfig: eva && evaFromJSON(eva),
      loftqConfig: hasLoftQ ? loftQFromJSON(loftq!) : null,
    } as never);
  }

  /** The entries of `adapter_config.json`. */
  override toJSON(): Record<string, unknown> {
    return {
      ...super.toJSON(),
      eva_config: evaToJSON(this.evaConfig),
      loftq_config: loftQToJSON(this.loftqConfig),
    };
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 *
 * const config: LoraConfig = LoraConfig.fromJSON({ r: 16, lora_alpha: 32, use_rslora: true, target_modules: ["c_attn"] });
 * const scaling = config.loraAlpha / (config.useRslora ? Math.sqrt(config.r) : config.r);
 * console.log(scaling); // 8
 * ```
 */
export interface LoraConfig extends LoraConfigFields {}

/**
 * The optimizers that the Trainer makes by their names. A new one is an entry here: settings, plans, the command line and
 * captured steps follow from it.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { camelCase, checkOptions } from "../../options/names.ts";
import { Adafactor } from "./adafactor.ts";
import { AdamW } from "./adamw.ts";
import { AdamW8bit } from "./adamw_8bit.ts";
import { Lion } from "./lion.ts";
import type { Optimizer } from "./optimizer.ts";
import { SGD } from "./sgd.ts";

/** What the settings of a training say of its optimizer. */
export interface OptimizerSettings {
  readonly learningRate: number;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
  readonly adamEpsilon: number;
  /** Options beside, of the optimizer alone. */
  readonly optimArgs: OptimArgs | null;
}

/**
 * Options of an optimizer by name, or as text: `momentum=0.9, nesterov=true`.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 * import type { OptimArgs } from "@peft/webgpu/train";
 *
 * const byName: OptimArgs = { momentum: 0.9, nesterov: true };
 * const asText: OptimArgs = "momentum=0.9, nesterov=true"; // as a command line has it
 * for (const optimArgs of [byName, asText]) console.log(new TrainingArguments({ optim: "sgd", optimArgs }).optimArgs);
 * ```
 */
export type OptimArgs = string | Readonly<Record<string, unknown>>;

/** Parameters with the options of their group. */
export type Groups = readonly { readonly params: readonly Tensor[]; readonly weightDecay: number }[];

interface Entry {
  /** What it is, for pages and help texts. */
  readonly about: string;
  /** Names that `optimArgs` may set. */
  readonly options: readonly string[];
  /** Loads its file, which a bundle may leave out at first; absent: it is there. */
  readonly load?: () => Promise<unknown>;
  readonly make: (groups: Groups, settings: OptimizerSettings, options: object) => Optimizer;
}

const adam = ({ learningRate, adamBeta1, adamBeta2, adamEpsilon }: OptimizerSettings) => ({
  lr: learningRate,
  betas: [adamBeta1, adamBeta2] as const,
  eps: adamEpsilon,
});
const ADAM_OPTIONS = ["betas", "eps"];

const adamw: Entry = {
  about: "AdamW",
  options: ADAM_OPTIONS,
  make: (groups, settings, options) => new AdamW(groups, { ...adam(settings), ...options }),
};
const adamw8bit: Entry = {
  about: "AdamW with its moments in a byte each",
  options: ADAM_OPTIONS,
  load: () => import("./adamw_8bit.ts"),
  make: (groups, settings, options) => new AdamW8bit(groups, { ...adam(settings), ...options }),
};
const lion: Entry = {
  about: "Lion: half of AdamW's state; wants a third to a tenth of its learning rate",
  options: ["betas"],
  load: () => import("./lion.ts"),
  make(groups, settings, options) {
    const { lr, betas } = adam(settings); // the betas of AdamW, as in transformers
    return new Lion(groups, { lr, betas, ...options });
  },
};

const adafactor: Entry = {
  about: "Adafactor: of a matrix, one number for each row and column",
  options: ["eps", "clipThreshold", "decayRate"],
  load: () => import("./adafactor.ts"),
  make: (groups, { learningRate: lr }, options) => new Adafactor(groups, { lr, ...options }),
};
const sgd: Entry = {
  about: "stochastic gradient descent; momentum and nesterov by optimArgs",
  options: ["momentum", "dampening", "nesterov"],
  load: () => import("./sgd.ts"),
  make: (groups, { learningRate: lr }, options) => new SGD(groups, { lr, ...options }),
};

/**
 * Optimizers that the Trainer makes itself.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, planMemory } from "@peft/webgpu";
 * import type { OptimizerName } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const bytes = (optim: OptimizerName) => planMemory(model, { length: 16, args: { optim } }).optimizer;
 * console.log(bytes("lion") / bytes("adamw_torch")); // about 0.5: one number for each weight in place of two
 * ```
 */
export type OptimizerName =
  | "adamw_torch"
  | "adamw_torch_fused"
  | "adamw_8bit"
  | "adamw_bnb_8bit"
  | "lion"
  | "lion_32bit"
  | "adafactor"
  | "sgd";

/** Every optimizer, by the names of transformers' `optim`. */
export const OPTIMIZERS: Readonly<Record<OptimizerName, Entry>> = {
  adamw_torch: adamw,
  adamw_torch_fused: adamw,
  adamw_8bit: adamw8bit,
  adamw_bnb_8bit: adamw8bit,
  lion,
  lion_32bit: lion,
  adafactor,
  sgd,
};

/**
 * Their names.
 *
 * @example
 * ```ts
 * import { OPTIMIZER_NAMES } from "@peft/webgpu/train";
 *
 * console.log(OPTIMIZER_NAMES.includes("lion")); // true
 * ```
 */
export const OPTIMIZER_NAMES: readonly OptimizerName[] = Object.keys(OPTIMIZERS) as OptimizerName[];

/** A value of a text: JSON, Python's True and False, or numbers in parentheses. */
function valueOf(text: string): unknown {
  const json = text.replace(/^\((.*)\)$/, "[$1]").replace(/^(True|False)$/, (word) => word.toLowerCase());
  try {
    return JSON.parse(json);
  } catch {
    throw new RangeError(
      `Cannot read optimArgs: numbers, true, false or lists of numbers are required, received "${text}"`,
    );
  }
}

/**
 * `optimArgs` as options; names may be in snake_case.
 * @throws {RangeError} for text that is no list of `name=value`
 */
export function parseOptimArgs(given: OptimArgs | null): Record<string, unknown> {
  if (given === null) return {};
  if (typeof given !== "string") {
    return Object.fromEntries(Object.entries(given).map(([name, value]) => [camelCase(name), value]));
  }
  // a comma within brackets is part of a value
  const parts = given.split(/,(?![^([]*[)\]])/).map((part) => part.trim()).filter((part) => part !== "");
  return Object.fromEntries(parts.map((part) => {
    const at = part.indexOf("=");
    if (at > 0) return [camelCase(part.slice(0, at).trim()), valueOf(part.slice(at + 1).trim())];
    throw new RangeError(
      `Cannot read optimArgs: name=value with commas between is required, received "${part}"`,
    );
  }));
}

/**
 * Makes the optimizer of a training.
 * @throws {TypeError} for a name in `optimArgs` that the optimizer does not have
 */
export function makeOptimizer(name: OptimizerName, groups: Groups, settings: OptimizerSettings): Optimizer {
  const { options, make }: Entry = OPTIMIZERS[name];
  const own = parseOptimArgs(settings.optimArgs);
  checkOptions(`make the optimizer "${name}" of optimArgs`, own, options);
  return make(groups, settings, own);
}

/** Loads what `makeOptimizer` needs for a name. */
export async function loadOptimizer(name: OptimizerName): Promise<void> {
  await OPTIMIZERS[name].load?.();
}

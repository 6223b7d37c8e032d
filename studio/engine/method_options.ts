/**
 * The options of methods, as a page shows them: the usual ones with words of their own, the rest from the configuration.
 * @module
 */

import type { MethodOption, OptionValue } from "../protocol.ts";
import { configOf, type MethodSpec } from "./methods.ts";

/** What is said of an option. */
type Words =
  & Pick<MethodOption, "title" | "help">
  & Partial<Pick<MethodOption, "min" | "max" | "choices" | "type">>;

const RANK: Words = {
  title: "Rank",
  help: "Size of the change: higher learns more and takes more.",
  min: 1,
  max: 256,
};
const DROPOUT: Words = {
  title: "Dropout",
  help: "Against learning by heart: 0 to 0.1 for small data.",
  min: 0,
  max: 0.9,
};
const VIRTUAL: Words = {
  title: "Virtual tokens",
  help: "Learned tokens before every text; they take room in the context.",
  min: 1,
  max: 256,
};

/** The options that most people may want to change; they come first. */
const USUAL: Readonly<Record<string, Words>> = {
  r: RANK,
  initR: { ...RANK, title: "Rank at first" },
  targetR: { ...RANK, title: "Rank in the end" },
  loraAlpha: { title: "Alpha", help: "Strength: the change is scaled by alpha / rank.", min: 1, max: 1024 },
  alpha: { title: "Alpha", help: "Strength: the change is scaled by alpha / rank.", min: 1, max: 1024 },
  loraDropout: DROPOUT,
  moduleDropout: DROPOUT,
  rankDropout: DROPOUT,
  boftDropout: DROPOUT,
  veraDropout: DROPOUT,
  dropout: DROPOUT,
  encoderDropout: DROPOUT,
  targetModules: {
    title: "Layers",
    help: 'Which layers are adapted: "all-linear", "default" (what Python\'s peft takes), or names.',
    type: "modules",
  },
  useRslora: {
    title: "Rank-stabilised scaling",
    help: "Scales by alpha / sqrt(rank): better at high ranks.",
  },
  useDora: { title: "DoRA", help: "Also trains the length of each weight's rows." },
  initLoraWeights: {
    title: "Start",
    help: "What the factors start from; pissa and olora start from the weights themselves.",
    type: "choice",
    choices: ["true", "gaussian", "pissa", "olora", "orthogonal"],
  },
  oftBlockSize: {
    title: "Block size",
    help: "Width of the blocks that are rotated; 0 for as many blocks as r says.",
    min: 0,
  },
  boftBlockSize: { title: "Block size", help: "Width of the blocks that are rotated.", min: 0 },
  nFrequency: { title: "Frequencies", help: "How many of each layer's change are trained.", min: 1 },
  scaling: { title: "Scaling", help: "Strength of the change." },
  reductionFactor: {
    title: "Reduction",
    help: "How many times narrower than the model the bottleneck is.",
    min: 1,
  },
  numVirtualTokens: VIRTUAL,
  encoderHiddenSize: {
    title: "Width of the encoder",
    help: "Of the network that makes the virtual tokens.",
    min: 1,
  },
  tokens: { title: "Tokens", help: "The words whose tokens are trained, as text.", type: "text" },
};

/** Fields that are not a user's to change. */
const HIDDEN = new Set([
  ...["inferenceMode", "fanInFanOut", "totalStep", "tinit", "tfinal", "initWeights", "saveProjection"],
  ...["projectionPrngKey", "randomLocSeed", "initWeightsSeed", "tokenDim", "numTransformerSubmodules"],
  ...["numAttentionHeads", "numLayers", "dInitial", "carrier", "initIa3Weights"],
]);

/** Fields that a method sets by itself. */
const NOT_OF: Readonly<Record<string, readonly string[]>> = {
  dora: ["useDora"],
  adalora: ["r", "initLoraWeights"],
};

const wordsOfName = (name: string) => {
  const words = name.replaceAll(/([A-Z])/g, " $1").toLowerCase();
  return words[0].toUpperCase() + words.slice(1);
};

const keyOf = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function typeOf(value: unknown): MethodOption["type"] | null {
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return null;
}

/** Options that are fractions although their defaults are whole numbers. */
const FRACTIONS = /dropout|scaling|beta|eps|weight$/i;

/** The options of a method. */
export function optionsOf(method: string, spec: MethodSpec): MethodOption[] {
  const setting = { steps: 100, encode: () => [0] };
  const config = configOf(method, spec.defaults, setting) as unknown as Record<string, unknown>;
  const defaults = { ...config, ...spec.defaults } as Record<string, unknown>;
  if ("initLoraWeights" in defaults) defaults.initLoraWeights = String(defaults.initLoraWeights);
  if ("targetModules" in defaults) defaults.targetModules ??= "default";
  const options: MethodOption[] = [];
  for (const [name, value] of Object.entries(defaults)) {
    if (HIDDEN.has(name) || NOT_OF[method]?.includes(name)) continue;
    const known = USUAL[name] as Words | undefined;
    const guessed = typeOf(value);
    const type = known?.type ?? (guessed === "integer" && FRACTIONS.test(name) ? "number" : guessed);
    if (type === null) continue;
    const { title = wordsOfName(name), help = `${keyOf(name)} of adapter_config.json`, ...rest } = known ??
      {};
    options.push({ ...rest, name, title, help, type, default: value as OptionValue, isAdvanced: !known });
  }
  return options.sort((a, b) => Number(a.isAdvanced) - Number(b.isAdvanced));
}

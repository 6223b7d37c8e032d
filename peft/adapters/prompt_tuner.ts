/**
 * Holds adapters that consist of virtual tokens, and passes those of the active one to the model.
 * @module
 */

import {
  defaultSeed,
  noGrad,
  sameShape,
  showShape,
  type Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";
import { inEvalMode, Initializer, mismatchError, type Module, ModuleDict, Parameter } from "../../nn/mod.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import type { AdapterValues } from "../files/adapter_files.ts";
import { renameKey } from "../layers/rename_adapter.ts";
import { AdapterState } from "../state/adapter_state.ts";
import { VirtualTokenEncoder } from "../virtual_tokens/prompt_encoder.ts";
import {
  asInputs,
  makeEncoder,
  type PromptFacts,
  promptSizes,
  tokenWidth,
  type VirtualInputs,
} from "../virtual_tokens/prompt_init.ts";
import type { PromptLearningConfig } from "../virtual_tokens/prompt_learning.ts";
import { isPromptLearning } from "../virtual_tokens/virtual_token_types.ts";
import { checkName, checkNewName, mixedTypes } from "./adapter_names.ts";
import { AdapterSwitch, trainOnly } from "./adapter_switch.ts";
import { GradientFlags } from "./gradient_flags.ts";
import type { AdapterHost, InjectOptions, LoadedKeys } from "./model_adapters.ts";

/** A model that takes `promptEmbeds` and `prefixKeyValues`. */
interface PromptableModel {
  readonly promptFacts: PromptFacts;
  readonly config?: { readonly nameOrPath?: string | null };
  forward(inputs: object): unknown;
  generate(inputs: object, options: unknown): Promise<unknown>;
}

/**
 * Key of the virtual tokens in Python's files; the parameters that produce them are stored beside it, under keys that
 * Python ignores.
 */
const EMBEDDINGS_KEY = "prompt_embeddings";
const ENCODER_PREFIX = "prompt_encoder.";

/** Virtual tokens of one model, by adapter. */
export class PromptTuner<M extends Module> implements AdapterHost<M> {
  readonly model: M;
  readonly addsTokens = true;
  readonly state: AdapterState = new AdapterState();
  /** Encoders by adapter: `prompt_encoder.default` of the PEFT model. */
  readonly encoders: ModuleDict<VirtualTokenEncoder> = new ModuleDict();
  readonly #configs = new Map<string, PromptLearningConfig>();
  readonly #trained: GradientFlags;
  readonly switch: AdapterSwitch = new AdapterSwitch(this.state, () => this.encoders.parameters());
  #injections = 0;

  /** @throws {TypeError} if the model takes no virtual tokens */
  constructor(model: M) {
    if (!("promptFacts" in model)) {
      throw new TypeError(
        `Cannot add virtual tokens: a model with promptFacts is required, received ${model.constructor.name}`,
      );
    }
    this.model = model;
    this.#trained = new GradientFlags(model.parameters());
  }

  get configs(): ReadonlyMap<string, PeftConfig> {
    return this.#configs;
  }

  get #promptable(): PromptableModel {
    return this.model as unknown as PromptableModel;
  }

  inject(given: PeftConfig, name: string, options: InjectOptions = {}, isLoaded = false): void {
    checkNewName(this.#configs, name, options);
    const [other] = this.#configs.values();
    if (!isPromptLearning(given) || (other && other.peftType !== given.peftType)) {
      throw mixedTypes(name, other, given);
    }
    const facts = this.#promptable.promptFacts;
    const sizes = promptSizes(given.peftType, facts);
    for (const key of ["tokenDim", "numLayers", "numAttentionHeads"] as const) {
      if (given[key] !== null && given[key] !== sizes[key]) {
        throw new TypeError(
          `Cannot add adapter "${name}": ${key} must be the model's ${sizes[key]}, received ${given[key]}`,
        );
      }
    }
    const config = withFields(given, {
      ...{ ...sizes, numTransformerSubmodules: 1 },
      ...("encoderHiddenSize" in given
        ? { encoderHiddenSize: given.encoderHiddenSize ?? sizes.tokenDim }
        : {}),
      baseModelNameOrPath: given.baseModelNameOrPath ?? this.#promptable.config?.nameOrPath ?? null,
    } as Partial<PromptLearningConfig>);
    const init = new Initializer(
      facts.embeddings.device,
      (options.seed ?? defaultSeed()) + this.#injections++,
      !isLoaded,
    );
    const encoder = makeEncoder(config, facts, init, options.encode);
    encoder.requiresGrad_(false);
    this.encoders.set(name, encoder);
    this.#configs.set(name, config);
  }

  adapterState(name: string): Map<string, Parameter> {
    const encoder = this.encoders.get(name);
    return new Map(encoder ? encoder.namedParameters() : []);
  }

  savedTensors(name: string): Map<string, Tensor> {
    const encoder = this.encoders.get(name)!;
    const saved = new Map<string, Tensor>([[
      EMBEDDINGS_KEY,
      untracked(() => inEvalMode(() => encoder.snapshot())),
    ]]);
    if (!encoder.isPlain) {
      for (const [key, parameter] of encoder.namedParameters()) saved.set(ENCODER_PREFIX + key, parameter);
    }
    return saved;
  }

  loadValues(
    name: string,
    file: string,
    values: AdapterValues,
    { strict = true, isTrainable = false }: { strict?: boolean; isTrainable?: boolean },
  ): LoadedKeys {
    const action = `Cannot load adapter "${file}"`;
    const encoder = this.encoders.get(name)!;
    const config = this.#configs.get(name)!;
    const shape = [config.numVirtualTokens, tokenWidth(config, this.#promptable.promptFacts)];
    const expected = new Map<string, readonly number[]>([[EMBEDDINGS_KEY, shape]]);
    const parameters = new Map(
      [...encoder.namedParameters()].map(([key, own]) => [ENCODER_PREFIX + key, own]),
    );
    const unexpectedKeys = [...values.keys()].filter((key) => key !== EMBEDDINGS_KEY && !parameters.has(key));
    const whole = !encoder.isPlain && [...values.keys()].some((key) => key.startsWith(ENCODER_PREFIX));
    if (whole) { for (const [key, { shape }] of parameters) expected.set(key, shape); }
    else if (isTrainable && !encoder.isPlain) {
      throw new TypeError(
        `${action}: Cannot set a prompt learning adapter to trainable when loading pretrained adapter. Its file holds the virtual tokens without the network that made them`,
      );
    }
    const lines = [...expected].flatMap(([key, shape]) => {
      const found = values.get(key);
      if (!found) return [`"${key}" is missing`];
      if (sameShape(found.shape, shape)) return [];
      return [`"${key}" expected ${showShape(shape)}, found ${showShape(found.shape)}`];
    });
    if (strict) lines.push(...unexpectedKeys.map((key) => `"${key}" is unexpected`));
    if (lines.length > 0) throw mismatchError(action, lines);
    if (whole) { for (const [key, parameter] of parameters) parameter.write(values.get(key)!.data); }
    else this.#setPlain(name, encoder, values.get(EMBEDDINGS_KEY)!.data, shape);
    return { missingKeys: [], unexpectedKeys };
  }

  /** Sets the virtual tokens of a file that has no network. */
  #setPlain(
    name: string,
    encoder: VirtualTokenEncoder,
    data: Float32Array<ArrayBuffer>,
    shape: number[],
  ): void {
    if (encoder.isPlain) return encoder.embedding.weight.write(data);
    const { device } = encoder.embedding.weight;
    this.encoders.delete(name);
    this.encoders.set(name, new VirtualTokenEncoder(Parameter.from(data, { shape, device })));
  }

  checkName(name: string): void {
    checkName(this.#configs, name);
  }

  checkActive(names: readonly string[]): void {
    for (const name of names) this.checkName(name);
    if (names.length > 1) {
      throw new RangeError(
        `Cannot activate ${names.join(", ")}: only one adapter of virtual tokens can be active`,
      );
    }
  }

  activate(names: readonly string[], trainable: boolean): void {
    this.checkActive(names);
    this.state.active = [...names];
    const all = [...this.model.parameters(), ...this.encoders.parameters()];
    trainOnly(this, all, trainable ? names : []);
  }

  merge(): Promise<void> {
    return Promise.reject(new TypeError("Cannot merge: virtual tokens are no weights of the base model"));
  }

  unmerge(): void {}

  rename(from: string, to: string): void {
    this.checkName(from);
    checkNewName(this.#configs, to);
    this.encoders.rename(from, to);
    renameKey(this.#configs, from, to);
    this.state.rename(from, to);
  }

  remove(name: string): void {
    this.checkName(name);
    this.encoders.delete(name);
    this.#configs.delete(name);
    this.state.active = this.state.active.filter((active) => active !== name);
  }

  unload(): M {
    this.switch.end();
    for (const name of [...this.#configs.keys()]) this.remove(name);
    return this.model;
  }

  disposeAdapters(): void {
    this.encoders.dispose();
  }

  restoreGradients(): void {
    this.#trained.restore();
  }

  /** What the active adapter puts before every row, as inputs of the model. */
  #virtualInputs(): VirtualInputs {
    const [name] = this.state.active;
    if (this.state.disabled || name === undefined) return {};
    const tokens = this.encoders.get(name)!.forward();
    return asInputs(this.#configs.get(name)!, this.#promptable.promptFacts, tokens);
  }

  forward(inputs: object): unknown {
    refuseRows(inputs);
    return tidy(() => this.#promptable.forward({ ...inputs, ...this.#virtualInputs() }));
  }

  async generate(inputs: unknown, options: unknown): Promise<unknown> {
    refuseRows(options);
    const isText = typeof inputs === "string" || (Array.isArray(inputs) && typeof inputs[0] === "string");
    const given = isText ? { text: inputs } : Array.isArray(inputs) ? { inputIds: inputs } : inputs as object;
    const virtual = untracked(() => inEvalMode(() => noGrad(() => tidy(() => this.#virtualInputs()))));
    try {
      return await this.#promptable.generate({ ...given, ...virtual }, options);
    } finally {
      const own = [virtual.promptEmbeds, ...virtual.prefixKeyValues ?? []];
      for (const tensor of own) if (tensor && !(tensor instanceof Parameter)) tensor.dispose();
    }
  }
}

/** Virtual tokens are the same for every row. */
function refuseRows(given: unknown): void {
  if ((given as { adapterNames?: unknown } | undefined)?.adapterNames) {
    throw new TypeError(
      "Cannot mix adapters: adapters that wrap layers are required, received virtual tokens",
    );
  }
}

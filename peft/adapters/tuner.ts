/**
 * Puts adapters into a built module tree and switches them: the part of a PEFT model that knows its layers.
 * @module
 */

import { defaultSeed, isQuantized, RandomState, type Tensor } from "../../autograd/mod.ts";
import { Conv1D, Initializer, Linear, Module, type Parameter } from "../../nn/mod.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import { type AdapterValues, applyAdapterValues } from "../files/adapter_files.ts";
import { matchKeys } from "../files/match_keys.ts";
import { recordTargets } from "../files/recorded_config.ts";
import { savedModules, tunerLayers } from "../layers/find_layers.ts";
import type { ModulesToSaveWrapper } from "../layers/modules_to_save.ts";
import { renameIn, renameKey } from "../layers/rename_adapter.ts";
import {
  type Afterwards,
  type InjectionContext,
  isTunerLayer,
  type TrainingState,
  type TunerLayer,
} from "../layers/tuner_layer.ts";
import { embeddingWeights } from "../lora/embedding_weights.ts";
import { KEY_PREFIX } from "../methods/adapter_format.ts";
import { methodOf } from "../registry.ts";
import { AdapterState } from "../state/adapter_state.ts";
import { defaultTargets } from "../targets/default_targets.ts";
import { findModulesToSave, findTargets, type TargetFields } from "../targets/targets.ts";
import { checkTokenTargets, findTokenModules } from "../trainable_tokens/token_adapter.ts";
import { isPromptLearning } from "../virtual_tokens/virtual_token_types.ts";
import { checkBiases, checkName, checkNewName, mixedTypes } from "./adapter_names.ts";
import { AdapterSwitch, trainOnly } from "./adapter_switch.ts";
import { GradientFlags } from "./gradient_flags.ts";
import { placeAdapter, putBasesBack, takeOutAdapter, unwrappedView } from "./insert_adapter.ts";
import type { Merging } from "./merging.ts";
import { mixedMethod } from "./mixed_methods.ts";
import type { AdapterHost, InjectOptions, LoadedKeys } from "./model_adapters.ts";
import { runForward, runGenerate } from "./run_model.ts";
import { SharedParts } from "./shared_parts.ts";

/** What a tuner uses of a model, if the model has it. */
interface ModelFacts {
  readonly random?: RandomState;
  readonly config?: { readonly modelType?: string };
}

/**
 * The tree `base_model` of a PEFT model: the wrapped model is its `model`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { Tuner } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const tuner = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).base_model as Tuner<typeof base>;
 * for (const [path, layer] of tuner.layers()) console.log(path, layer.adapterNames());
 * ```
 */
export class Tuner<M extends Module> extends Module implements AdapterHost<M> {
  /** The model, its target modules replaced. */
  model: M;
  /** Whether its adapters may be of different methods. */
  readonly isMixed: boolean;
  /** Which adapters are active, merged, or off. */
  readonly state: AdapterState = new AdapterState();
  /** Switches all adapters off and on. */
  readonly switch: AdapterSwitch;
  readonly #keyPrefix: string;
  readonly #configs = new Map<string, PeftConfig>();
  /** Whether each parameter of the base trained before it was wrapped. */
  readonly #trained: GradientFlags;
  /** Null before the first merge, which loads it. */
  #merging: Merging | null = null;
  readonly #sharedParts = new SharedParts();
  #injections = 0;

  /**
   * Takes a model, and replaces nothing yet.
   * @param keyPrefix what keys on disk begin with: "base_model.model." of a PEFT model
   * @param mixed whether adapters may be of different methods, those that change linear layers
   */
  constructor(model: M, keyPrefix = KEY_PREFIX, mixed = false) {
    super();
    this.model = model;
    this.#keyPrefix = keyPrefix;
    this.isMixed = mixed;
    this.training = model.training;
    this.#trained = new GradientFlags(model.parameters());
    this.switch = new AdapterSwitch(this.state, () => model.parameters(), {
      off: (scoped) => this.#merging?.suspend(scoped),
      on: () => this.#merging?.resume(),
    });
  }

  /** Whether it belongs to a PEFT model; otherwise its adapters are injected into a model that is used directly. */
  get wrapsModel(): boolean {
    return this.#keyPrefix !== "";
  }

  /** Configurations of the adapters by name. */
  get configs(): ReadonlyMap<string, PeftConfig> {
    return this.#configs;
  }

  /** Every layer that holds adapters, with its path. */
  layers(): [path: string, layer: TunerLayer][] {
    return tunerLayers(this.model);
  }

  /** Every module that adapters train whole, with its path. */
  savedModules(): [path: string, wrapper: ModulesToSaveWrapper][] {
    return savedModules(this.model);
  }

  /**
   * Adds an adapter, which is neither active nor trainable yet. If it fails, nothing has changed.
   * @param isLoaded whether all its values follow, so that none are drawn
   * @throws {RangeError} if the name is taken   @throws {TypeError} if its targets match nothing
   */
  inject(given: PeftConfig, name: string, options: InjectOptions = {}, isLoaded = false): void {
    checkNewName(this.#configs, name, options);
    if (!this.isMixed && isPromptLearning(given)) {
      throw mixedTypes(name, [...this.#configs.values()][0], given);
    }
    const method = this.isMixed ? mixedMethod(given, name) : methodOf(given.peftType);
    const facts = this.model as ModelFacts;
    const modelType = facts.config?.modelType;
    const other = [...this.#configs.values()].find((present) => present.peftType !== given.peftType);
    if (other && !this.isMixed) throw mixedTypes(name, other, given);
    const config = withFields(given, method.resolve?.(given, modelType, this.model) ?? {});
    checkBiases(this.#configs, config, name);
    const sameType = [...this.#configs.values()].filter(({ peftType }) => peftType === given.peftType);
    const conflict = method.conflict?.(config, sameType);
    if (conflict) throw new RangeError(`Cannot add adapter "${name}": ${conflict}`);
    const unwrapped = unwrappedView(this.model);
    const fields: TargetFields = {
      ...config,
      targetModules: config.targetModules ?? method.defaultTargets?.(unwrapped) ??
        defaultTargets(method.name, modelType),
    };
    const paths = findTargets(unwrapped, fields, {
      method: method.name,
      supports: (module) => method.supports(module),
      isLinear: (module) => module instanceof Conv1D || module instanceof Linear || isTunerLayer(module),
      partly: options.partly ?? "error",
    });
    const whole = findModulesToSave(unwrapped, config.modulesToSave ?? []);
    const { trainableTokenIndices: indices = null } = config;
    const tokens = indices === null
      ? new Map<string, readonly number[]>()
      : findTokenModules(this.model, indices);
    if (tokens.size > 0) checkTokenTargets([...paths, ...whole], tokens, this.model);
    const device = [...this.model.parameters()][0].device;
    const init = new Initializer(device, (options.seed ?? defaultSeed()) + this.#injections++, !isLoaded);
    const random = facts.random ?? new RandomState(device, options.seed ?? defaultSeed());
    const afterwards: Afterwards[] = [];
    const base: InjectionContext = { device, init, random, state: this.state, afterwards };
    const targets = new Map(paths.map((path) => [path, this.model.getSubmodule(path)]));
    const sharedPart = method.sharedPart?.(config, targets, base);
    const context = { ...base, sharedPart };
    this.#sharedParts.set(name, sharedPart);
    try {
      this.switch.change(() =>
        placeAdapter(this.model, name, config, { paths, whole, tokens, method, context })
      );
      for (const change of afterwards) change.run();
      const recorded = recordTargets(config, fields, paths, this.model);
      this.#configs.set(name, withFields(recorded, sharedPart?.fields ?? {}));
      for (const [, parameter] of this.adapterState(name)) parameter.requiresGrad = false;
    } catch (error) {
      this.#discard(name);
      throw error;
    } finally {
      for (const change of afterwards) change.dispose();
    }
  }

  /** An adapter's parameters by their keys on disk. */
  adapterState(name: string): Map<string, Parameter> {
    const state = new Map<string, Parameter>();
    const add = (parts: readonly [path: string, part: Pick<TunerLayer, "adapterParameters">][]) => {
      for (const [path, part] of parts) {
        for (const [key, own] of part.adapterParameters(name)) {
          state.set(`${this.#keyPrefix}${path}.${key}`, own);
        }
      }
    };
    add(this.layers());
    const { bias = "none" } = this.#configs.get(name) ?? {};
    if (bias !== "none") {
      for (const [path, parameter] of this.#biases(bias, name)) state.set(this.#keyPrefix + path, parameter);
    }
    add(this.savedModules());
    return state;
  }

  /** What is written of an adapter: its parameters, and with `embeddings` the weights of adapted embeddings. */
  savedTensors(name: string, embeddings = true): Map<string, Tensor> {
    const tensors = this.#sharedParts.savedTensors(name, this.adapterState(name));
    for (const [key, weight] of embeddings ? this.#embeddings(name) : []) tensors.set(key, weight);
    return tensors;
  }

  /** Base weights of embeddings that a file may hold, by their keys on disk. */
  #embeddings(name: string): [string, Parameter][] {
    const weights = embeddingWeights(this.model, name, this.#configs.get(name)!);
    return weights.map(([path, weight]) => [this.#keyPrefix + path, weight]);
  }

  /** Copies a file's values into an adapter. @throws {TypeError} listing every mismatch */
  loadValues(
    name: string,
    file: string,
    values: AdapterValues,
    options: { strict?: boolean; ignoreMismatchedSizes?: boolean },
  ): LoadedKeys {
    const own = new Map([...this.adapterState(name), ...this.#sharedParts.shared(name)]);
    // A base of few bits keeps its own embeddings.
    const embeddings = new Map(this.#embeddings(name));
    const known = new Set([...own.keys(), ...embeddings.keys()]);
    const matched = new Map(matchKeys(values, known, name, this.wrapsModel ? [] : [KEY_PREFIX]));
    for (const [key, { dtype }] of embeddings) if (isQuantized(dtype)) matched.delete(key);
    const state = new Map([...own, ...[...embeddings].filter(([key]) => matched.has(key))]);
    return applyAdapterValues(file, state, matched, options);
  }

  /** The model's forward, through the adapters; with `adapterNames`, each row through its own. */
  forward(inputs: object): unknown {
    const output = runForward(this, inputs);
    const { adapterNames } = inputs as { adapterNames?: readonly string[] };
    return adapterNames ? output : this.#sharedParts.addLosses(output, this.#configs, this.state);
  }

  /** Whether a method changes ranks while it trains. */
  get changesRanks(): boolean {
    return this.#sharedParts.changeRanks;
  }

  /** Runs what methods do after an optimizer step. @throws {RangeError} if no adapter does anything */
  async updateAndAllocate(step: number): Promise<void> {
    this.#changeConfigs(await this.#sharedParts.updateAndAllocate(step, this.#configs));
  }

  /** @internal What a resumed training needs besides the parameters. */
  async trainingState(): Promise<TrainingState> {
    return await this.#sharedParts.trainingState();
  }

  /** @internal Restores that state. */
  loadTrainingState(state: TrainingState): void {
    this.#changeConfigs(this.#sharedParts.loadTrainingState(state));
  }

  #changeConfigs(changes: readonly [name: string, fields: Partial<PeftConfig>][]): void {
    for (const [name, fields] of changes) this.changeConfig(name, fields);
  }

  /** @internal Other values of some fields of an adapter's configuration. */
  changeConfig<C extends PeftConfig>(name: string, fields: Partial<C>): void {
    this.#configs.set(name, withFields(this.#configs.get(name)! as C, fields));
  }

  /** The model's generate, with the adapters that act when it is called. @throws {TypeError} if it has none */
  generate(inputs: unknown, options: unknown): Promise<unknown> {
    return runGenerate(this, inputs, options);
  }

  /** Biases of the base that an adapter trains. */
  #biases(bias: string, name: string): [string, Parameter][] {
    const adapted = this.layers().filter(([, layer]) => layer.adapterNames().includes(name)).map(([path]) =>
      path
    );
    return [...this.model.namedParameters()].filter(([path, parameter]) => {
      if (!path.endsWith(".bias") || !this.#trained.has(parameter)) return false;
      return bias === "all" || adapted.some((target) => path === `${target}.base_layer.bias`);
    });
  }

  /** Makes adapters act, in order; with `trainable`, their parameters train and no others. */
  activate(names: readonly string[], trainable: boolean): void {
    this.checkActive(names);
    this.#merging?.forgetSuspended();
    this.state.active = [...names];
    trainOnly(this, this.model.parameters(), trainable ? names : []);
  }

  /**
   * Checks that adapters can act together. @throws {RangeError} if one does not exist, or two train the same module
   * whole
   */
  checkActive(names: readonly string[]): void {
    for (const name of names) this.checkName(name);
    for (const [path, { modules_to_save: copies }] of this.savedModules()) {
      const found = names.filter((name) => copies.has(name));
      if (found.length > 1) {
        throw new RangeError(
          `Cannot activate ${
            names.join(", ")
          }: Only one adapter can be set at a time for "${path}", which is trained whole, got ${found.length}`,
        );
      }
    }
  }

  /** Checks a name. @throws {RangeError} if no adapter has it */
  checkName(name: string): void {
    checkName(this.#configs, name);
  }

  /**
   * Adds the change of adapters to the base weights. With `safe`, a merged weight that is NaN or infinite is an error,
   * and nothing changes.
   */
  async merge(names: readonly string[], safe: boolean, dequantize = false): Promise<void> {
    const { Merging } = await import("./merging.ts");
    for (const name of names) {
      this.checkName(name);
      const { name: method, unmergeable } = methodOf(this.#configs.get(name)!.peftType);
      if (unmergeable !== undefined) throw new RangeError(`Cannot merge ${method} "${name}": ${unmergeable}`);
    }
    if (this.state.disabled) {
      throw new RangeError(
        `Cannot merge: adapters that are switched on are required; ${
          this.switch.isScoped ? "merge after disableAdapter() has ended" : "call enableAdapterLayers() first"
        }`,
      );
    }
    this.#merging ??= new Merging(this.model, this.state, this.#trained);
    await this.#merging.merge(names, safe, dequantize);
  }

  /** Removes every merged change from the base weights, bit for bit. */
  unmerge(): void {
    if (this.state.merged.length > 0) this.#merging!.unmerge();
    else console.warn("Already unmerged. Nothing to do.");
  }

  /** Renames an adapter. @throws {RangeError} if there is none, or the new name is taken */
  rename(from: string, to: string): void {
    this.checkName(from);
    checkNewName(this.#configs, to);
    for (const [, layer] of this.layers()) {
      if (layer.renameAdapter) layer.renameAdapter(from, to);
      else renameIn(layer, from, to);
    }
    for (const [, wrapper] of this.savedModules()) renameIn(wrapper, from, to);
    this.#sharedParts.rename(from, to);
    renameKey(this.#configs, from, to);
    this.#merging?.rename(from, to);
    this.state.rename(from, to);
  }

  /** Removes an adapter; where a layer is left without adapters, its base takes its place again. */
  remove(name: string): void {
    this.checkName(name);
    if (this.#merging?.isMerged(name)) {
      throw new RangeError(
        `Cannot delete adapter(s) ['${name}'] while they are merged. Please unmerge them first.`,
      );
    }
    this.#discard(name);
    this.state.active = this.state.active.filter((active) => active !== name);
  }

  /** Takes all parts of an adapter out of the tree. */
  #discard(name: string): void {
    takeOutAdapter(this.model, name);
    this.#configs.delete(name);
    this.#sharedParts.delete(name);
  }

  /**
   * Restores the base modules (with `keepSaved`, the active copies of modules trained whole) and frees the adapters.
   */
  unload(keepSaved: boolean): M {
    this.switch.end();
    putBasesBack(this.model, keepSaved);
    this.#merging?.finish();
    this.#sharedParts.clear();
    this.#configs.clear();
    this.state.active = [];
    return this.model;
  }

  /** Frees every layer with adapters, and the copies of base weights that merging keeps. */
  disposeAdapters(): void {
    for (const [, layer] of this.layers()) layer.dispose();
    this.#merging?.finish();
    this.#sharedParts.clear();
  }

  /** Restores the `requiresGrad` flags that the base's parameters had before they were wrapped. */
  restoreGradients(): void {
    this.#trained.restore();
  }
}

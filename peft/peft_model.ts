/**
 * A model with adapters: Hugging Face's `PeftModel`.
 * @module
 */

import { joinPath } from "../io/files.ts";
import { Module, type ModuleDict, Parameter } from "../nn/mod.ts";
import type { AdaptableModel, AdapterRows, ForwardInputs, Generate } from "./adaptable_model.ts";
import { adapterFolder, type LoadAdapterOptions } from "./adapter_folder.ts";
import { readAdapterConfig, readAdapterValues, writeAdapter } from "./adapter_files.ts";
import { noBudget } from "./companions.ts";
import { type PeftConfig, withFields } from "./config.ts";
import type { AdapterHost, InjectOptions } from "./adapter_host.ts";
import type { VirtualTokenEncoder } from "./prompt_encoder.ts";
import { PromptHost } from "./prompt_host.ts";
import { isPromptLearning } from "./prompt_learning.ts";
import { Tuner } from "./tuner.ts";
import { addWeightedAdapter } from "./weighted_adapter.ts";
import type { WeightedAdapterOptions } from "./weighted_lora.ts";

/** A model whose modules carry adapters. Its base was changed in place. */
export class PeftModel<M extends AdaptableModel = AdaptableModel> extends Module {
  /** Holds the model: parameters are named `base_model.model.…`; with virtual tokens, the model itself. */
  base_model: Tuner<M> | M;
  /** Encoders of virtual tokens by adapter; null for other methods. */
  prompt_encoder: ModuleDict<VirtualTokenEncoder> | null = null;
  readonly #host: AdapterHost<M>;

  /** @internal Use `getPeftModel` or `PeftModel.fromPretrained`. */
  constructor(model: M, config: PeftConfig) {
    super();
    for (const [path, module] of model.namedModules()) {
      if ("adapterParameters" in module) {
        throw new TypeError(
          `Cannot wrap the model: "${path}" has adapters already; use addAdapter() of the PeftModel it is in`,
        );
      }
    }
    if (isPromptLearning(config)) {
      const host = new PromptHost(model);
      this.#host = host;
      this.base_model = model;
      this.prompt_encoder = host.encoders;
    } else this.#host = this.base_model = new Tuner(model);
    this.training = model.training;
  }

  /**
   * Loads an adapter into a model; frozen and in eval mode unless `isTrainable`.
   * @param dirOrId a folder that `savePretrained` (here or in Python) wrote, or a hub id
   * @throws {TypeError} listing every tensor that does not fit; the model is as it was then
   */
  static async fromPretrained<M extends AdaptableModel>(
    model: M,
    dirOrId: string,
    options: LoadAdapterOptions & { adapterName?: string } = {},
  ): Promise<PeftModel<M>> {
    const { adapterName = "default" } = options;
    const folder = await adapterFolder(dirOrId, options);
    const peftModel = new PeftModel(model, await readAdapterConfig(folder));
    try {
      await peftModel.loadAdapter(folder, adapterName, options);
      peftModel.#host.activate([adapterName], options.isTrainable ?? false);
    } catch (error) {
      peftModel.#host.restoreGradients();
      throw error;
    }
    return peftModel.train(options.isTrainable ?? false);
  }

  /** @internal Adds the first adapter, which trains. */
  start(config: PeftConfig, adapterName: string, options: InjectOptions): void {
    this.#host.inject(config, adapterName, options);
    this.#host.activate([adapterName], true);
  }

  /** The model without its wrapper, adapters included. */
  getBaseModel(): M {
    return this.#host.model;
  }

  /** Configurations by adapter name. */
  get peftConfig(): Readonly<Record<string, PeftConfig>> {
    return Object.fromEntries(this.#host.configs);
  }

  /** Names of the adapters that act. */
  get activeAdapters(): readonly string[] {
    return this.#host.state.active;
  }

  /** Where the model's dropout draws from. */
  get random(): M extends { random: infer R } ? R : undefined {
    return (this.#host.model as unknown as { random: never }).random;
  }

  /** The model's configuration. */
  get config(): M extends { config: infer C } ? C : undefined {
    return (this.#host.model as unknown as { config: never }).config;
  }

  /**
   * The model's forward, through the adapters. `adapterNames` gives each row of the batch an adapter of its own, or
   * "__base__" for none: LoRA in eval mode, one launch a layer for all of them, without gradients.
   * @throws {RangeError} if there are not as many names as rows, one is unknown, the model trains, adapters are merged or
   *   use DoRA
   */
  forward(inputs: ForwardInputs<M> & AdapterRows): ReturnType<M["forward"]> {
    return this.#host.forward(inputs) as ReturnType<M["forward"]>;
  }

  /**
   * AdaLoRA: takes note of the gradients, and cuts ranks to the budget of the step. After `optimizer.step()`, before
   * `zeroGrad()`, with every step from 0 or 1 on.
   * @throws {RangeError} if no adapter that trains is AdaLoRA's, or there are no gradients
   */
  async updateAndAllocate(step: number): Promise<void> {
    if (!this.#host.updateAndAllocate) throw noBudget();
    await this.#host.updateAndAllocate(step);
  }

  /** The model's generate, through the adapters; `adapterNames` as in `forward`. */
  generate(
    inputs: Parameters<Generate<M>>[0],
    options?: Parameters<Generate<M>>[1] & AdapterRows,
  ): ReturnType<Generate<M>> {
    return this.#host.generate(inputs, options) as ReturnType<Generate<M>>;
  }

  /** Numbers of parameters: those that train, and all. */
  getNbTrainableParameters(): [trainable: number, all: number] {
    let trainable = 0;
    let all = 0;
    for (const parameter of this.parameters()) {
      all += parameter.size;
      if (parameter.requiresGrad) trainable += parameter.size;
    }
    return [trainable, all];
  }

  /** Prints `trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364`. */
  printTrainableParameters(): void {
    const [trainable, all] = this.getNbTrainableParameters();
    const show = (n: number) => n.toLocaleString("en-US");
    const percent = (100 * trainable / all).toFixed(4);
    console.log(`trainable params: ${show(trainable)} || all params: ${show(all)} || trainable%: ${percent}`);
  }

  /** Adds an adapter that is neither active nor trainable. */
  addAdapter(adapterName: string, config: PeftConfig, options: InjectOptions = {}): void {
    this.#host.inject(config, adapterName, options);
  }

  /**
   * Adds an adapter made of others (LoRA or IA3); it neither acts nor trains until `setAdapter`.
   * @param weights one for each adapter; negative ones subtract
   * @param options how LoRA adapters become one; default their weighted sum cut to the largest rank ("svd")
   * @throws {RangeError} for an unknown type or adapter, a name that is taken, ranks that differ where they must not, a
   *   missing density, or DoRA; the model is as it was then
   */
  async addWeightedAdapter(
    adapters: readonly string[],
    weights: readonly number[],
    adapterName: string,
    options: WeightedAdapterOptions = {},
  ): Promise<void> {
    await addWeightedAdapter(this.#tuner("add a weighted adapter"), adapters, weights, adapterName, options);
  }

  /** The part that holds wrapped layers. @throws {TypeError} if the adapters are virtual tokens */
  #tuner(action: string): Tuner<M> {
    if (this.#host instanceof Tuner) return this.#host;
    throw new TypeError(`Cannot ${action}: adapters that wrap layers are required, received virtual tokens`);
  }

  /** Makes one adapter act and train, and the others rest. */
  setAdapter(adapterName: string | readonly string[]): void {
    const names = typeof adapterName === "string" ? [adapterName] : adapterName;
    for (const name of names) this.#host.checkName(name);
    if (this.#host.state.merged.length > 0) {
      console.warn("Adapter cannot be set when the model is merged. Unmerging the model first.");
      this.#host.unmerge();
    }
    this.#host.activate(names, true);
  }

  /** Drops an adapter and its memory. */
  deleteAdapter(adapterName: string): void {
    const trainable = this.#trainableNames().filter((name) => name !== adapterName);
    const wasActive = this.activeAdapters.includes(adapterName);
    this.#host.remove(adapterName);
    const [next] = this.#host.configs.keys();
    if (wasActive && this.activeAdapters.length === 0 && next !== undefined) {
      console.warn(
        `Adapter ${adapterName} was active which is now deleted. Setting active adapter to ${next}.`,
      );
      this.#host.activate([next], trainable.length > 0 || this.training);
    } else this.#host.applyGradients(trainable);
  }

  /** Adapters that have a parameter that trains. */
  #trainableNames(): string[] {
    return [...this.#host.configs.keys()].filter((name) =>
      [...this.#host.adapterState(name).values()].some((parameter) => parameter.requiresGrad)
    );
  }

  /**
   * Runs `body` with every adapter off: the base model, bit for bit (biases that were trained stay trained).
   * The adapters are on again afterwards, also after an exception; `body` may be asynchronous.
   */
  disableAdapter<T>(body: () => T): T {
    const biased = [...this.#host.configs.values()].some((config) => (config.bias ?? "none") !== "none");
    if (biased) {
      console.warn(
        "Careful, disabling adapter layers with bias configured to be other than 'none' does not produce the same output as the base model would without adaption.",
      );
    }
    return this.#host.disabled(body);
  }

  /**
   * Adds the change of adapters (default: the active ones) to the base weights.
   * @throws {RangeError} with `safeMerge`, if a merged weight is not finite; the base is as it was then
   */
  async mergeAdapter(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<void> {
    await this.#host.merge(options.adapterNames ?? this.activeAdapters, options.safeMerge ?? false);
  }

  /** Takes merged changes out of the base weights, bit for bit. */
  unmergeAdapter(): void {
    this.#host.unmerge();
  }

  /** Merges the active adapters and returns the base model, free of adapters. */
  async mergeAndUnload(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<M> {
    const names = options.adapterNames ?? this.activeAdapters;
    if (names.some((name) => !this.#host.state.merged.includes(name))) {
      await this.mergeAdapter({ ...options, adapterNames: names });
    }
    const model = this.#host.unload(true);
    this.#host.restoreGradients();
    return model;
  }

  /** Returns the base model as it was, free of adapters. */
  unload(): M {
    if (this.#host.state.merged.length > 0) this.#host.unmerge();
    const model = this.#host.unload(false);
    this.#host.restoreGradients();
    return model;
  }

  /** Gives the memory of the model and all its adapters back. */
  override dispose(): void {
    this.#host.disposeAdapters();
    super.dispose();
    this.#host.model.dispose();
  }

  /**
   * Writes adapters as Python's `peft` does: "default" into the folder, others into subfolders of their names.
   * @param options `selectedAdapters`: only these
   */
  async savePretrained(
    folder: string,
    options: { selectedAdapters?: readonly string[] } = {},
  ): Promise<void> {
    const names = options.selectedAdapters ?? [...this.#host.configs.keys()];
    for (const name of names) this.#host.checkName(name);
    for (const name of names) {
      const target = name === "default" ? folder : await joinPath(folder, name);
      const tensors = this.#host.savedTensors(name);
      try {
        await writeAdapter(target, this.#host.configs.get(name)!, tensors, name);
      } finally {
        for (const tensor of tensors.values()) if (!(tensor instanceof Parameter)) tensor.dispose();
      }
    }
  }

  /**
   * Loads another adapter; it is not active until `setAdapter`.
   * @throws {TypeError} listing every tensor that does not fit; the model is as it was then
   */
  async loadAdapter(
    dirOrId: string,
    adapterName: string,
    options: LoadAdapterOptions = {},
  ): Promise<{ missingKeys: string[]; unexpectedKeys: string[] }> {
    const folder = await adapterFolder(dirOrId, options);
    const inferenceMode = !(options.isTrainable ?? false);
    const config = withFields(await readAdapterConfig(folder), { inferenceMode });
    const { name, values } = await readAdapterValues(folder, config);
    const trainable = this.#trainableNames();
    this.#host.inject(config, adapterName, { partly: "warn" });
    try {
      const result = this.#host.loadValues(adapterName, name, values, options);
      this.#host.applyGradients(options.isTrainable ? [...trainable, adapterName] : trainable);
      return result;
    } catch (error) {
      this.#host.remove(adapterName);
      this.#host.applyGradients(trainable);
      throw error;
    }
  }
}

/**
 * Wraps a model in place and adds a trainable adapter: only its parameters train.
 * @throws {TypeError} if the configuration's targets match nothing, or the model has adapters already
 */
export function getPeftModel<M extends AdaptableModel>(
  model: M,
  config: PeftConfig,
  adapterName = "default",
  options: InjectOptions = {},
): PeftModel<M> {
  const peftModel = new PeftModel(model, config);
  peftModel.start(config, adapterName, options);
  return peftModel.train();
}

/**
 * A model with adapters: Hugging Face's `PeftModel`.
 * @module
 */

import { joinPath } from "../io/files.ts";
import { resolveModelFolder } from "../io/hub.ts";
import { Module } from "../nn/mod.ts";
import { applyAdapterValues, readAdapterConfig, readAdapterValues, writeAdapter } from "./adapter_files.ts";
import type { PeftConfig } from "./config.ts";
import { type InjectOptions, Tuner } from "./tuner.ts";

/** A model that can be adapted: any module tree with a forward. */
export type AdaptableModel = Module & {
  // deno-lint-ignore no-explicit-any -- each model has inputs of its own
  forward(inputs: any): unknown;
};

/** What a model's forward takes. */
export type ForwardInputs<M extends AdaptableModel> = Parameters<M["forward"]>[0];
/** What a model's generate takes and gives; never where it has none. */
export type Generate<M> = M extends { generate: infer G extends (...args: never[]) => unknown } ? G : never;

/** Options of loading an adapter. */
export interface LoadAdapterOptions {
  /** Whether it trains; default false: frozen, in eval mode. */
  isTrainable?: boolean;
  /** Whether a missing or unexpected key is an error (default) or a warning. */
  strict?: boolean;
  /** Branch, tag or commit on the hub; default "main". */
  revision?: string;
  /** Where downloads are kept; default Hugging Face's cache. */
  cacheDir?: string;
  /** Never ask the network; default false. */
  localFilesOnly?: boolean;
}

/** Files of an adapter. */
const ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"];

/** A model whose modules carry adapters. Its base was changed in place. */
export class PeftModel<M extends AdaptableModel = AdaptableModel> extends Module {
  /** Holds the model: parameters are named `base_model.model.…`. */
  base_model: Tuner<M>;

  /** @internal Use `getPeftModel` or `PeftModel.fromPretrained`. */
  constructor(model: M) {
    super();
    for (const [path, module] of model.namedModules()) {
      if ("adapterParameters" in module) {
        throw new TypeError(
          `Cannot wrap the model: "${path}" has adapters already; use addAdapter() of the PeftModel it is in`,
        );
      }
    }
    this.base_model = new Tuner(model);
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
    const peftModel = new PeftModel(model);
    try {
      await peftModel.loadAdapter(dirOrId, adapterName, options);
      peftModel.base_model.activate([adapterName], options.isTrainable ?? false);
    } catch (error) {
      peftModel.base_model.restoreGradients();
      throw error;
    }
    return peftModel.train(options.isTrainable ?? false);
  }

  /** The model without its wrapper, adapters included. */
  getBaseModel(): M {
    return this.base_model.model;
  }

  /** Configurations by adapter name. */
  get peftConfig(): Readonly<Record<string, PeftConfig>> {
    return Object.fromEntries(this.base_model.configs);
  }

  /** Names of the adapters that act. */
  get activeAdapters(): readonly string[] {
    return this.base_model.state.active;
  }

  /** Where the model's dropout draws from. */
  get random(): M extends { random: infer R } ? R : undefined {
    return (this.base_model.model as unknown as { random: never }).random;
  }

  /** The model's configuration. */
  get config(): M extends { config: infer C } ? C : undefined {
    return (this.base_model.model as unknown as { config: never }).config;
  }

  /** The model's forward, through the adapters. */
  forward(inputs: ForwardInputs<M>): ReturnType<M["forward"]> {
    return this.base_model.model.forward(inputs) as ReturnType<M["forward"]>;
  }

  /** The model's generate, through the adapters. */
  generate(...args: Parameters<Generate<M>>): ReturnType<Generate<M>> {
    const model = this.base_model.model as unknown as { generate?: (...args: unknown[]) => unknown };
    if (!model.generate) throw new TypeError("Cannot generate: the base model has no generate()");
    return model.generate(...args) as ReturnType<Generate<M>>;
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
    const { state } = this.base_model;
    const trainable = this.#trainableNames();
    this.base_model.inject(config, adapterName, options);
    this.base_model.applyGradients(state.disabled ? [] : trainable);
  }

  /** Makes one adapter act and train, and the others rest. */
  setAdapter(adapterName: string | readonly string[]): void {
    const names = typeof adapterName === "string" ? [adapterName] : adapterName;
    for (const name of names) this.base_model.checkName(name);
    if (this.base_model.state.merged.length > 0) {
      console.warn("Adapter cannot be set when the model is merged. Unmerging the model first.");
      this.base_model.unmerge();
    }
    this.base_model.activate(names, true);
  }

  /** Drops an adapter and its memory. */
  deleteAdapter(adapterName: string): void {
    const trainable = this.#trainableNames().filter((name) => name !== adapterName);
    const wasActive = this.activeAdapters.includes(adapterName);
    this.base_model.remove(adapterName);
    const [next] = this.base_model.configs.keys();
    if (wasActive && this.activeAdapters.length === 0 && next !== undefined) {
      console.warn(
        `Adapter ${adapterName} was active which is now deleted. Setting active adapter to ${next}.`,
      );
      this.base_model.activate([next], trainable.length > 0 || this.training);
    } else this.base_model.applyGradients(trainable);
  }

  /** Adapters that have a parameter that trains. */
  #trainableNames(): string[] {
    return [...this.base_model.configs.keys()].filter((name) =>
      [...this.base_model.adapterState(name).values()].some((parameter) => parameter.requiresGrad)
    );
  }

  /**
   * Runs `body` with every adapter off: the base model, bit for bit (biases that were trained stay trained).
   * The adapters are on again afterwards, also after an exception; `body` may be asynchronous.
   */
  disableAdapter<T>(body: () => T): T {
    const biased = [...this.base_model.configs.values()].some((config) => (config.bias ?? "none") !== "none");
    if (biased) {
      console.warn(
        "Careful, disabling adapter layers with bias configured to be other than 'none' does not produce the same output as the base model would without adaption.",
      );
    }
    return this.base_model.disabled(body);
  }

  /**
   * Adds the change of adapters (default: the active ones) to the base weights.
   * @throws {RangeError} with `safeMerge`, if a merged weight is not finite; the base is as it was then
   */
  async mergeAdapter(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<void> {
    await this.base_model.merge(options.adapterNames ?? this.activeAdapters, options.safeMerge ?? false);
  }

  /** Takes merged changes out of the base weights, bit for bit. */
  unmergeAdapter(): void {
    this.base_model.unmerge();
  }

  /** Merges the active adapters and returns the base model, free of adapters. */
  async mergeAndUnload(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<M> {
    const names = options.adapterNames ?? this.activeAdapters;
    if (names.some((name) => !this.base_model.state.merged.includes(name))) {
      await this.mergeAdapter({ ...options, adapterNames: names });
    }
    const model = this.base_model.unload(true);
    this.base_model.restoreGradients();
    return model;
  }

  /** Returns the base model as it was, free of adapters. */
  unload(): M {
    if (this.base_model.state.merged.length > 0) this.base_model.unmerge();
    const model = this.base_model.unload(false);
    this.base_model.restoreGradients();
    return model;
  }

  /** Gives the memory of the model and all its adapters back. */
  override dispose(): void {
    for (const [, layer] of this.base_model.layers()) layer.dispose(); // merged layers keep a copy of their base
    super.dispose();
    this.base_model.model.dispose();
  }

  /**
   * Writes adapters as Python's `peft` does: "default" into the folder, others into subfolders of their names.
   * @param options `selectedAdapters`: only these
   */
  async savePretrained(
    folder: string,
    options: { selectedAdapters?: readonly string[] } = {},
  ): Promise<void> {
    const names = options.selectedAdapters ?? [...this.base_model.configs.keys()];
    for (const name of names) this.base_model.checkName(name);
    for (const name of names) {
      const target = name === "default" ? folder : await joinPath(folder, name);
      await writeAdapter(target, this.base_model.configs.get(name)!, this.base_model.adapterState(name));
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
    const { revision, cacheDir, localFilesOnly } = options;
    const folder = await resolveModelFolder(dirOrId, {
      files: ADAPTER_FILES,
      revision,
      cacheDir,
      localFilesOnly,
    });
    const config = await readAdapterConfig(folder);
    const { name, values } = await readAdapterValues(folder);
    const trainable = this.#trainableNames();
    this.base_model.inject(config, adapterName, { partly: "warn" });
    try {
      const result = applyAdapterValues(name, this.base_model.adapterState(adapterName), values, options);
      this.base_model.applyGradients(options.isTrainable ? [...trainable, adapterName] : trainable);
      return result;
    } catch (error) {
      this.base_model.remove(adapterName);
      this.base_model.applyGradients(trainable);
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
  const peftModel = new PeftModel(model);
  peftModel.base_model.inject(config, adapterName, options);
  peftModel.base_model.activate([adapterName], true);
  return peftModel.train();
}

/**
 * A model with adapters: Hugging Face's `PeftModel`.
 * @module
 */

import type { FolderOutput } from "../io/folder_target.ts";
import type { CommitInfo, PushToHubOptions } from "../io/hub_push.ts";
import { Module, type ModuleDict, type TrainingStateKeeper, trainingStateKeeper } from "../nn/mod.ts";
import type { AdaptableModel, AdapterRows, CaptureInputsOf, ForwardInputs } from "./adaptable_model.ts";
import { mergeChoice } from "./adapters/adapter_names.ts";
import type { Generate } from "./adaptable_model.ts";
import { captureInputsOf, checkUnwrapped, switchCheckpointing, trainingPartOf } from "./adaptable_model.ts";
import { registerHost, unmixedTunerOf } from "./adapters/find_adapters.ts";
import type { AdapterHost, InjectOptions, MixedOption } from "./adapters/model_adapters.ts";
import { loadHostOf } from "./adapters/parts_of_host.ts";
import { PromptTuner } from "./adapters/prompt_tuner.ts";
import { noBudget, trainingStateOf } from "./adapters/shared_parts.ts";
import { Tuner } from "./adapters/tuner.ts";
import { type PeftConfig, withFields } from "./config/peft_config.ts";
import type { AdapterInput, LoadAdapterOptions, SaveAdapterOptions } from "./files/adapter_folder.ts";
import type { FoundAdapter } from "./files/adapter_source.ts";
import { countParameters, describeParameters } from "./parameter_counts.ts";
import { setScale } from "./operations/scale_adapters.ts";
import {
  getLayerStatus,
  getModelStatus,
  type TunerLayerStatus,
  type TunerModelStatus,
} from "./operations/status.ts";
import { deleteFrom, setActive, setGradients, warnOfBiases } from "./operations/switch_adapters.ts";
import type { WeightedAdapterOptions } from "./operations/weighted_lora.ts";
import type { VirtualTokenEncoder } from "./virtual_tokens/prompt_encoder.ts";
import { isPromptLearning } from "./virtual_tokens/virtual_token_types.ts";

/** Adds a model's first adapter, which trains: `getPeftModel` alone does. */
let addFirst: (model: PeftModel, config: PeftConfig, adapterName: string, options: InjectOptions) => void;

/**
 * A model whose modules carry adapters. Its base was changed in place.
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, PeftModel } from "@peft/webgpu";
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * console.log(model instanceof PeftModel, model.activeAdapters); // true [ "default" ]
 * ```
 */
export class PeftModel<M extends AdaptableModel = AdaptableModel> extends Module {
  /** Holds the model: parameters are named `base_model.model.…`; with virtual tokens, the model itself. */
  base_model: Tuner<M> | M;
  /** Encoders of virtual tokens by adapter; null for other methods. */
  prompt_encoder: ModuleDict<VirtualTokenEncoder> | null = null;
  readonly #host: AdapterHost<M>;

  /** @internal Use `getPeftModel` or `PeftModel.fromPretrained`. */
  constructor(model: M, config: PeftConfig, mixed = false) {
    super();
    checkUnwrapped(model);
    if (isPromptLearning(config) && !mixed) {
      const host = new PromptTuner(model);
      this.#host = host;
      this.base_model = model;
      this.prompt_encoder = host.encoders;
    } else this.#host = this.base_model = new Tuner(model, undefined, mixed);
    this.training = model.training;
    registerHost(this, this.#host);
  }

  /**
   * Loads an adapter into a model; frozen and in eval mode unless `isTrainable`.
   * @param dirOrId a folder that `savePretrained` (here or in Python) wrote (a path, a URL, files or a folder source), a
   * hub id, or a LoRA adapter's GGUF file
   * @throws {TypeError} listing every tensor that does not fit; the model is then unchanged
   */
  static async fromPretrained<M extends AdaptableModel>(
    model: M,
    dirOrId: AdapterInput,
    options: LoadAdapterOptions & MixedOption & { adapterName?: string } = {},
  ): Promise<PeftModel<M>> {
    const { adapterName = "default" } = options;
    const { findAdapter } = await import("./files/adapter_source.ts");
    const found = await findAdapter(dirOrId, model, options);
    await loadHostOf(found.config, options.mixed);
    const peftModel = new PeftModel(model, found.config, options.mixed);
    try {
      await peftModel.#load(found, adapterName, options);
      peftModel.#host.activate([adapterName], options.isTrainable ?? false);
    } catch (error) {
      peftModel.#host.restoreGradients();
      throw error;
    }
    return peftModel.train(options.isTrainable ?? false);
  }

  static {
    addFirst = (model, config, adapterName, options) => {
      model.#host.inject(config, adapterName, options);
      model.#host.activate([adapterName], true);
    };
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

  /** Whether the Trainer may record its steps: the base allows it, and no adapter changes its ranks in training. */
  get isCapturable(): boolean {
    const { model, changesRanks } = this.#host;
    const isOwn = this.forward === PeftModel.prototype.forward;
    return isOwn && !changesRanks && trainingPartOf(model).isCapturable === true;
  }

  /** What a recorded step has of a batch: what the model says; null with virtual tokens, which it does not know. */
  get captureInputs(): CaptureInputsOf {
    return captureInputsOf(this.#host.model, this.#host.addsTokens === true);
  }

  /**
   * The model's forward, through the adapters. `adapterNames` gives each row of the batch an adapter of its own, or
   * "__base__" for none, in eval mode and without gradients: LoRA layers run all rows at once, other methods once per
   * group of rows with the same adapter.
   * @throws {RangeError} if there are not as many names as rows, one is unknown, the model trains, adapters are merged or
   *   use DoRA
   */
  forward(inputs: ForwardInputs<M> & AdapterRows): ReturnType<M["forward"]> {
    return this.#host.forward(inputs) as ReturnType<M["forward"]>;
  }

  /**
   * AdaLoRA: records the gradients, and reduces the ranks to the budget of the step. Call it after each
   * `optimizer.step()` and before `zeroGrad()`, with the number of the step, from 0 or 1.
   * @throws {RangeError} if no adapter that trains is AdaLoRA's, or there are no gradients
   */
  async updateAndAllocate(step: number): Promise<void> {
    if (!this.#host.updateAndAllocate) throw noBudget();
    await this.#host.updateAndAllocate(step);
  }

  /** For the Trainer's checkpoints: what a resumed training needs besides the parameters. */
  get [trainingStateKeeper](): TrainingStateKeeper {
    return trainingStateOf(this.#host);
  }

  /** The model's. @throws {TypeError} if it has none */
  gradientCheckpointingEnable(): void {
    switchCheckpointing(this.#host.model, true);
  }

  /** The model's. @throws {TypeError} if it has none */
  gradientCheckpointingDisable(): void {
    switchCheckpointing(this.#host.model, false);
  }

  /** The model's NEFTune noise (see `CausalLM.neftuneNoiseAlpha`); undefined if it has none. */
  get neftuneNoiseAlpha(): number | null | undefined {
    return trainingPartOf(this.#host.model).neftuneNoiseAlpha;
  }

  set neftuneNoiseAlpha(alpha: number | null | undefined) {
    trainingPartOf(this.#host.model).neftuneNoiseAlpha = alpha;
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
    return countParameters(this);
  }

  /** Prints `trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364`. */
  printTrainableParameters(): void {
    console.log(describeParameters(...this.getNbTrainableParameters()));
  }

  /** Adds an adapter that is neither active nor trainable. */
  addAdapter(adapterName: string, config: PeftConfig, options: InjectOptions = {}): void {
    this.#host.inject(config, adapterName, options);
  }

  /**
   * Adds an adapter made from others (LoRA or IA3); it neither acts nor trains until `setAdapter`.
   * @param weights one for each adapter; negative ones subtract
   * @param options how LoRA adapters become one; default their weighted sum cut to the largest rank ("svd")
   * @throws {RangeError} for an unknown type or adapter, a name that is taken, ranks that differ where they must not, a
   *   missing density, or DoRA; the model is then unchanged
   */
  async addWeightedAdapter(
    adapters: readonly string[],
    weights: readonly number[],
    adapterName: string,
    options: WeightedAdapterOptions = {},
  ): Promise<void> {
    const tuner = unmixedTunerOf(this, "add a weighted adapter");
    const { addWeightedAdapter } = await import("./operations/weighted_adapter.ts");
    await addWeightedAdapter(tuner, adapters, weights, adapterName, options);
  }

  /**
   * Makes one adapter (or several, summed) active and trainable, and the others inactive; merged adapters are unmerged
   * first.
   * @param options `inferenceMode`: they act without training
   */
  setAdapter(adapterName: string | readonly string[], options: { inferenceMode?: boolean } = {}): void {
    setActive(this.#host, adapterName, options.inferenceMode);
  }

  /** Removes an adapter and frees its memory. @throws {RangeError} if it is unknown or merged */
  deleteAdapter(adapterName: string): void {
    deleteFrom(this.#host, adapterName, this.training);
  }

  /** Renames an adapter in place. @throws {RangeError} if it is unknown, or the new name is taken */
  renameAdapter(adapterName: string, newName: string): void {
    this.#host.rename(adapterName, newName);
  }

  /** Switches the training of adapters on or off, and of nothing else. */
  setRequiresGrad(adapterNames: string | readonly string[], requiresGrad = true): void {
    setGradients(this.#host, adapterNames, requiresGrad);
  }

  /**
   * Switches every adapter off until `enableAdapterLayers()`; merged ones are unmerged. A `setAdapter()` in the
   * meantime takes effect then.
   */
  disableAdapterLayers(): void {
    warnOfBiases(this.#host);
    this.#host.switch.set(false);
  }

  /** Switches the adapters on again; what trained before trains again. */
  enableAdapterLayers(): void {
    this.#host.switch.set(true);
  }

  /**
   * Sets the scaling of a LoRA adapter to `factor` times its initial one, in every layer.
   * @throws {RangeError} if the adapter is unknown, or not LoRA
   */
  setScale(adapterName: string, factor: number): void {
    this.#host.checkName(adapterName);
    setScale(this, adapterName, factor);
  }

  /** The state of each layer with adapters. */
  getLayerStatus(): TunerLayerStatus[] {
    return getLayerStatus(this);
  }

  /** The state of the whole model; "irregular" where its layers differ. */
  getModelStatus(): TunerModelStatus {
    return getModelStatus(this);
  }

  /**
   * Runs `body` with every adapter off: the base model, bit for bit (biases that were trained stay trained). The
   * adapters are on again afterwards, even if it throws; `body` may be asynchronous. Where calls overlap or nest,
   * adapters are on again once all have ended. What was merged is merged again then, unless other adapters were set in
   * the meantime.
   */
  disableAdapter<T>(body: () => T): T {
    warnOfBiases(this.#host);
    return this.#host.switch.during(body);
  }

  /**
   * Adds the change of adapters (default: the active ones) to the base weights.
   * @throws {RangeError} while adapters are switched off (`peft` merges, and the next forward unmerges); with
   * `safeMerge`, if a merged weight is not finite; if a base weight is of few bits. The base is then unchanged
   */
  async mergeAdapter(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<void> {
    const { names, safe } = mergeChoice(options, this.activeAdapters);
    await this.#host.merge(names, safe);
  }

  /** Removes merged changes from the base weights, bit for bit. */
  unmergeAdapter(): void {
    this.#host.unmerge();
  }

  /** Merges the active adapters, even if switched off; returns the base, changed weights of few bits as float32. */
  async mergeAndUnload(options: { adapterNames?: readonly string[]; safeMerge?: boolean } = {}): Promise<M> {
    const { names, safe } = mergeChoice(options, this.activeAdapters);
    const { mergeAndUnload } = await import("./operations/merge_and_unload.ts");
    return await mergeAndUnload(this.#host, names, safe);
  }

  /** Returns the base model as it was, without adapters. */
  unload(): M {
    if (this.#host.state.merged.length > 0) this.#host.unmerge();
    const model = this.#host.unload(false);
    this.#host.restoreGradients();
    return model;
  }

  /** Frees the model and all its adapters. */
  override dispose(): void {
    this.#host.disposeAdapters();
    super.dispose();
    this.#host.model.dispose();
  }

  /**
   * Writes adapters as Python's `peft` does: "default" into the folder, others into subfolders of their names.
   * @throws {TypeError} or {RangeError} for an adapter that cannot be converted; nothing of it is written then
   */
  async savePretrained(folder: FolderOutput, options: SaveAdapterOptions = {}): Promise<void> {
    const { saveAdapters } = await import("./operations/save_adapter.ts");
    await saveAdapters(this.#host, folder, options);
  }

  /**
   * Pushes adapters to a repository of the hub: what `savePretrained` writes, with the model card, in one commit.
   * @param repoId "org/name", or "name" for the owner of the token
   * @throws {HubError} without a token that may write there, and where the hub refuses: the repository is then as it was
   */
  async pushToHub(repoId: string, options: PushToHubOptions & SaveAdapterOptions = {}): Promise<CommitInfo> {
    const { pushToHub } = await import("../io/hub_push.ts");
    const { SAVE_OPTIONS } = await import("./files/adapter_folder.ts");
    const save = (folder: FolderOutput, own: SaveAdapterOptions) => this.savePretrained(folder, own);
    return await pushToHub(repoId, options, { kind: "model", saveOptions: SAVE_OPTIONS, save });
  }

  /**
   * Loads another adapter, from what `fromPretrained` takes; it is not active until `setAdapter`.
   * @throws {TypeError} listing every tensor that does not fit; the model is then unchanged
   */
  async loadAdapter(
    dirOrId: AdapterInput,
    adapterName: string,
    options: LoadAdapterOptions = {},
  ): Promise<{ missingKeys: string[]; unexpectedKeys: string[] }> {
    const { findAdapter } = await import("./files/adapter_source.ts");
    const found = await findAdapter(dirOrId, this.#host.model, options);
    await import("./adapters/mixed_batch.ts"); // rows of a batch may have several from now on
    return await this.#load(found, adapterName, options);
  }

  async #load(found: FoundAdapter, adapterName: string, options: LoadAdapterOptions) {
    const config = withFields(found.config, { inferenceMode: !(options.isTrainable ?? false) });
    const { name, values } = await found.values();
    this.#host.inject(config, adapterName, { partly: "warn" }, found.isWhole);
    try {
      const result = this.#host.loadValues(adapterName, name, values, options);
      if (options.isTrainable) setGradients(this.#host, adapterName, true);
      return result;
    } catch (error) {
      this.#host.remove(adapterName);
      throw error;
    }
  }
}

/**
 * Wraps a model in place and adds a trainable adapter: only its parameters train. With `mixed`, adapters of other methods
 * may be added beside it.
 * @throws {TypeError} if the configuration's targets match nothing, or the model has adapters already
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig({ r: 4 }));
 * console.log(model.getNbTrainableParameters());
 * ```
 */
export function getPeftModel<M extends AdaptableModel>(
  model: M,
  config: PeftConfig,
  adapterName = "default",
  options: InjectOptions & MixedOption = {},
): PeftModel<M> {
  const peftModel = new PeftModel(model, config, options.mixed);
  addFirst(peftModel as PeftModel, config, adapterName, options);
  return peftModel.train();
}

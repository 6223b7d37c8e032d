/**
 * The adapters of a conversation: loaded by folder, and chosen by name.
 * @module
 */

import { type CausalLM, PeftModel } from "@peft/webgpu";
import { basename } from "@std/path";
import { UsageError } from "../command.ts";

/** Adapters by the folder they came from; one of them acts, or none. */
export class ChatAdapters {
  readonly #base: CausalLM;
  #peft: PeftModel<CausalLM> | null;
  /** Names in the model by the folders that users give. */
  readonly #names = new Map<string, string>();
  #active: string | null;

  /** @param given the folder that `model` was loaded with, if it has an adapter */
  constructor(base: CausalLM, model: CausalLM | PeftModel<CausalLM>, given: string | undefined) {
    this.#base = base;
    this.#peft = model instanceof PeftModel ? model : null;
    this.#active = given ?? null;
    if (given !== undefined) this.#names.set(given, "default");
  }

  /** The model that answers. */
  get model(): CausalLM | PeftModel<CausalLM> {
    return this.#peft ?? this.#base;
  }

  /**
   * Chooses an adapter, which is loaded if it is new; "none" for the base alone, "" to change nothing.
   * @returns a line that says which one acts
   * @throws what loading throws; the adapter that acted still does
   */
  async choose(wanted: string): Promise<string> {
    if (wanted === "none") {
      this.#peft?.disableAdapterLayers();
      this.#active = null;
    } else if (wanted !== "") {
      const folder = this.#known(wanted) ?? wanted;
      const name = this.#names.get(folder) ?? await this.#load(folder);
      if (this.#active === null) this.#peft!.enableAdapterLayers();
      this.#peft!.setAdapter(name, { inferenceMode: true });
      this.#active = folder;
    }
    const others = [...this.#names.keys()].filter((folder) => folder !== this.#active);
    return `adapter: ${this.#active ?? "none"}${
      others.length > 0 ? `; also loaded: ${others.join(", ")}` : ""
    }`;
  }

  /** The loaded folder that a user means by its whole path or its last part. @throws {UsageError} if several have it */
  #known(wanted: string): string | undefined {
    if (this.#names.has(wanted)) return wanted;
    const fitting = [...this.#names.keys()].filter((folder) => basename(folder) === wanted);
    if (fitting.length < 2) return fitting[0];
    throw new UsageError(`Cannot choose adapter "${wanted}": one of ${fitting.join(", ")} is required`);
  }

  async #load(folder: string): Promise<string> {
    const name = `adapter_${this.#names.size}`;
    if (this.#peft) await this.#peft.loadAdapter(folder, name);
    else this.#peft = await PeftModel.fromPretrained(this.#base, folder, { adapterName: name });
    this.#names.set(folder, name);
    return name;
  }
}

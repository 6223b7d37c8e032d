/**
 * The adapters that are on the open model. Those of one method stay loaded side by side and are switched; one of another
 * method takes their place.
 * @module
 */

import { type CausalLM, PeftConfig, PeftModel } from "@peft/webgpu";
import type { FolderStore } from "@peft/webgpu/io";

/** Adapters that stay loaded at most. */
const MOST = 6;

/** Where adapters sit on a base model. */
export class AdapterSeat {
  readonly #base: CausalLM;
  #peft: PeftModel<CausalLM> | null = null;
  #peftType = "";
  /** Loaded ones, the one that was used last at the end. */
  #loaded: string[] = [];

  /** None yet. */
  constructor(base: CausalLM) {
    this.#base = base;
  }

  /** The model with adapters; null where none is loaded. */
  get peft(): PeftModel<CausalLM> | null {
    return this.#peft;
  }

  /** Loads an adapter, if it is not, beside others of its method. */
  async load(adapterId: string, folder: FolderStore): Promise<PeftModel<CausalLM>> {
    const { peftType } = await PeftConfig.fromPretrained(folder);
    if (this.#peft && peftType !== this.#peftType) this.clear();
    if (!this.#peft) {
      this.#peft = await PeftModel.fromPretrained(this.#base, folder, { adapterName: adapterId });
      this.#peftType = peftType;
      this.#loaded = [adapterId];
    } else if (!this.#loaded.includes(adapterId)) {
      await this.#peft.loadAdapter(folder, adapterId);
      this.#loaded.push(adapterId);
    }
    this.#loaded = [...this.#loaded.filter((id) => id !== adapterId), adapterId];
    return this.#peft;
  }

  /** Makes one of the loaded adapters act, and unloads those that were not used for long. */
  choose(adapterId: string): PeftModel<CausalLM> {
    const peft = this.#peft!;
    peft.setAdapter(adapterId, { inferenceMode: true });
    while (this.#loaded.length > MOST) peft.deleteAdapter(this.#loaded.shift()!);
    return peft;
  }

  /** Notes an adapter that was made on the model itself, such as a mixture. */
  note(adapterId: string): void {
    if (!this.#loaded.includes(adapterId)) this.#loaded.push(adapterId);
  }

  /** Whether an adapter is loaded. */
  has(adapterId: string): boolean {
    return this.#loaded.includes(adapterId);
  }

  /** Unloads an adapter. */
  remove(adapterId: string): void {
    if (!this.has(adapterId)) return;
    if (this.#loaded.length === 1) return this.clear();
    const rest = this.#loaded.filter((id) => id !== adapterId);
    this.#peft!.setAdapter(rest.at(-1)!, { inferenceMode: true });
    this.#peft!.deleteAdapter(adapterId);
    this.#loaded = rest;
  }

  /** Unloads all: the base is as it was. */
  clear(): void {
    this.#peft?.unload();
    this.#peft = null;
    this.#loaded = [];
  }
}

/**
 * The adapters of a running server: loaded, named by requests, and dropped while others generate.
 * @module
 */

import { type CausalLM, type PeftConfig, PeftModel } from "@peft/webgpu";
import type { BoundRows } from "@peft/webgpu/model";
import { bindAdapters } from "@peft/webgpu/peft";
import { ApiError } from "./api_error.ts";

/**
 * An adapter that requests may name.
 *
 * @example
 * ```ts
 * import type { Engine, ShelvedAdapter } from "@peft/webgpu/serve";
 *
 * // lines for an operator: each adapter, where it came from, and since when it is served
 * const overview = ({ adapters }: Engine) =>
 *   adapters.all.map(({ id, source, created }: ShelvedAdapter) =>
 *     `${id} from ${source} since ${new Date(1000 * created).toISOString()}`
 *   );
 * ```
 */
export interface ShelvedAdapter {
  /** Its name in requests. */
  readonly id: string;
  /** The folder or hub id that it came from. */
  readonly source: string;
  /** When it was loaded, in seconds since 1970. */
  readonly created: number;
  /** Its name in the model, which takes no dots and spaces. */
  readonly name: string;
}

/**
 * The adapters over one base model.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { AdapterShelf } from "@peft/webgpu/serve";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * await getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] })).savePretrained("out/pirate");
 * const shelf = new AdapterShelf(await AutoModelForCausalLM.fromPretrained("examples/demo/model"));
 * await shelf.add("pirate", "out/pirate");
 * console.log(shelf.all.map(({ id }) => id)); // [ "pirate" ]
 * ```
 */
export class AdapterShelf {
  readonly #base: CausalLM;
  readonly #adapters = new Map<string, ShelvedAdapter>();
  #model: PeftModel<CausalLM> | null = null;
  #count = 0;
  /** One change at a time. */
  #changing: Promise<unknown> = Promise.resolve();

  /** No adapters yet. */
  constructor(base: CausalLM) {
    this.#base = base;
  }

  /** Every adapter, in the order in which they came. */
  get all(): readonly ShelvedAdapter[] {
    return [...this.#adapters.values()];
  }

  /** The adapter of a name, or undefined. */
  get(id: string): ShelvedAdapter | undefined {
    return this.#adapters.get(id);
  }

  /** What an adapter's folder says of it. */
  configOf({ name }: ShelvedAdapter): PeftConfig {
    return this.#model!.peftConfig[name];
  }

  /**
   * Binds rows of a batch to adapters, by their names in the model. Rows of the base stay bound while the first adapter comes
   * and the last one goes, with which the model's layers change.
   */
  readonly bind = (names: readonly (string | null)[]): BoundRows => {
    let model = this.#model;
    const bindTo = (adapted: typeof model) => adapted && bindAdapters(adapted, names);
    let bound = bindTo(model);
    return {
      run: (step) => {
        if (this.#model !== model) {
          bound?.dispose();
          bound = bindTo(model = this.#model);
        }
        return bound ? bound.run(step) : step();
      },
      dispose: () => bound?.dispose(),
    };
  };

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(work);
    this.#changing = result.catch(() => {});
    return result;
  }

  /**
   * Loads an adapter. Requests go on meanwhile.
   * @throws {ApiError} 409 for a name that is taken, 400 for a folder that is no adapter of this base
   */
  add(id: string, source: string): Promise<ShelvedAdapter> {
    return this.#inTurn(async () => {
      if (this.#adapters.has(id)) {
        throw new ApiError(409, `adapter "${id}" is loaded already`, "adapter_exists", "name");
      }
      const name = `adapter_${this.#count++}`;
      try {
        if (this.#model) await this.#model.loadAdapter(source, name);
        else this.#model = await PeftModel.fromPretrained(this.#base, source, { adapterName: name });
        this.#check(name);
      } catch (error) {
        const message = (error as Error).message.replaceAll(`"${name}"`, `"${id}"`);
        throw new ApiError(400, message, "adapter_not_loaded", "path");
      }
      const adapter = { id, source, name, created: Math.floor(Date.now() / 1000) };
      this.#adapters.set(id, adapter);
      return adapter;
    });
  }

  /** Fails for an adapter that cannot share a batch with others, which is dropped again. */
  #check(name: string): void {
    try {
      bindAdapters(this.#model!, [name, null]).dispose();
    } catch (error) {
      this.#delete(name);
      throw new TypeError(
        `Cannot serve adapter "${name}": one that shares a batch with others is required, received one that does not (${
          (error as Error).message
        })`,
      );
    }
  }

  /**
   * Drops an adapter: requests cannot name it any more; its memory is freed when those that do are done.
   * @param isIdle whether no request uses it; asked again and again
   * @throws {ApiError} 404 for an unknown name
   */
  remove(id: string, isIdle: (adapter: ShelvedAdapter) => boolean): Promise<void> {
    const adapter = this.#adapters.get(id);
    if (!adapter) throw new ApiError(404, `there is no adapter "${id}"`, "adapter_not_found", "name");
    this.#adapters.delete(id);
    return this.#inTurn(async () => {
      while (!isIdle(adapter)) await new Promise((resolve) => setTimeout(resolve, 20));
      this.#delete(adapter.name);
    });
  }

  /** Deletes an adapter; the last one's method goes with it, so that the next may be of another. */
  #delete(name: string): void {
    const other = Object.keys(this.#model!.peftConfig).find((one) => one !== name);
    if (other === undefined) {
      this.#model!.unload();
      this.#model = null;
      return;
    }
    this.#model!.setAdapter(other, { inferenceMode: true }); // the active one cannot go unnoticed
    this.#model!.deleteAdapter(name);
  }
}

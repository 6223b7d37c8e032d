/**
 * A call that takes time: what it waits for, whether it failed, and a way to end it.
 * @module
 */
import { signal } from "@preact/signals";
import type { CallName, Calls, EngineEvent, Progress, StudioError } from "../../protocol.ts";
import { call, haltWith, readError } from "../engine.ts";
import { announce } from "./announcement.ts";

/** One place of the page that waits for the engine; a new call ends the one before. */
export class Task {
  /** What is awaited, in words; null while nothing is. */
  readonly waitsFor = signal<string | null>(null);
  /** How far it is, where the engine says. */
  readonly progress = signal<Progress | null>(null);
  /** Why the last call failed. */
  readonly error = signal<StudioError | null>(null);
  #controller: AbortController | null = null;

  /**
   * Calls the engine. Gives undefined where that failed; `error`, or the whole page, says why then.
   * @param waitsFor what the reader waits for, such as `Opening the model`
   */
  async run<Name extends CallName>(
    waitsFor: string,
    name: Name,
    params: Calls[Name]["params"],
    onEvent?: (event: EngineEvent) => void,
  ): Promise<Calls[Name]["result"] | undefined> {
    this.#controller?.abort();
    const controller = this.#controller = new AbortController();
    const isMine = () => this.#controller === controller;
    this.waitsFor.value = waitsFor;
    this.progress.value = null;
    this.error.value = null;
    announce(waitsFor);
    try {
      return await call(name, params, {
        signal: controller.signal,
        onEvent: (event) => {
          if (event.event === "progress" && isMine()) this.progress.value = event.progress;
          onEvent?.(event);
        },
      });
    } catch (error) {
      if (isMine()) this.fail(error);
      return undefined;
    } finally {
      if (isMine()) {
        this.waitsFor.value = null;
        this.progress.value = null;
        this.#controller = null;
      }
    }
  }

  /** Shows what was thrown, unless the reader ended the call. */
  fail(error: unknown): void {
    const read = readError(error);
    if (read.kind === "cancelled" || haltWith(read)) return;
    this.error.value = read;
    announce(read.title);
  }

  /** Ends the call that runs. */
  cancel(): void {
    this.#controller?.abort();
  }
}

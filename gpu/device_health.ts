/**
 * What went wrong on a device. WebGPU reports it late, and one cause in many forms: a device that is lost also fails
 * validations, compilations and maps, so a failure waits for news of a loss before it gets a name.
 * @module
 */

import { DeviceLostError, GpuError, OutOfDeviceMemoryError } from "./errors.ts";

/** How long after a failure the news that the device is lost may arrive, in milliseconds. */
const NEWS_MS = 200;

/** Says that a device is gone, in the words of wgpu and Dawn. */
const LOST = /device\b.{0,40}\b(?:is|was|has been) (?:lost|destroyed)/i;

/** The first failure of a device; every later use throws it. */
export class DeviceHealth {
  #failure: Error | null = null;
  /** The failure, once no news can change it any more. */
  #settled: Error | null = null;
  /** Resolves when the device is lost. */
  readonly #lost: Promise<void>;

  constructor(device: GPUDevice) {
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      if (LOST.test(error.message)) return this.#lose(error.message);
      const Kind = /OutOfMemory/.test(error.constructor.name) ? OutOfDeviceMemoryError : GpuError;
      this.#failure ??= new Kind(`Cannot trust the device's results: WebGPU reported "${error.message}"`);
    });
    this.#lost = device.lost.then(({ reason, message }) => this.#lose(`(${reason}) ${message}`));
  }

  /** Whether the device is known to be gone. */
  get isLost(): boolean {
    return this.#failure instanceof DeviceLostError;
  }

  /** Throws what went wrong. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** Ends every use of the device: its owner destroys it. */
  destroy(): void {
    if (this.#failure instanceof DeviceLostError) return;
    this.#failure = new DeviceLostError("Cannot use the device: it was destroyed");
  }

  /** Throws what went wrong, or `failure` if nothing was known, once no more news of a lost device can arrive. */
  async settle(failure: Error | null): Promise<void> {
    if (failure && !(this.#failure instanceof DeviceLostError)) this.#failure = failure;
    if (this.#failure === null || this.#failure === this.#settled) return this.check();
    await this.#newsOfLoss(NEWS_MS);
    this.#settled = this.#failure;
    this.check();
  }

  /** @throws {DeviceLostError} if an error's text says that the device is lost */
  checkText(text: string): void {
    if (LOST.test(text)) this.#lose(text);
    this.check();
  }

  /** Throws what a call into WebGPU threw, or that the device is lost if that is the reason. */
  async explain(action: string, error: unknown): Promise<never> {
    this.checkText((error as Error).message);
    await this.#newsOfLoss(NEWS_MS);
    this.check();
    throw new GpuError(`Cannot ${action}: ${(error as Error).message}`, { cause: error });
  }

  /** @throws {DeviceLostError} if the device was lost before its first use */
  async checkNew(): Promise<void> {
    await this.#newsOfLoss(0);
    this.check();
  }

  #lose(detail: string): void {
    if (this.#failure instanceof DeviceLostError) return;
    this.#failure = new DeviceLostError(`Cannot use the device: it is lost ${detail}`.trimEnd());
  }

  async #newsOfLoss(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    await Promise.race([this.#lost, timeout]);
    clearTimeout(timer);
  }
}

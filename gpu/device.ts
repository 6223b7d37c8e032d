/**
 * A WebGPU device with its memory, kernels and one stream of commands. Errors that WebGPU reports late (and that
 * would otherwise be read back as zeros) poison the device: the next dispatch or readback throws.
 * @module
 */

import type { KernelSpec } from "../kernels/kernel_spec.ts";
import { BufferPool, type BufferView, type DeviceBuffer, type MemoryReport } from "./buffer_pool.ts";
import { Capture } from "./capture.ts";
import { CommandStream } from "./command_stream.ts";
import { DeviceHealth } from "./device_health.ts";
import {
  checkGiven,
  type DeviceOptions,
  type NegotiatedLimit,
  WANTED_FEATURES,
  WANTED_LIMITS,
} from "./device_options.ts";
import { adapterNameOf, type DeviceProfile, deviceProfile } from "./device_profile.ts";
import type { DeviceStats } from "./device_stats.ts";
import { findAdapter } from "./find_adapter.ts";
import { narrowLimits } from "./limits.ts";
import { PipelineCache } from "./pipeline_cache.ts";
import { Readback } from "./readback.ts";
import { rehearsalOf } from "./rehearsal.ts";
import { SUBGROUPS, trySubgroups, usesSubgroups } from "./subgroups.ts";
import { writeBytes } from "./write_bytes.ts";

type Params = Readonly<Record<string, number>>;

/** A count of workgroups as [x, y], neither above the limit. */
function foldGrid(count: number, limit: number): [number, number] {
  if (count <= limit) return [count, 1];
  const y = Math.ceil(count / limit);
  return [Math.ceil(count / y), y];
}

/**
 * One device. Make it with `Device.create()` or `initDevice()`.
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * console.log((await initDevice()).adapterName); // such as "llvmpipe (LLVM 15.0.6, 256 bits)"
 * ```
 */
export class Device {
  /** The device underneath. */
  readonly gpuDevice: GPUDevice;
  /** What the device may use. */
  readonly limits: GPUSupportedLimits;
  /** Optional WebGPU features it has. */
  readonly features: ReadonlySet<string>;
  /** Name of the adapter, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  readonly adapterName: string;
  /** @internal Every default that depends on the adapter. */
  readonly profile: DeviceProfile;
  /** Read once: the getters of WebGPU's limits are slow. */
  readonly #maxWorkgroups: number;
  readonly #maxBindingBytes: number;
  readonly #pool: BufferPool;
  readonly #stream: CommandStream;
  readonly #pipelines: PipelineCache;
  readonly #readback: Readback;
  readonly #health: DeviceHealth;
  /**
   * Kept from collection: the npm package `webgpu` ends the process if its entry point is collected before its devices.
   */
  readonly #keptAlive: readonly unknown[];
  #writtenBytes = 0;
  #capture: Capture | null = null;

  private constructor(
    gpuDevice: GPUDevice,
    info: GPUAdapterInfo | undefined,
    options: DeviceOptions,
    subgroupSize = 0,
  ) {
    this.gpuDevice = gpuDevice;
    this.limits = narrowLimits(gpuDevice.limits, options.limits);
    this.#maxWorkgroups = this.limits.maxComputeWorkgroupsPerDimension;
    this.#maxBindingBytes = this.limits.maxStorageBufferBindingSize;
    this.features = new Set(gpuDevice.features as Iterable<string>);
    this.adapterName = adapterNameOf(info);
    this.profile = deviceProfile(this.adapterName, info?.isFallbackAdapter, subgroupSize);
    this.#stream = new CommandStream(gpuDevice, this.profile.submissionWork);
    const { memoryLimitBytes = Infinity } = options;
    this.#pool = new BufferPool(
      gpuDevice,
      this.limits,
      memoryLimitBytes,
      () => this.#stream.submit(),
      options.idleFloorBytes,
    );
    this.#pipelines = new PipelineCache(gpuDevice, this.#stream.uniform);
    this.#readback = new Readback(gpuDevice, this.#stream);
    this.#health = new DeviceHealth(gpuDevice);
    this.#keptAlive = [options.gpu, options.adapter];
  }

  /**
   * Adopts the caller's device, or makes one with limits negotiated as min(wanted, adapter's).
   * @throws {NoAdapterError} if there is no WebGPU or no adapter @throws {DeviceLostError} if the device is lost
   * already
   * @throws {TypeError} for an option that does not exist, or if what is given is no device, adapter or entry point
   */
  static async create(options: DeviceOptions = {}): Promise<Device> {
    checkGiven(options);
    if (options.device) return await Device.#adopt(options.device, options);
    const adapter = options.adapter ?? await findAdapter(options);
    const requiredLimits: Record<string, number> = {};
    for (const name of Object.keys(WANTED_LIMITS) as NegotiatedLimit[]) {
      const wanted = Math.min(WANTED_LIMITS[name], options.limits?.[name] ?? Infinity);
      requiredLimits[name] = Math.min(wanted, adapter.limits[name]);
    }
    const requiredFeatures = WANTED_FEATURES.filter((name) => adapter.features.has(name)) as GPUFeatureName[];
    const wanted = { label: "@peft/webgpu", requiredLimits, requiredFeatures };
    const more = [...requiredFeatures, SUBGROUPS as GPUFeatureName];
    const device = usesSubgroups(adapter.info)
      ? await adapter.requestDevice({ ...wanted, requiredFeatures: more })
        .catch(() => adapter.requestDevice(wanted))
      : await adapter.requestDevice(wanted);
    const size = await trySubgroups(device, adapter.info);
    const made = new Device(device, adapter.info, { ...options, adapter }, size);
    await made.#health.checkNew();
    return made;
  }

  static async #adopt(gpuDevice: GPUDevice, options: DeviceOptions): Promise<Device> {
    const { adapterInfo } = gpuDevice;
    const device = new Device(gpuDevice, adapterInfo, options, await trySubgroups(gpuDevice, adapterInfo));
    await device.#health.checkNew();
    return device;
  }

  /**
   * @internal A device that computes as this one does, but without memory or arithmetic: its ledger shows what this one's
   * would.
   */
  rehearsal(): Device {
    const device = new Device(rehearsalOf(this.gpuDevice, this.limits), this.gpuDevice.adapterInfo, {
      idleFloorBytes: this.#pool.idleFloorBytes,
    });
    (device as { profile: DeviceProfile }).profile = this.profile;
    return device;
  }

  /** Whether the adapter is software. */
  get isFallback(): boolean {
    return this.profile.kind === "software";
  }

  /** Loop iterations that one invocation may run, all its loops together; Infinity except on one software driver. */
  get maxLoopIterations(): number {
    return this.profile.maxLoopIterations;
  }

  /** The byte ledger. */
  get memory(): MemoryReport {
    return this.#pool.report;
  }

  /** Resets the ledger's peak to what is allocated now. */
  resetPeakMemory(): void {
    this.#pool.resetPeak();
  }

  /** Sets the ledger's limit in bytes. */
  set memoryLimitBytes(bytes: number) {
    this.#pool.limitBytes = bytes;
  }

  /** Returns idle buffers to the driver. */
  trim(): void {
    this.#pool.trim(0);
  }

  /** Counters of work done. */
  get stats(): DeviceStats {
    return {
      dispatches: this.#stream.dispatches,
      submissions: this.#stream.submissions,
      bindGroupHits: this.#pipelines.bindGroupHits,
      bindGroupMisses: this.#pipelines.bindGroupMisses,
      bindGroups: this.#pipelines.bindGroups,
      pipelines: this.#pipelines.pipelines,
    };
  }

  /**
   * A buffer of at least `byteLength` bytes, contents undefined.
   * @param lasts whether it stays, as weights do: then it is no larger than it must be
   * @throws {OutOfDeviceMemoryError} past the ledger's limit
   */
  acquire(byteLength: number, lasts = false): DeviceBuffer {
    this.#checkHealth();
    const buffer = this.#pool.acquire(byteLength, lasts);
    this.#capture?.own(buffer);
    return buffer;
  }

  /** Releases a buffer; commands already appended may still use it. */
  release(buffer: DeviceBuffer): void {
    this.#capture?.giveBack(buffer);
    this.#checkOwn(buffer, "give a buffer back");
    this.#pool.release(buffer);
  }

  /**
   * Appends one kernel launch. Launches of no workgroups are dropped.
   * @param work estimated floating-point operations, for the submission budget
   */
  dispatch<B extends string, P extends string, T extends string>(
    kernel: KernelSpec<B, P, T>,
    buffers: Readonly<Record<NoInfer<B>, BufferView>>,
    params: Readonly<Record<NoInfer<P>, number>>,
    tuning?: Readonly<Partial<Record<NoInfer<T>, number>>>,
    work = 0,
  ): void {
    this.#checkHealth();
    const compiled = this.#pipelines.get(kernel as unknown as KernelSpec, tuning as Params | undefined);
    const [gridX, gridY, gridZ = 1] = compiled.kernel.grid(params, compiled.tuning);
    const limit = this.#maxWorkgroups;
    const [x, y] = gridY === undefined ? foldGrid(gridX, limit) : [gridX, gridY];
    if (x === 0 || y === 0 || gridZ === 0) return;
    if (x > limit || y > limit || gridZ > limit) {
      throw new RangeError(
        `Cannot launch "${kernel.name}": at most ${limit} workgroups per dimension are allowed, received [${x}, ${y}, ${gridZ}]`,
      );
    }
    this.#stream.reserve();
    const views: BufferView[] = [];
    for (const name of compiled.bufferNames) {
      const view = buffers[name as B];
      if (view.size > this.#maxBindingBytes) {
        throw new RangeError(
          `Cannot bind "${name}" of kernel "${kernel.name}": at most ${this.#maxBindingBytes} bytes per binding are allowed, received ${view.size}`,
        );
      }
      this.#checkOwn(view.buffer, `run "${kernel.name}"`);
      view.buffer.lastUse = this.#stream.epoch;
      this.#capture?.use(view.buffer);
      views.push(view);
    }
    this.#stream.dispatch(compiled, this.#pipelines.bindGroup(compiled, views), params, x, y, gridZ, work);
  }

  /** Appends a copy of `source` to the start of `target`; sizes in multiples of 4 bytes. */
  copy(source: BufferView, target: BufferView): void {
    this.#checkHealth();
    this.#checkOwn(source.buffer, "copy");
    this.#checkOwn(target.buffer, "copy");
    target.buffer.lastUse = this.#stream.epoch;
    this.#capture?.use(source.buffer);
    this.#capture?.use(target.buffer);
    this.#stream.copy(source, target.buffer.gpuBuffer, target.offset);
  }

  /**
   * Writes host bytes to `view` (multiples of 4 bytes), in order with the commands appended before.
   * @param refresh bytes of each later replay, if this happens in a captured step; default the same again
   */
  write(
    view: BufferView,
    data: ArrayBufferView<ArrayBuffer>,
    refresh?: () => ArrayBufferView<ArrayBuffer>,
  ): void {
    this.#checkHealth();
    this.#checkOwn(view.buffer, "write");
    if (this.#stream.hasPending(view.buffer)) this.#stream.submit();
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#capture?.recordWrite(view, bytes, refresh);
    const queue = this.gpuDevice.queue;
    writeBytes(queue, view.buffer.gpuBuffer, view.offset, bytes);
    this.#writtenBytes += bytes.byteLength;
    if (this.#writtenBytes > 64 * 2 ** 20) { // the queue keeps a staging copy of each write until a submission
      this.#stream.submit();
      queue.submit([]);
      this.#writtenBytes = 0;
    }
  }

  /**
   * The bytes of `view` once every command appended so far is done.
   * @throws {GpuError} or a kind of it, if anything went wrong on the device since it was made
   */
  async read(view: BufferView): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkHealth();
    if (this.#capture) {
      throw new TypeError("Cannot read from the device in a captured step: read its result after the step");
    }
    this.#checkOwn(view.buffer, "read");
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await this.#readback.read(view);
    } catch (error) {
      await this.#settle();
      return await this.#health.explain("read from the device", error);
    }
    await this.#settle();
    return bytes;
  }

  /** Submits every appended command without waiting. */
  submit(): void {
    this.#checkHealth();
    this.#stream.submit();
  }

  /** Waits until the device is idle. Throws the error that poisoned it, if any. */
  async sync(): Promise<void> {
    this.submit();
    try {
      await this.gpuDevice.queue.onSubmittedWorkDone();
    } catch (error) {
      await this.#settle();
      await this.#health.explain("wait for the device", error);
    }
    await this.#settle();
  }

  /**
   * Runs `body` and records its dispatches and writes, so that they can be replayed. `body` must not read back.
   * @param yields whether the recording is given up if it takes more memory than `body` without it
   * @internal `captureStep` is the public name
   */
  capture<T>(body: () => T, yields = false): { result: T; capture: Capture } {
    this.#checkHealth();
    const capture = this.#capture = new Capture(this.gpuDevice, this.#stream, this.#pool, yields);
    let result: T;
    try {
      result = body();
    } catch (error) {
      this.#capture = null;
      capture.abort();
      throw error;
    }
    this.#capture = null;
    capture.close();
    return { result, capture };
  }

  /** @internal Does recorded work again, without waiting. */
  replay(capture: Capture): void {
    this.#checkHealth();
    capture.replay();
  }

  /** @internal The recording that is open: ops tell it what its replays depend on. */
  get recording(): Capture | null {
    return this.#capture;
  }

  /** @internal Throws what went wrong: a DeviceLostError if an error's text says that the device is lost. */
  checkText(text: string): void {
    this.#health.checkText(text);
  }

  /** @internal The command stream: where the profiler and step capture hook in. */
  get stream(): CommandStream {
    return this.#stream;
  }

  /** Whether it is known to be gone: destroyed, crashed or taken away. */
  get isLost(): boolean {
    return this.#health.isLost;
  }

  /** Destroys the device and all its buffers. */
  destroy(): void {
    this.#health.destroy();
    this.gpuDevice.destroy();
  }

  #checkHealth(): void {
    this.#health.check();
  }

  async #settle(): Promise<void> {
    await this.#health.settle(await this.#pipelines.compileError());
  }

  /**
   * Fails for a buffer of another device, which WebGPU would only report later, when the device is already unusable.
   */
  #checkOwn(buffer: DeviceBuffer, action: string): void {
    if (buffer.pool === this.#pool) return;
    throw new TypeError(`Cannot ${action}: all tensors must be on one device, received tensors of two`);
  }
}

/**
 * Device buffers by size class, with a ledger of bytes. Of the idle buffers of a class the oldest one is reused first:
 * then the same sequence of acquire and release, from the same set of idle buffers, gives the same buffers in every
 * training step, and cached bind groups hit. (Last in, first out would permute them from step to step.)
 * @module
 */

import { OutOfDeviceMemoryError } from "./errors.ts";
import { BUFFER_USAGE } from "./flags.ts";

/**
 * One GPU buffer of the pool. `byteLength` is its size class, at least what was asked for.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import type { DeviceBuffer } from "@peft/webgpu/gpu";
 *
 * const device = await initDevice();
 * const scratch: DeviceBuffer = device.acquire(1000);
 * console.log(scratch.byteLength); // 1024: its size class
 * device.release(scratch); // kept for the next one of that class
 * ```
 */
export interface DeviceBuffer {
  /** Unique for the life of the device: part of bind-group keys. */
  readonly id: number;
  /** The WebGPU buffer. */
  readonly gpuBuffer: GPUBuffer;
  /** Its size class, in bytes. */
  readonly byteLength: number;
  /** Number of the last submission that uses it; a host write must not overtake that submission's commands. */
  lastUse: number;
  /** @internal Cache entries made of it, which are dropped when the buffer is destroyed. */
  readonly dependents: Set<BufferDependent>;
  /** @internal The pool it came from: a buffer of another device cannot be used. */
  readonly pool: BufferPool;
  /** @internal Those who continue to use it after its owner released it. */
  readonly holders: Set<BufferHolder>;
}

/** Something made from a buffer, such as a bind group. */
export interface BufferDependent {
  /** Removes it from its cache, and from the buffers it was made from. */
  forget(): void;
}

/** Uses buffers that it does not own, over and over: a captured step. */
export interface BufferHolder {
  /** Called when the owner of a buffer releases it; nobody else gets it until the holder lets it go. */
  whenReleased(buffer: DeviceBuffer): void;
  /** Called when memory has run out: lets everything go, unless it is in use. */
  giveUp(): void;
}

/**
 * A byte range of a device buffer. `offset` is a multiple of 256, `size` is exact.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import type { BufferView } from "@peft/webgpu/gpu";
 *
 * const device = await initDevice();
 * const buffer = device.acquire(8);
 * const view: BufferView = { buffer, offset: 0, size: 8 };
 * device.write(view, new Float32Array([1, 2]));
 * console.log(new Float32Array((await device.read(view)).buffer)); // Float32Array(2) [ 1, 2 ]
 * device.release(buffer);
 * ```
 */
export interface BufferView {
  /** The buffer. */
  readonly buffer: DeviceBuffer;
  /** First byte, a multiple of 256. */
  readonly offset: number;
  /** Number of bytes. */
  readonly size: number;
}

/**
 * What the ledger knows, all in bytes except `buffers`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { MemoryReport } from "@peft/webgpu/gpu";
 *
 * const line = ({ liveBytes, peakBytes, buffers }: MemoryReport) =>
 *   `${buffers} buffers, ${(liveBytes / 1e6).toFixed(1)} MB, at most ${(peakBytes / 1e6).toFixed(1)} MB`;
 * const { device } = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * console.log(line(device.memory));
 * ```
 */
export interface MemoryReport {
  /** In use by tensors and caches. */
  readonly liveBytes: number;
  /** Kept for reuse. */
  readonly idleBytes: number;
  /** Highest live + idle since the device was made or `resetPeak()`. */
  readonly peakBytes: number;
  /** The limit of live + idle. */
  readonly limitBytes: number;
  /** Buffers in use. */
  readonly buffers: number;
}

const STORAGE_USAGE = BUFFER_USAGE.STORAGE | BUFFER_USAGE.COPY_SRC | BUFFER_USAGE.COPY_DST;
/** Idle bytes that are always tolerated before the oldest idle buffers are destroyed. */
const IDLE_FLOOR_BYTES = 256 * 2 ** 20;

/**
 * The smallest size class that holds `byteLength`: eight classes per doubling, multiples of 256, at most 12.5 % waste.
 */
export function sizeClass(byteLength: number): number {
  if (byteLength <= 2048) return Math.max(256, Math.ceil(byteLength / 256) * 256);
  const step = 2 ** (Math.floor(Math.log2(byteLength - 1)) - 3);
  return Math.ceil(byteLength / step) * step;
}

/** Keeps `list` sorted by falling id, so that `pop()` gives the oldest buffer. */
function insertDescending(list: DeviceBuffer[], buffer: DeviceBuffer): void {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].id > buffer.id) low = middle + 1;
    else high = middle;
  }
  list.splice(low, 0, buffer);
}

function put(idle: Map<number, DeviceBuffer[]>, buffer: DeviceBuffer): void {
  let list = idle.get(buffer.byteLength);
  if (!list) idle.set(buffer.byteLength, list = []);
  insertDescending(list, buffer);
}

/** What recordings keep of a pool's buffers; all of it counts as in use. */
export class RecordedBuffers {
  /** Buffers released while a recording is open: the recording reuses them itself. */
  #arena: Map<number, DeviceBuffer[]> | null = null;
  #arenaBytes = 0;
  #yields = false;
  /** Released by their owners, but held. */
  readonly #parked = new Set<DeviceBuffer>();
  /** Everyone that holds buffers, least recently used first. */
  readonly #holders = new Set<BufferHolder>();
  readonly #retire: (buffer: DeviceBuffer) => void;

  /** `retire` makes a buffer idle. */
  constructor(retire: (buffer: DeviceBuffer) => void) {
    this.#retire = retire;
  }

  /**
   * From now on, released buffers are kept for this recording. Only one can be open at a time.
   * @param yields whether it ends as soon as it keeps more than the pool would
   */
  open(yields: boolean): void {
    if (this.#arena) throw new Error("Cannot capture: another capture is open");
    this.#arena = new Map();
    this.#arenaBytes = 0;
    this.#yields = yields;
  }

  /**
   * Ends that: `holder` holds the buffers in `used`, including those it released itself; the others are free.
   * @returns false if the recording's buffers were needed in the meantime: then it holds nothing
   */
  close(holder: BufferHolder, used: Iterable<DeviceBuffer>): boolean {
    if (!this.#arena) return false;
    for (const buffer of used) buffer.holders.add(holder);
    this.#holders.add(holder);
    const returned = [...this.#arena.values()].flat();
    this.#arena = null;
    for (const buffer of returned) {
      if (buffer.holders.size > 0) this.#parked.add(buffer);
      else this.#retire(buffer);
    }
    return true;
  }

  /** Lets the buffers of a holder go: those that their owners released are free for reuse. */
  letGo(holder: BufferHolder, used: Iterable<DeviceBuffer>): void {
    this.#holders.delete(holder);
    for (const buffer of used) {
      buffer.holders.delete(holder);
      if (buffer.holders.size === 0 && this.#parked.delete(buffer)) this.#retire(buffer);
    }
  }

  /** Notes that a holder is in use: it is asked last for its memory. */
  touch(holder: BufferHolder): void {
    if (this.#holders.delete(holder)) this.#holders.add(holder);
  }

  /** Bytes that the open recording keeps for itself. */
  get bytes(): number {
    return this.#arena ? this.#arenaBytes : 0;
  }

  /** A buffer of the open recording. */
  take(bytes: number): DeviceBuffer | undefined {
    const buffer = this.#arena?.get(bytes)?.pop();
    if (buffer) this.#arenaBytes -= bytes;
    return buffer;
  }

  /** Keeps a buffer that its owner releases, where someone holds it or a recording is open. */
  keep(buffer: DeviceBuffer): boolean {
    if (buffer.holders.size > 0) {
      this.#parked.add(buffer);
      for (const holder of [...buffer.holders]) holder.whenReleased(buffer);
    } else if (this.#arena) {
      put(this.#arena, buffer);
      this.#arenaBytes += buffer.byteLength;
    } else return false;
    return true;
  }

  /** Gives a recording that yields up, if it keeps more than `bytes`. */
  yieldAbove(bytes: number): void {
    if (this.#yields && this.bytes > bytes) this.#dissolve();
  }

  /** Lets holders go, and then the open recording, until there is enough memory. */
  giveUpUntil(isEnough: () => boolean): void {
    for (const holder of [...this.#holders]) {
      if (isEnough()) return;
      holder.giveUp();
    }
    if (!isEnough()) this.#dissolve();
  }

  /** Gives the open recording up: its buffers become idle like any others. */
  #dissolve(): void {
    const returned = [...this.#arena?.values() ?? []].flat();
    this.#arena = null;
    for (const buffer of returned) this.#retire(buffer);
  }
}

/** The storage buffers of one device. */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #maxBufferSize: number;
  #idle = new Map<number, DeviceBuffer[]>();
  /** Null before the first recording. */
  #recorded: RecordedBuffers | null = null;
  /** Bytes that may always be idle. */
  readonly idleFloorBytes: number;
  readonly #beforeDestroy: () => void;
  #nextId = 1;
  #liveBytes = 0;
  #idleBytes = 0;
  #peakBytes = 0;
  #buffers = 0;
  #limitBytes: number;

  /** `beforeDestroy` runs before idle buffers are destroyed: pending commands that name them are submitted. */
  constructor(
    device: GPUDevice,
    limits: GPUSupportedLimits,
    limitBytes: number,
    beforeDestroy: () => void,
    idleFloorBytes: number = IDLE_FLOOR_BYTES,
  ) {
    this.idleFloorBytes = idleFloorBytes;
    this.#device = device;
    this.#maxBufferSize = limits.maxBufferSize;
    this.#limitBytes = limitBytes;
    this.#beforeDestroy = beforeDestroy;
  }

  /** The ledger. */
  get report(): MemoryReport {
    return {
      liveBytes: this.#liveBytes,
      idleBytes: this.#idleBytes,
      peakBytes: this.#peakBytes,
      limitBytes: this.#limitBytes,
      buffers: this.#buffers,
    };
  }

  /** Resets the peak to what is allocated now. */
  resetPeak(): void {
    this.#peakBytes = this.#liveBytes + this.#idleBytes;
  }

  /** Sets the limit of live + idle bytes. */
  set limitBytes(bytes: number) {
    this.#limitBytes = bytes;
  }

  /**
   * A buffer of at least `byteLength` bytes; its contents are whatever the last user left.
   * @param lasts for what stays, such as weights: of just that size, in whole 256 bytes, instead of a size class
   * @throws {OutOfDeviceMemoryError} past the ledger's limit or the device's largest buffer
   */
  acquire(byteLength: number, lasts = false): DeviceBuffer {
    const wanted = lasts ? Math.max(256, Math.ceil(byteLength / 256) * 256) : sizeClass(byteLength);
    const bytes = byteLength > this.#maxBufferSize ? byteLength : Math.min(wanted, this.#maxBufferSize);
    const again = this.#recorded?.take(bytes);
    if (again) return again;
    const reused = this.#idle.get(bytes)?.pop();
    if (reused) {
      this.#idleBytes -= bytes;
      this.#liveBytes += bytes;
      this.#buffers++;
      return reused;
    }
    if (bytes > this.#maxBufferSize) {
      throw new OutOfDeviceMemoryError(
        `Cannot allocate a buffer of ${byteLength} bytes: the device's largest buffer is ${this.#maxBufferSize} bytes`,
      );
    }
    this.#recorded?.yieldAbove(this.#idleTolerated - this.#idleBytes);
    const idleTolerated = this.#idleTolerated;
    if (this.#idleBytes + this.#liveBytes + bytes > this.#limitBytes) this.#makeRoom(bytes);
    else if (this.#idleBytes > idleTolerated) this.trim(idleTolerated / 2);
    if (this.#liveBytes + bytes > this.#limitBytes) {
      throw new OutOfDeviceMemoryError(
        `Cannot allocate ${byteLength} bytes on the device: the limit is ${this.#limitBytes} bytes, ${this.#liveBytes} are in use`,
      );
    }
    const gpuBuffer = this.#device.createBuffer({
      label: `pool ${bytes}`,
      size: bytes,
      usage: STORAGE_USAGE,
    });
    this.#liveBytes += bytes;
    this.#buffers++;
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes + this.#idleBytes);
    return {
      id: this.#nextId++,
      gpuBuffer,
      byteLength: bytes,
      lastUse: -1,
      dependents: new Set(),
      holders: new Set(),
      pool: this,
    };
  }

  /** Releases a buffer for reuse, once nobody holds it. */
  release(buffer: DeviceBuffer): void {
    if (!this.#recorded?.keep(buffer)) this.#retire(buffer);
  }

  /** What recordings keep of it. */
  get recorded(): RecordedBuffers {
    return this.#recorded ??= new RecordedBuffers((buffer) => this.#retire(buffer));
  }

  #retire(buffer: DeviceBuffer): void {
    put(this.#idle, buffer);
    this.#liveBytes -= buffer.byteLength;
    this.#idleBytes += buffer.byteLength;
    this.#buffers--;
  }

  /** Makes room for `bytes` within the limit, if it can: idle buffers go first, then what recordings keep. */
  #makeRoom(bytes: number): void {
    this.trim(0);
    this.#recorded?.giveUpUntil(() => {
      this.trim(0);
      return this.#liveBytes + bytes <= this.#limitBytes;
    });
    this.trim(0);
  }

  /** Bytes that may be idle before the oldest buffers are destroyed. */
  get #idleTolerated(): number {
    const inUse = this.#liveBytes - (this.#recorded?.bytes ?? 0);
    return this.idleFloorBytes + inUse / 4;
  }

  /** Destroys idle buffers, those longest unused first, until at most `keepBytes` remain idle. */
  trim(keepBytes: number): void {
    if (this.#idleBytes <= keepBytes) return;
    this.#beforeDestroy();
    const oldestFirst = [...this.#idle.values()].flat().sort((a, b) => a.lastUse - b.lastUse || a.id - b.id);
    for (const buffer of oldestFirst) {
      if (this.#idleBytes <= keepBytes) break;
      const list = this.#idle.get(buffer.byteLength)!;
      list.splice(list.indexOf(buffer), 1);
      this.#idleBytes -= buffer.byteLength;
      for (const dependent of [...buffer.dependents]) dependent.forget();
      buffer.gpuBuffer.destroy();
    }
  }
}

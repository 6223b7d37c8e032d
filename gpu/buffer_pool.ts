/**
 * Device buffers by size class, with a ledger of bytes. Of the idle buffers of a class the oldest one is reused first:
 * then the same sequence of acquire and release, from the same set of idle buffers, gives the same buffers in every
 * training step, and cached bind groups hit. (Last in, first out would permute them from step to step.)
 * @module
 */

import { OutOfDeviceMemoryError } from "./errors.ts";
import { BUFFER_USAGE } from "./flags.ts";

/** One GPU buffer of the pool. `byteLength` is its size class, at least what was asked for. */
export interface DeviceBuffer {
  /** Unique for the life of the device: part of bind-group keys. */
  readonly id: number;
  /** The WebGPU buffer. */
  readonly gpuBuffer: GPUBuffer;
  /** Its size class, in bytes. */
  readonly byteLength: number;
  /** Number of the last submission that uses it; a host write must not overtake that submission's commands. */
  lastUse: number;
  /** Called when the buffer is destroyed, so that caches drop what they hold of it. */
  readonly onDestroy: (() => void)[];
}

/** A byte range of a device buffer. `offset` is a multiple of 256, `size` is exact. */
export interface BufferView {
  /** The buffer. */
  readonly buffer: DeviceBuffer;
  /** First byte, a multiple of 256. */
  readonly offset: number;
  /** Number of bytes. */
  readonly size: number;
}

/** What the ledger knows, all in bytes except `buffers`. */
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
/** Idle bytes that are always tolerated before the oldest idle buffers are given back. */
const IDLE_FLOOR_BYTES = 256 * 2 ** 20;

/** Smallest size class that holds `byteLength`: eight classes a doubling, multiples of 256, at most 12.5 % waste. */
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

/** The storage buffers of one device. */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #maxBufferSize: number;
  #idle = new Map<number, DeviceBuffer[]>();
  /** The pool's own idle buffers while an arena is open. */
  #outside: Map<number, DeviceBuffer[]> | null = null;
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
  ) {
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

  /** Starts the peak anew from what is allocated now. */
  resetPeak(): void {
    this.#peakBytes = this.#liveBytes + this.#idleBytes;
  }

  /** Sets the limit of live + idle bytes. */
  set limitBytes(bytes: number) {
    this.#limitBytes = bytes;
  }

  /**
   * A buffer of at least `byteLength` bytes; its contents are whatever the last user left.
   * @throws {OutOfDeviceMemoryError} past the ledger's limit or the device's largest buffer
   */
  acquire(byteLength: number): DeviceBuffer {
    const bytes = byteLength > this.#maxBufferSize
      ? byteLength
      : Math.min(sizeClass(byteLength), this.#maxBufferSize);
    const list = this.#idle.get(bytes);
    const reused = list?.pop();
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
    const idleTolerated = IDLE_FLOOR_BYTES + this.#liveBytes / 4;
    if (this.#idleBytes + this.#liveBytes + bytes > this.#limitBytes) this.trim(0);
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
    return { id: this.#nextId++, gpuBuffer, byteLength: bytes, lastUse: -1, onDestroy: [] };
  }

  /** Gives a buffer back for reuse. */
  release(buffer: DeviceBuffer): void {
    let list = this.#idle.get(buffer.byteLength);
    if (!list) this.#idle.set(buffer.byteLength, list = []);
    insertDescending(list, buffer);
    this.#liveBytes -= buffer.byteLength;
    this.#idleBytes += buffer.byteLength;
    this.#buffers--;
  }

  /** From now on, buffers are taken from and given back to a set of their own. */
  openArena(): void {
    if (this.#outside) throw new Error("Cannot capture: another capture is open");
    this.#outside = this.#idle;
    this.#idle = new Map();
  }

  /** Ends that; the buffers given back stay reserved, and count as live. */
  closeArena(): DeviceBuffer[] {
    const reserved = [...this.#idle.values()].flat();
    this.#idle = this.#outside!;
    this.#outside = null;
    for (const { byteLength } of reserved) {
      this.#idleBytes -= byteLength;
      this.#liveBytes += byteLength;
      this.#buffers++;
    }
    return reserved;
  }

  /** Gives reserved buffers back for reuse. */
  returnArena(reserved: readonly DeviceBuffer[]): void {
    for (const buffer of reserved) this.release(buffer);
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
      for (const forget of buffer.onDestroy) forget();
      buffer.gpuBuffer.destroy();
    }
  }
}

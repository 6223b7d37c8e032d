/**
 * Device to host: a ring of mappable staging buffers. Reads requested in the same turn share one submission, and
 * their maps run side by side, because a map costs a fixed time in some runtimes (11 ms in Deno).
 * @module
 */

import { type BufferView, sizeClass } from "./buffer_pool.ts";
import type { CommandStream } from "./command_stream.ts";
import { BUFFER_USAGE, MAP_MODE_READ } from "./flags.ts";

/** Bytes read through one staging buffer; larger reads go in pieces. */
const MAX_STAGING_BYTES = 64 * 2 ** 20;
/** Free staging buffers kept, of all sizes. */
const MAX_FREE = 16;

/** The staging buffers of one device. */
export class Readback {
  readonly #device: GPUDevice;
  readonly #stream: CommandStream;
  #free: GPUBuffer[] = [];

  /** Reads through `stream`, so that a read sees every command appended before it. */
  constructor(device: GPUDevice, stream: CommandStream) {
    this.#device = device;
    this.#stream = stream;
  }

  /** The bytes of `view` after every command appended so far. */
  async read(view: BufferView): Promise<Uint8Array<ArrayBuffer>> {
    const result = new Uint8Array(view.size);
    const pieces: Promise<void>[] = [];
    for (let at = 0; at < view.size; at += MAX_STAGING_BYTES) {
      const size = Math.min(MAX_STAGING_BYTES, view.size - at);
      const piece = { buffer: view.buffer, offset: view.offset + at, size };
      const staging = this.#acquire(size);
      this.#stream.copy(piece, staging, 0);
      pieces.push(this.#map(staging, result.subarray(at, at + size)));
    }
    await Promise.all(pieces);
    return result;
  }

  #acquire(size: number): GPUBuffer {
    const bytes = sizeClass(size);
    const at = this.#free.findIndex((buffer) => buffer.size === bytes);
    if (at >= 0) return this.#free.splice(at, 1)[0];
    return this.#device.createBuffer({
      label: `staging ${bytes}`,
      size: bytes,
      usage: BUFFER_USAGE.MAP_READ | BUFFER_USAGE.COPY_DST,
    });
  }

  async #map(staging: GPUBuffer, target: Uint8Array): Promise<void> {
    await Promise.resolve(); // reads asked for in this turn are appended first
    this.#stream.submit();
    try {
      const bytes = Math.ceil(target.byteLength / 4) * 4;
      await staging.mapAsync(MAP_MODE_READ, 0, bytes);
      target.set(new Uint8Array(staging.getMappedRange(0, bytes), 0, target.byteLength));
      staging.unmap();
    } catch (error) {
      staging.destroy();
      throw error;
    }
    this.#free.push(staging);
    if (this.#free.length > MAX_FREE) this.#free.shift()!.destroy();
  }
}

/**
 * A recorded stretch of work that is replayed without the code that made it: the same dispatches on the same buffers,
 * with host writes made anew. The buffers that the work took and gave back stay reserved for it.
 * @module
 */

import type { BufferPool, BufferView, DeviceBuffer } from "./buffer_pool.ts";
import type { Command, CommandStream } from "./command_stream.ts";

/** Bytes from the host; `refresh` gives those of the next replay. */
interface RecordedWrite {
  readonly view: BufferView;
  readonly data: Uint8Array<ArrayBuffer>;
  readonly refresh: (() => ArrayBufferView<ArrayBuffer>) | undefined;
}

/** One submission and the writes before it. */
interface Segment {
  readonly writes: readonly RecordedWrite[];
  readonly commands: readonly Command[];
  readonly params: Uint8Array<ArrayBuffer>;
}

/** Collects writes and submissions while it is open; replays them when it is closed. */
export class Capture {
  readonly #device: GPUDevice;
  readonly #stream: CommandStream;
  readonly #pool: BufferPool;
  readonly #segments: Segment[] = [];
  #writes: RecordedWrite[] = [];
  #reserved: readonly DeviceBuffer[] | null = null;

  constructor(device: GPUDevice, stream: CommandStream, pool: BufferPool) {
    this.#device = device;
    this.#stream = stream;
    this.#pool = pool;
    stream.submit();
    pool.openArena();
    stream.onSubmit = (commands, params) => {
      this.#segments.push({ writes: this.#writes, commands, params });
      this.#writes = [];
    };
  }

  /** Notes a host write. */
  recordWrite(
    view: BufferView,
    data: Uint8Array<ArrayBuffer>,
    refresh?: () => ArrayBufferView<ArrayBuffer>,
  ): void {
    this.#writes.push({ view, data: refresh ? data : data.slice(), refresh });
  }

  /** Ends the recording. */
  close(): void {
    this.#stream.submit();
    if (this.#writes.length > 0) {
      this.#segments.push({ writes: this.#writes, commands: [], params: new Uint8Array(0) });
    }
    this.#stream.onSubmit = null;
    this.#reserved = this.#pool.closeArena();
  }

  /** Does the recorded work again. Its last submission is left open, so that a read of its result joins it. */
  replay(): void {
    for (const { writes, commands, params } of this.#segments) {
      this.#stream.submit(); // writes do not wait for commands that are appended
      for (const { view, data, refresh } of writes) {
        const fresh = refresh?.();
        const bytes = fresh ? new Uint8Array(fresh.buffer, fresh.byteOffset, fresh.byteLength) : data;
        this.#device.queue.writeBuffer(view.buffer.gpuBuffer, view.offset, bytes);
      }
      this.#stream.appendRecorded(commands, params);
    }
  }

  /** Gives the reserved buffers back; it cannot be replayed after. */
  dispose(): void {
    this.#segments.length = 0;
    if (this.#reserved) this.#pool.returnArena(this.#reserved);
    this.#reserved = null;
  }
}

/**
 * A recorded stretch of work that is replayed without the code that made it: the same dispatches on the same buffers,
 * with fresh host writes. It holds every buffer that it uses, so that nothing else can get one of them.
 * @module
 */

import type { BufferHolder, BufferPool, BufferView, DeviceBuffer } from "./buffer_pool.ts";
import type { Command, CommandStream } from "./command_stream.ts";
import { writeBytes } from "./write_bytes.ts";

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

/** What a recording does, for comparing: it holds no buffers. */
export type RecordedWork = readonly Segment[];

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

function sameCommand(a: Command, b: Command): boolean {
  if (a.kind === "copy") return b.kind === "copy" && a.size === b.size;
  return b.kind === "dispatch" && a.compiled === b.compiled && a.x === b.x && a.y === b.y && a.z === b.z;
}

/** Whether two recordings launch the same kernels with the same numbers, and write the same bytes or fresh ones. */
export function isSameWork(a: RecordedWork, b: RecordedWork): boolean {
  return a.length === b.length &&
    a.every(({ writes, commands, params }, i) =>
      sameBytes(params, b[i].params) &&
      commands.length === b[i].commands.length &&
      commands.every((command, k) => sameCommand(command, b[i].commands[k])) &&
      writes.length === b[i].writes.length &&
      writes.every(({ data, refresh }, k) => {
        const other = b[i].writes[k];
        return refresh ? other.refresh !== undefined : !other.refresh && sameBytes(data, other.data);
      })
    );
}

/** Collects writes and submissions while it is open; replays them when it is closed. */
export class Capture implements BufferHolder {
  readonly #device: GPUDevice;
  readonly #stream: CommandStream;
  readonly #pool: BufferPool;
  readonly #segments: Segment[] = [];
  #writes: RecordedWrite[] = [];
  /** Every buffer of the recorded work, and those of them that were taken while it was open. */
  readonly #used = new Set<DeviceBuffer>();
  readonly #own = new Set<DeviceBuffer>();
  /** What the recorded work depends on besides buffers, as it was at the end. */
  readonly #conditions: { readonly read: () => unknown; value: unknown }[] = [];
  /** Whether the pool needed its memory while it was made. */
  wasGivenUp = false;
  #state: "open" | "current" | "stale" = "open";

  /** `yields`: it is given up if it takes more memory than the same work without it. */
  constructor(device: GPUDevice, stream: CommandStream, pool: BufferPool, yields: boolean) {
    this.#device = device;
    this.#stream = stream;
    this.#pool = pool;
    stream.submit();
    pool.recorded.open(yields);
    stream.onSubmit = (commands, params) => {
      this.#segments.push({ writes: this.#writes, commands, params });
      this.#writes = [];
    };
  }

  /** Notes that the work uses a buffer. */
  use(buffer: DeviceBuffer): void {
    this.#used.add(buffer);
  }

  /** Notes that a buffer was taken from the pool by the work itself. */
  own(buffer: DeviceBuffer): void {
    this.#own.add(buffer);
  }

  /** Notes that a buffer was released: if the work used it without making it, it will be missing next time. */
  giveBack(buffer: DeviceBuffer): void {
    if (this.#used.has(buffer) && !this.#own.has(buffer)) this.spoil();
  }

  /** Notes a host write. */
  recordWrite(
    view: BufferView,
    data: Uint8Array<ArrayBuffer>,
    refresh?: () => ArrayBufferView<ArrayBuffer>,
  ): void {
    this.#used.add(view.buffer);
    this.#writes.push({ view, data: refresh ? data : data.slice(), refresh });
  }

  /** The work may be replayed as long as `read()` returns what it returned at the end of the recording. */
  require(read: () => unknown): void {
    this.#conditions.push({ read, value: undefined });
  }

  /** The work cannot be replayed: it made something that the next step will find and reuse. */
  spoil(): void {
    this.require(() => NaN); // differs from itself
  }

  /** Ends the recording. */
  close(): void {
    this.#stream.submit();
    if (this.#writes.length > 0) {
      this.#segments.push({ writes: this.#writes, commands: [], params: new Uint8Array(0) });
    }
    this.#stream.onSubmit = null;
    const holds = this.#pool.recorded.close(this, this.#used);
    for (const condition of this.#conditions) condition.value = condition.read();
    this.#state = holds ? "current" : "stale";
    this.wasGivenUp = !holds;
    if (!holds) this.#segments.length = 0;
  }

  /** Ends a recording that failed: all its memory is released. */
  abort(): void {
    this.close();
    this.dispose();
  }

  /** Whether a replay does what the recorded code would do now: nothing that it depends on has changed. */
  get isCurrent(): boolean {
    return this.#state === "current" && this.#conditions.every(({ read, value }) => read() === value);
  }

  /** What it does, to compare it with another recording. */
  get work(): RecordedWork {
    return this.#segments.slice();
  }

  /** Bytes of the buffers that only this capture needs. */
  get reservedBytes(): number {
    let bytes = 0;
    for (const buffer of this.#own) if (this.#used.has(buffer)) bytes += buffer.byteLength;
    return bytes;
  }

  /**
   * @internal A buffer that the work used without making it is gone: the recorded code would use another one, or fail.
   */
  whenReleased(buffer: DeviceBuffer): void {
    if (!this.#own.has(buffer)) this.dispose(); // it can never be replayed again
  }

  /** @internal Gives up its memory for others. */
  giveUp(): void {
    this.dispose();
  }

  /** Does the recorded work again. Its last submission is left open, so that a read of its result joins it. */
  replay(): void {
    if (this.#state !== "current") throw new Error("Cannot replay a captured step: it was given up");
    this.#pool.recorded.touch(this);
    for (const { writes, commands, params } of this.#segments) {
      this.#stream.submit(); // a write would overtake commands that are only appended
      for (const { view, data, refresh } of writes) {
        const fresh = refresh?.();
        const bytes = fresh ? new Uint8Array(fresh.buffer, fresh.byteOffset, fresh.byteLength) : data;
        writeBytes(this.#device.queue, view.buffer.gpuBuffer, view.offset, bytes);
      }
      this.#stream.appendRecorded(commands, params);
    }
  }

  /** Lets its buffers go; it cannot be replayed after. */
  dispose(): void {
    if (this.#state === "open") return;
    this.#state = "stale";
    this.#segments.length = 0;
    this.#conditions.length = 0;
    this.#pool.recorded.letGo(this, this.#used);
    this.#used.clear();
    this.#own.clear();
  }
}

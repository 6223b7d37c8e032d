/**
 * The one stream of commands of a device: dispatches and copies are appended, and submitted together.
 * Dispatch parameters live in one uniform buffer that is written once per submission.
 * @module
 */

import type { BufferView, DeviceBuffer } from "./buffer_pool.ts";
import { BUFFER_USAGE } from "./flags.ts";
import type { CompiledKernel } from "./pipeline_cache.ts";

/** Dispatches a submission may hold: slots of the uniform buffer. */
const PARAM_SLOTS = 2048;

/** One appended command, as it is encoded at the next submission. */
export type Command =
  | {
    readonly kind: "dispatch";
    readonly compiled: CompiledKernel;
    readonly bindGroup: GPUBindGroup;
    /** Byte offset of its parameters in the uniform buffer, -1 for none. */
    readonly paramOffset: number;
    readonly x: number;
    readonly y: number;
    readonly z: number;
  }
  | {
    readonly kind: "copy";
    readonly source: GPUBuffer;
    readonly sourceOffset: number;
    readonly target: GPUBuffer;
    readonly targetOffset: number;
    readonly size: number;
  };

/** Encodes a submission's commands: where the profiler hooks in. */
export type Encoder = (encoder: GPUCommandEncoder, commands: readonly Command[]) => void;

/** Encodes dispatches that follow each other into one compute pass. */
export const encodeInPasses: Encoder = (encoder, commands) => {
  let pass: GPUComputePassEncoder | null = null;
  let pipeline: GPUComputePipeline | null = null;
  const dynamicOffset = [0];
  for (const command of commands) {
    if (command.kind === "copy") {
      pass?.end();
      pass = pipeline = null;
      encoder.copyBufferToBuffer(
        command.source,
        command.sourceOffset,
        command.target,
        command.targetOffset,
        command.size,
      );
      continue;
    }
    pass ??= encoder.beginComputePass();
    if (pipeline !== command.compiled.pipeline) pass.setPipeline(pipeline = command.compiled.pipeline);
    dynamicOffset[0] = command.paramOffset;
    pass.setBindGroup(0, command.bindGroup, command.paramOffset < 0 ? [] : dynamicOffset);
    pass.dispatchWorkgroups(command.x, command.y, command.z);
  }
  pass?.end();
};

/** Appends, orders and submits. */
export class CommandStream {
  /** Holds the parameters of the dispatches of one submission. */
  readonly uniform: GPUBuffer;
  readonly #device: GPUDevice;
  readonly #slotBytes: number;
  readonly #words: DataView<ArrayBuffer>;
  readonly #budget: number;
  #commands: Command[] = [];
  #slots = 0;
  #work = 0;
  /** Whether commands of an earlier submission wait: `lastUse` of their buffers does not say so. */
  #hasRecorded = false;
  /** Number of the submission being collected. */
  epoch = 0;
  /** Dispatches appended, and submissions made, since the device was made. */
  dispatches = 0;
  submissions = 0;
  /** Called with each submission and its parameters: where capture hooks in. */
  onSubmit: ((commands: readonly Command[], params: Uint8Array<ArrayBuffer>) => void) | null = null;
  /** How submissions are encoded. */
  encode: Encoder = encodeInPasses;

  /** Submits by itself once the appended dispatches' estimated work passes `budget` floating-point operations. */
  constructor(device: GPUDevice, budget: number) {
    this.#device = device;
    this.#budget = budget;
    this.#slotBytes = Math.max(256, device.limits.minUniformBufferOffsetAlignment); // room for 64 numbers
    const size = PARAM_SLOTS * this.#slotBytes;
    this.uniform = device.createBuffer({
      label: "dispatch parameters",
      size,
      usage: BUFFER_USAGE.UNIFORM | BUFFER_USAGE.COPY_DST,
    });
    this.#words = new DataView(new ArrayBuffer(size));
  }

  /** Whether commands that use `buffer` wait for submission. */
  hasPending(buffer: DeviceBuffer): boolean {
    return this.#commands.length > 0 && (this.#hasRecorded || buffer.lastUse === this.epoch);
  }

  /** Makes room for one more parameter slot; called before anything of a dispatch is computed. */
  reserve(): void {
    if (this.#slots === PARAM_SLOTS) this.submit();
  }

  /** Appends a dispatch of workgroups `x`, `y`, `z`, estimated at `work` floating-point operations. */
  dispatch(
    compiled: CompiledKernel,
    bindGroup: GPUBindGroup,
    values: Readonly<Record<string, number>>,
    x: number,
    y: number,
    z: number,
    work: number,
  ): void {
    let paramOffset = -1;
    if (compiled.params.length > 0) {
      paramOffset = this.#slots++ * this.#slotBytes;
      // Recordings are compared byte by byte: nothing of an earlier use may be left in a slot.
      if (this.onSubmit) new Uint8Array(this.#words.buffer, paramOffset, this.#slotBytes).fill(0);
      let at = paramOffset;
      for (const [name, type] of compiled.params) {
        const value = values[name];
        if (type === "f32") this.#words.setFloat32(at, value, true);
        else if (type === "u32") this.#words.setUint32(at, value, true);
        else this.#words.setInt32(at, value, true);
        at += 4;
      }
    }
    this.#commands.push({ kind: "dispatch", compiled, bindGroup, paramOffset, x, y, z });
    this.dispatches++;
    this.#work += work;
    if (this.#work > this.#budget) this.submit();
  }

  /** Appends a copy of `source.size` bytes. */
  copy(source: BufferView, target: GPUBuffer, targetOffset: number): void {
    source.buffer.lastUse = this.epoch;
    const size = Math.ceil(source.size / 4) * 4;
    this.#commands.push({
      kind: "copy",
      source: source.buffer.gpuBuffer,
      sourceOffset: source.offset,
      target,
      targetOffset,
      size,
    });
  }

  /** Submits what has been appended, if anything has. */
  submit(): void {
    if (this.#commands.length === 0) return;
    const commands = this.#commands;
    const params = new Uint8Array(this.#words.buffer, 0, this.#slots * this.#slotBytes);
    this.#commands = [];
    this.#slots = 0;
    this.#work = 0;
    this.#hasRecorded = false;
    this.#send(commands, params);
    this.onSubmit?.(commands, params.slice());
  }

  /** Appends all commands of an earlier submission again, with the parameters they had, to a stream that is empty. */
  appendRecorded(commands: readonly Command[], params: Uint8Array<ArrayBuffer>): void {
    if (commands.length === 0) return;
    for (const command of commands) if (command.kind === "dispatch") this.dispatches++;
    this.#commands = commands.slice();
    new Uint8Array(this.#words.buffer).set(params);
    this.#slots = params.byteLength / this.#slotBytes;
    this.#hasRecorded = true;
  }

  #send(commands: readonly Command[], params: Uint8Array<ArrayBuffer>): void {
    if (params.byteLength > 0) this.#device.queue.writeBuffer(this.uniform, 0, params);
    const encoder = this.#device.createCommandEncoder();
    this.encode(encoder, commands);
    this.#device.queue.submit([encoder.finish()]);
    this.epoch++;
    this.submissions++;
  }
}

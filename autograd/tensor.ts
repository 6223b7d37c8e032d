/**
 * A dense array on the device, with its place in the gradient graph.
 * @module
 */

import { type BufferView, currentDevice, type Device, type DeviceBuffer, DisposedError } from "../gpu/mod.ts";
import { addInPlaceKernel, binaryKernels, fillKernel } from "../kernels/pointwise.ts";
import { fitsFormat } from "../kernels/weights/mod.ts";
import {
  bytesOf,
  type DType,
  dtypeOfArray,
  holdsBytes,
  type TensorData,
  viewAs,
  weightFormat,
} from "./dtype.ts";
import { track } from "./scope.ts";
import { noteSetting } from "./settings.ts";
import { type NestedArray, nestedShape, type Shape, showShape, sizeOf } from "./shape.ts";
import { backward, type Node } from "./tape.ts";
import { flatWindows } from "./windows.ts";

/**
 * Options of `Tensor.from`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Tensor, type TensorOptions } from "@peft/webgpu/tensor";
 *
 * const options: TensorOptions = { shape: [2, 3], requiresGrad: true, device: await initDevice() };
 * const weight = Tensor.from(new Float32Array(6), options);
 * console.log(weight.shape, weight.grad); // [2, 3] null
 * ```
 */
export interface TensorOptions {
  /** Shape of a flat typed array; a nested array has its own. */
  shape?: Shape;
  /** Default: float32, or what the typed array holds (`Uint16Array`: float16 bits). Bytes may be blocks of any format. */
  dtype?: DType;
  /** Default: the default device. */
  device?: Device;
  /** Whether gradients are collected in `grad`. */
  requiresGrad?: boolean;
}

/** @internal Device bytes shared by the tensors that view them. */
export class Storage {
  references = 0;
  #buffer: DeviceBuffer | null;

  /** Without a buffer, `allocate` gives it one later. */
  constructor(readonly device: Device, buffer: DeviceBuffer | null) {
    this.#buffer = buffer;
  }

  get buffer(): DeviceBuffer {
    if (!this.#buffer) throw new TypeError("Cannot use a tensor without memory: allocate it first");
    return this.#buffer;
  }

  allocate(byteLength: number): void {
    this.#buffer ??= this.device.acquire(byteLength, true);
  }

  release(): void {
    if (--this.references === 0 && this.#buffer) this.device.release(this.#buffer);
  }
}

/** Frees the memory of tensors that nobody disposed; scopes and `dispose` do so sooner. */
const forgotten = new FinalizationRegistry<Storage>((storage) => storage.release());

/**
 * A tensor. Contiguous, row-major. Made by `Tensor.from` and by ops.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 *
 * const x = Tensor.from([[1, 2], [3, 4]], { device: await initDevice() });
 * console.log(x.shape, await x.data()); // [2, 2], Float32Array [1, 2, 3, 4]
 * ```
 */
export class Tensor {
  /** Sizes of the dimensions. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  /** Bytes of its elements. */
  readonly byteLength: number;
  /** The accumulated gradient of a leaf, same shape; null before `backward()`. */
  grad: Tensor | null = null;
  #storage: Storage | null;
  #requiresGrad = false;
  #node: Node | null = null;
  #outputIndex = 0;

  /** @internal Ops use `empty`; callers use `Tensor.from`. */
  constructor(storage: Storage, shape: Shape, dtype: DType) {
    this.#storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.size = sizeOf(shape);
    this.byteLength = bytesOf(dtype, this.size);
    storage.references++;
    forgotten.register(this, storage, this);
    track(this);
  }

  /**
   * A tensor of host values.
   * @throws {TypeError} if rows are ragged, the number of values is not that of the shape, or gradients are asked for
   * in another type than float32
   */
  static from(values: NestedArray | TensorData, options: TensorOptions = {}): Tensor {
    const flat = ArrayBuffer.isView(values);
    const dtype = options.dtype ?? (flat ? dtypeOf(values) : "float32");
    if (values instanceof Uint8Array && holdsBytes(dtype)) return fromBytes(values, dtype, options);
    const shape = options.shape ?? (flat ? [values.length] : nestedShape(values));
    const data = flat && dtypeOf(values) === dtype ? values : toData(flat ? [...values] : values, dtype);
    if (options.requiresGrad && dtype !== "float32") refuseGradient(dtype);
    if (!shape.every((n) => Number.isInteger(n) && n >= 0)) {
      throw new TypeError(
        `Cannot make a tensor of shape ${showShape(shape)}: sizes must be integers of at least 0`,
      );
    }
    if (data.length !== sizeOf(shape)) {
      throw new TypeError(
        `Cannot make a tensor of shape ${showShape(shape)}: ${
          sizeOf(shape)
        } values are required, received ${data.length}`,
      );
    }
    const tensor = empty(options.device ?? currentDevice(), shape, dtype);
    if (data.length > 0) tensor.write(data);
    tensor.#requiresGrad = options.requiresGrad ?? false;
    return tensor;
  }

  /** @internal Its memory, for another handle. */
  get storage(): Storage {
    return this.#live();
  }

  /** The device it lives on. */
  get device(): Device {
    return this.#live().device;
  }

  /** Whether it was disposed. */
  get isDisposed(): boolean {
    return this.#storage === null;
  }

  /** @internal Whether other handles view the same memory. */
  get isShared(): boolean {
    return this.#live().references > 1;
  }

  /** @internal All its bytes, for a dispatch. */
  get view(): BufferView {
    return this.window(0, Math.max(4, this.byteLength));
  }

  /** @internal A byte range of it up to a whole word, for a dispatch; `byteOffset` is a multiple of 256. */
  window(byteOffset: number, byteLength: number): BufferView {
    return { buffer: this.#live().buffer, offset: byteOffset, size: Math.ceil(byteLength / 4) * 4 };
  }

  /** Whether gradients flow to it. Can be set on leaves only. */
  get requiresGrad(): boolean {
    return this.#requiresGrad;
  }

  set requiresGrad(on: boolean) {
    if (this.#node) {
      throw new TypeError("Cannot set requiresGrad of an op's result: only leaf tensors can; use detach()");
    }
    if (on && this.dtype !== "float32") refuseGradient(this.dtype);
    noteSetting(this, "requiresGrad", this.#requiresGrad, on);
    this.#requiresGrad = on;
  }

  /** @internal The op that made it, while gradients can flow to it. */
  get node(): Node | null {
    return this.#node;
  }

  /** @internal Which output of `node` it is. */
  get outputIndex(): number {
    return this.#outputIndex;
  }

  /** @internal Makes it an output of a recorded op. */
  attach(node: Node, outputIndex: number): void {
    node.retain();
    this.#node = node;
    this.#outputIndex = outputIndex;
    this.#requiresGrad = true;
  }

  /**
   * Overwrites its values from the host.
   * @param refresh values of each later replay, if this happens in a captured step; default the same again
   */
  write(data: TensorData, refresh?: () => TensorData): void {
    if (data.byteLength !== this.byteLength) {
      throw new TypeError(
        `Cannot write ${data.byteLength} bytes to a ${this.dtype} tensor of shape ${
          showShape(this.shape)
        }: ${this.byteLength} are required`,
      );
    }
    this.device.write(this.view, data, refresh);
  }

  /** Its values, read back from the device; `float16` comes as raw bits in a `Uint16Array`, blocks as bytes. */
  async data(): Promise<TensorData> {
    if (this.size === 0) return viewAs(this.dtype, new Uint8Array(0));
    const bytes = await this.device.read({ ...this.view, size: this.byteLength });
    return viewAs(this.dtype, bytes);
  }

  /**
   * Its one value.
   * @throws {TypeError} if it has more or fewer than one element
   */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new TypeError(
        `Cannot take the item of a tensor of shape ${showShape(this.shape)}: one element is required`,
      );
    }
    return (await this.data())[0];
  }

  /** Adds the gradient of this scalar (or of `gradient`, same shape) to the `grad` of every leaf; frees the graph. */
  backward(gradient?: Tensor): void {
    this.#live();
    backward(this, gradient, () => full(this.device, this.shape, 1));
  }

  /** The same values, cut off from the gradient graph; shares memory. */
  detach(): Tensor {
    return this.alias();
  }

  /** @internal A second handle on the same memory, outside the graph, with another shape of the same size. */
  alias(shape: Shape = this.shape): Tensor {
    return new Tensor(this.#live(), shape, this.dtype);
  }

  /** @internal The same values in memory of their own, outside the graph. */
  copy(): Tensor {
    const result = empty(this.device, this.shape, this.dtype);
    if (this.size > 0) this.device.copy(this.view, result.view);
    return result;
  }

  /** @internal This plus `other` of the same shape, in memory of its own; outside the graph. May exceed one binding. */
  plus(other: Tensor): Tensor {
    const y = empty(this.device, this.shape);
    for (const { size, views: [p, q, r] } of flatWindows(this, other, y)) {
      const flat = { d1: 1, d2: 1, d3: size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 1 };
      this.device.dispatch(binaryKernels.add, { a: p, b: q, y: r }, { size, ...flat });
    }
    return y;
  }

  /** @internal Adds `other` of the same shape to its memory; outside the graph. May exceed one binding. */
  add(other: Tensor): void {
    for (const { size, views: [p, q] } of flatWindows(this, other)) {
      this.device.dispatch(addInPlaceKernel, { a: p, b: q }, { size });
    }
  }

  /** Releases its memory, and its part of the gradient graph. A second call does nothing. */
  dispose(): void {
    const storage = this.#storage;
    if (!storage) return;
    this.#storage = null;
    forgotten.unregister(this);
    storage.release();
    this.#node?.release();
    this.#node = null;
    this.grad?.dispose();
    this.grad = null;
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): Storage {
    if (!this.#storage) {
      throw new DisposedError(`Cannot use a tensor of shape ${showShape(this.shape)}: it was disposed`);
    }
    return this.#storage;
  }
}

/** Bytes that a tensor's buffer needs. */
function bufferBytes(shape: Shape, dtype: DType): number {
  return Math.max(4, Math.ceil(bytesOf(dtype, sizeOf(shape)) / 4) * 4);
}

/** A weight of a format's bytes, whole blocks of them. */
function fromBytes(bytes: Uint8Array<ArrayBuffer>, dtype: DType, { device, shape }: TensorOptions): Tensor {
  const format = weightFormat(dtype)!;
  const fits = shape !== undefined && fitsFormat(format, shape);
  if (!fits || bytes.byteLength !== bytesOf(dtype, sizeOf(shape))) {
    throw new TypeError(
      `Cannot make a ${dtype} tensor of shape ${shape ? showShape(shape) : "unknown"}: ${
        fits ? `${bytesOf(dtype, sizeOf(shape))} bytes are required` : format.rule
      }, received ${bytes.byteLength} bytes`,
    );
  }
  const tensor = empty(device ?? currentDevice(), shape, dtype);
  if (bytes.byteLength > 0) tensor.write(bytes);
  return tensor;
}

/** @internal A tensor of undefined contents from the device's pool. */
export function empty(device: Device, shape: Shape, dtype: DType = "float32"): Tensor {
  return new Tensor(new Storage(device, device.acquire(bufferBytes(shape, dtype))), shape, dtype);
}

/** @internal A tensor that has a shape and a dtype but no memory until `allocate`. */
export function unallocated(device: Device, shape: Shape, dtype: DType = "float32"): Tensor {
  return new Tensor(new Storage(device, null), shape, dtype);
}

/** @internal Gives an `unallocated` tensor memory of undefined contents. */
export function allocate(tensor: Tensor): void {
  tensor.storage.allocate(bufferBytes(tensor.shape, tensor.dtype));
}

/** A float32 tensor filled with one value. */
export function full(device: Device, shape: Shape, value: number): Tensor {
  const tensor = empty(device, shape);
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
  for (const { size, views: [y] } of flatWindows(tensor)) device.dispatch(fillKernel, { y }, { size, bits });
  return tensor;
}

function refuseGradient(dtype: DType): never {
  throw new TypeError(`Cannot set requiresGrad of a ${dtype} tensor: float32 is required`);
}

function dtypeOf(data: ArrayBufferView): DType {
  const dtype = dtypeOfArray(data);
  if (dtype) return dtype;
  throw new TypeError(
    `Cannot make a tensor of a ${data.constructor.name}: Float32Array, Int32Array, Uint32Array or Uint16Array is required`,
  );
}

function toData(values: NestedArray, dtype: DType): TensorData {
  const flat = (Array.isArray(values) ? values.flat(Infinity) : [values]) as number[];
  if (dtype === "float32") return Float32Array.from(flat);
  if (dtype === "int32" || dtype === "uint32") {
    const low = dtype === "int32" ? -(2 ** 31) : 0;
    const bad = flat.find((v) => !Number.isInteger(v) || v < low || v >= low + 2 ** 32);
    if (bad !== undefined) {
      throw new RangeError(`Cannot make an ${dtype} tensor: 32-bit integers are required, received ${bad}`);
    }
    return dtype === "int32" ? Int32Array.from(flat) : Uint32Array.from(flat);
  }
  throw new TypeError(
    `Cannot make a ${dtype} tensor of numbers: pass ${dtype} bits in a ${
      viewAs(dtype, new Uint8Array(0)).constructor.name
    }, or use cast()`,
  );
}

/**
 * Reads the values of a tensor back, then releases its memory. (`using` would do, but Node 20
 * cannot run it, and packages are published as they are written.)
 */
export async function readAndDispose(tensor: Tensor): Promise<TensorData> {
  try {
    return await tensor.data();
  } finally {
    tensor.dispose();
  }
}

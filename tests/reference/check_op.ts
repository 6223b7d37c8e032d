/**
 * Checks one op and its gradient against a float64 reference, in one way for all ops.
 *
 * What a check holds the op to: the values, the gradient of every input that wants one (both element by element), no
 * gradient for the others, and not a byte left on the device afterwards. What it holds the reference to: its analytic
 * gradient must agree with central differences of its own forward (where the inputs are few), and gates must be narrow
 * enough that a reference wrong by one percent fails.
 * @module
 */
import { assert, assertAllClose, assertEquals, type Tolerance } from "@std/assert";
import { defaultDevice, type Device, Tensor, tidy } from "../../autograd/mod.ts";
import { ownDevice } from "./fixtures.ts";
import { randomValues } from "./matmul.ts";
import { pretendHardware } from "./profiles.ts";

/** Values of inputs by name. */
export type Values = Readonly<Record<string, ArrayLike<number>>>;

/** What a float64 reference knows of an op. */
export interface Reference {
  readonly y: Float64Array;
  /** Gradients of the inputs by name, for the gradient `dy` of y. */
  gradients(dy: ArrayLike<number>): Record<string, Float64Array>;
}

/** An op at one set of inputs. */
export interface OpCase {
  readonly label: string;
  readonly inputs: Readonly<
    Record<string, { readonly data: Float32Array<ArrayBuffer>; readonly shape: readonly number[] }>
  >;
  /** Inputs that want no gradient. */
  readonly frozen?: readonly string[];
  /** Runs the op; tensors it makes besides its result are freed for it. */
  op(inputs: Record<string, Tensor>): Tensor;
  /** Expected shape of the result. */
  readonly shape: readonly number[];
  reference(values: Values): Reference;
  /** Default rtol 1e-6, atol 1e-7: a few ULP. */
  readonly gate?: Tolerance;
  /** Default rtol 1e-4, atol 1e-6. */
  readonly gradientGate?: Tolerance;
  /** The gradient that is sent back; default random numbers. */
  readonly dy?: Float32Array<ArrayBuffer>;
  /** One with a ledger of its own; default `ownDevice()`. */
  readonly device?: Device;
  /** Set where every expected number is zero or not finite: then a wrong formula cannot be told. */
  readonly blind?: boolean;
}

/** Largest input, in numbers, whose gradient is checked by finite differences. */
const MAX_DIFFERENCES = 64;

/** Central differences of sum(dy y) with PyTorch's gradcheck step and tolerances. */
function checkReference({ label, inputs, reference, frozen = [] }: OpCase, dy: ArrayLike<number>): void {
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, { data }]) => [name, Float64Array.from(data)]),
  );
  const analytic = reference(values).gradients(dy);
  const loss = () => reference(values).y.reduce((sum, y, i) => sum + y * dy[i], 0);
  for (const [name, x] of Object.entries(values)) {
    if (frozen.includes(name) || x.length > MAX_DIFFERENCES) continue;
    const numeric = x.map((value, i) => {
      const step = 1e-6 * Math.max(1, Math.abs(value));
      x[i] = value + step;
      const above = loss();
      x[i] = value - step;
      const below = loss();
      x[i] = value;
      return (above - below) / (2 * step);
    });
    assertAllClose(analytic[name], numeric, {
      rtol: 1e-3,
      atol: 1e-5,
      label: `${label}: the reference's own gradient of ${name}`,
    });
  }
}

/** Compares, and makes sure that the same comparison fails for numbers that are one percent off. */
function compare(actual: ArrayLike<number>, expected: Float64Array, gate: Tolerance, blind: boolean): void {
  assertAllClose(actual, expected, gate);
  if (blind || expected.every((e) => e === 0)) return;
  let killed = false;
  try {
    assertAllClose(actual, expected.map((e) => e * 1.01), gate);
  } catch {
    killed = true;
  }
  assert(killed, `${gate.label}: a reference that is 1% off must fail, the gate is too wide`);
}

/** Runs an op forward and backward and compares; see the head of this file. */
export async function checkOp(test: OpCase): Promise<void> {
  const device = test.device ?? await ownDevice();
  const { label, frozen = [], blind = false } = test;
  // tensors of other tests on the shared device may be collected while this one counts its bytes
  assert(device !== await defaultDevice(), `${label}: a device with a ledger of its own is required`);
  const before = device.memory.liveBytes;
  const tensors: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of Object.entries(test.inputs)) {
    tensors[name] = Tensor.from(data, { device, shape, requiresGrad: !frozen.includes(name) });
  }
  const y = tidy(() => test.op(tensors));
  assertEquals([...y.shape], [...test.shape], `${label}: shape`);
  const dy = test.dy ?? randomValues(97, y.size);
  const values = Object.fromEntries(Object.entries(test.inputs).map(([name, { data }]) => [name, data]));
  const expected = test.reference(values);
  const wanted = Object.keys(tensors).filter((name) => !frozen.includes(name));
  assertEquals(y.requiresGrad, wanted.length > 0, `${label}: requiresGrad of the result`);
  const reads: Record<string, Promise<ArrayLike<number>>> = { y: y.data() }; // one wait for all
  if (wanted.length > 0) {
    const seed = Tensor.from(dy, { device, shape: y.shape });
    y.backward(seed);
    seed.dispose();
    for (const name of wanted) {
      const { grad } = tensors[name];
      assert(grad, `${label}: gradient of ${name}`);
      assertEquals([...grad.shape], [...tensors[name].shape], `${label}: shape of the gradient of ${name}`);
      reads[`d${name}`] = grad.data();
    }
  }
  const gates = { rtol: 1e-6, atol: 1e-7, ...test.gate, label: `${label}: y` };
  compare(await reads.y, expected.y, gates, blind);
  if (wanted.length > 0) {
    const gradients = expected.gradients(dy);
    for (const name of wanted) {
      const gate = { rtol: 1e-4, atol: 1e-6, ...test.gradientGate, label: `${label}: d${name}` };
      compare(await reads[`d${name}`], gradients[name], gate, blind);
    }
    if (!blind) checkReference(test, dy);
  }
  for (const name of frozen) {
    assertEquals(tensors[name].grad, null, `${label}: the frozen ${name} gets no gradient`);
  }
  y.dispose();
  for (const tensor of Object.values(tensors)) tensor.dispose();
  assertEquals(device.memory.liveBytes, before, `${label}: live bytes afterwards`);
}

/** A device whose row kernels and matmuls are those of hardware: shared memory and barriers. */
export async function hardwareVariants(): Promise<Device> {
  const device = await defaultDevice();
  const same = await import("../../gpu/mod.ts").then(({ Device }) =>
    Device.create({ device: device.gpuDevice })
  );
  pretendHardware(same);
  return same;
}

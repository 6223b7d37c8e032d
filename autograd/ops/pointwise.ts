/**
 * Pointwise arithmetic: unary functions, and binary ones with broadcasting.
 * Gradients: unary dx = dy f'(x); a + b passes dy to both, a b passes dy b and dy a, a / b passes dy / b and
 * -dy a / b^2; an operand that was stretched gets the sum over the stretched dimensions.
 * @module
 */

import {
  binaryKernels,
  type BinaryName,
  EXP,
  GELU,
  GELU_NEW,
  IS_POSITIVE,
  LOG,
  LOG_1M_EXP,
  LOG_SIGMOID,
  NEGATE,
  RELU,
  SCALE,
  SIGMOID,
  SILU,
  SOFTCAP,
  SQRT,
  SQUARE,
  TANH,
  unaryBackward,
  unaryForward,
  type UnaryOp,
} from "../../kernels/pointwise.ts";
import { broadcastShapes, broadcastStrides, sameShape, type Shape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, full, Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";
import { sumTo } from "./_sums.ts";

function unary(op: UnaryOp, x: Tensor, c = 0): Tensor {
  checkFloat(op.name, x);
  const y = empty(x.device, x.shape);
  x.device.dispatch(unaryForward(op), { x: x.view, y: y.view }, { size: x.size, c });
  return record(op.name, {
    inputs: { x },
    saved: { x },
    outputs: [y],
    backward: ({ dy, saved: { x } }) => {
      const dx = empty(x.device, x.shape);
      x.device.dispatch(unaryBackward(op), { x: x.view, dy: dy.view, dx: dx.view }, { size: x.size, c });
      return { x: dx };
    },
  });
}

/** -x, same shape. */
export const negate = (x: Tensor): Tensor => unary(NEGATE, x);
/**
 * x c for a number c.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { scale, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await scale(x, 0.5).data()); // [-0.5, 0, 1]
 * ```
 */
export const scale = (x: Tensor, c: number): Tensor => unary(SCALE, x, c);
/** x^2. */
export const square = (x: Tensor): Tensor => unary(SQUARE, x);
/** The square root of x; its gradient at 0 is infinite. */
export const sqrt = (x: Tensor): Tensor => unary(SQRT, x);
/** e^x. */
export const exp = (x: Tensor): Tensor => unary(EXP, x);
/** The natural logarithm of x. */
export const log = (x: Tensor): Tensor => unary(LOG, x);
/**
 * max(x, 0); the gradient at 0 is 0.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { relu, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await relu(x).data()); // [0, 0, 2]
 * ```
 */
export const relu = (x: Tensor): Tensor => unary(RELU, x);
/** 1 where x > 0, else 0; its gradient is 0. */
export const isPositive = (x: Tensor): Tensor => unary(IS_POSITIVE, x);
/**
 * 1 / (1 + e^-x).
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { sigmoid, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await sigmoid(x).data()); // [0.269, 0.5, 0.881]
 * ```
 */
export const sigmoid = (x: Tensor): Tensor => unary(SIGMOID, x);
/** log(1 / (1 + e^-x)), exact to rounding where the sigmoid is next to 1 or out of float32's range. */
export const logSigmoid = (x: Tensor): Tensor => unary(LOG_SIGMOID, x);
/** log(1 - e^x) for x < 0: the logarithm of the probability of everything else, of a log-probability. */
export const log1mExp = (x: Tensor): Tensor => unary(LOG_1M_EXP, x);
/**
 * x sigmoid(x), also called swish.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { silu, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await silu(x).data()); // [-0.269, 0, 1.762]
 * ```
 */
export const silu = (x: Tensor): Tensor => unary(SILU, x);
/**
 * tanh x.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { tanh, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await tanh(x).data()); // [-0.762, 0, 0.964]
 * ```
 */
export const tanh = (x: Tensor): Tensor => unary(TANH, x);
/**
 * c tanh(x / c) for a positive number c (Gemma's soft cap of logits).
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { softcap, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await softcap(x, 1).data()); // [-0.762, 0, 0.964]: never beyond 1
 * ```
 * @throws {RangeError} for another c
 */
export function softcap(x: Tensor, c: number): Tensor {
  if (c > 0 && c < Infinity) return unary(SOFTCAP, x, c);
  throw new RangeError(`Cannot softcap: a positive number is required, received ${c}`);
}
/**
 * 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), GPT-2's "gelu_new".
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { geluNew, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await geluNew(x).data()); // [-0.159, 0, 1.955]
 * ```
 */
export const geluNew = (x: Tensor): Tensor => unary(GELU_NEW, x);
/**
 * x Phi(x), Hugging Face's "gelu".
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { gelu, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([-1, 0, 2]);
 * console.log(await gelu(x).data()); // [-0.159, 0, 1.954]
 * ```
 */
export const gelu = (x: Tensor): Tensor => unary(GELU, x);

/** Four collapsed dimensions that two operands and the result share. */
function collapse(shape: Shape, a: number[], b: number[]): { dims: number[]; a: number[]; b: number[] } {
  const dims: number[] = [];
  const as: number[] = [];
  const bs: number[] = [];
  shape.forEach((n, i) => {
    if (n === 1) return;
    const last = dims.length - 1;
    if (last >= 0 && as[last] === a[i] * n && bs[last] === b[i] * n) {
      dims[last] *= n;
      as[last] = a[i];
      bs[last] = b[i];
    } else {
      dims.push(n);
      as.push(a[i]);
      bs.push(b[i]);
    }
  });
  if (dims.length > 4) {
    throw new TypeError(
      `Cannot broadcast to ${showShape(shape)}: at most four separate dimensions are supported`,
    );
  }
  const pad = 4 - dims.length;
  const front = (value: number, list: number[]) => [...new Array<number>(pad).fill(value), ...list];
  return { dims: front(1, dims), a: front(0, as), b: front(0, bs) };
}

function launchBinary(name: BinaryName, a: Tensor, b: Tensor, shape: Shape): Tensor {
  const y = empty(a.device, shape);
  const { dims, a: s, b: t } = collapse(
    shape,
    broadcastStrides(a.shape, shape),
    broadcastStrides(b.shape, shape),
  );
  const strides = { a0: s[0], a1: s[1], a2: s[2], a3: s[3], b0: t[0], b1: t[1], b2: t[2], b3: t[3] };
  a.device.dispatch(
    binaryKernels[name],
    { a: a.view, b: b.view, y: y.view },
    { size: y.size, d1: dims[1], d2: dims[2], d3: dims[3], ...strides },
  );
  return y;
}

/**
 * A tensor, or a number in place of a scalar tensor.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { multiply, type Operand, subtract, Tensor } from "@peft/webgpu/tensor";
 *
 * const lerp = (a: Tensor, b: Tensor, t: Operand) => subtract(a, multiply(subtract(a, b), t));
 * const [a, b] = [Tensor.from([0, 10], { device: await initDevice() }), Tensor.from([4, 20])];
 * console.log(await lerp(a, b, 0.5).data(), await lerp(a, b, Tensor.from([0, 1])).data()); // [2, 15] [0, 20]
 * ```
 */
export type Operand = Tensor | number;

/** Runs `body` on two tensors and their common shape; a number becomes a scalar tensor for the duration. */
function withOperands(
  action: string,
  a: Operand,
  b: Operand,
  body: (p: Tensor, q: Tensor, shape: Shape) => Tensor,
): Tensor {
  const device = (a instanceof Tensor ? a : b as Tensor).device;
  const p = a instanceof Tensor ? a : full(device, [], a);
  const q = b instanceof Tensor ? b : full(device, [], b);
  try {
    checkFloat(action, p);
    checkFloat(action, q);
    const shape = sameShape(p.shape, q.shape) ? p.shape : broadcastShapes(action, p.shape, q.shape);
    return body(p, q, shape);
  } finally {
    if (p !== a) p.dispose();
    if (q !== b) q.dispose();
  }
}

/**
 * a + b with broadcasting.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { add, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await add(Tensor.from([1, 2]), 10).data()); // [11, 12]
 * ```
 * @throws {TypeError} if the shapes do not broadcast
 */
export function add(a: Operand, b: Operand): Tensor {
  return withOperands("add", a, b, (p, q, shape) => {
    const [aShape, bShape] = [p.shape, q.shape];
    return record("add", {
      inputs: { p, q },
      outputs: [launchBinary("add", p, q, shape)],
      backward: ({ dy, needs }) => ({
        p: needs.p ? sumTo(dy, aShape) : null,
        q: needs.q ? sumTo(dy, bShape) : null,
      }),
    });
  });
}

/**
 * a - b with broadcasting.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { subtract, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await subtract(Tensor.from([5, 6]), Tensor.from([1, 2])).data()); // [4, 4]
 * ```
 * @throws {TypeError} if the shapes do not broadcast
 */
export function subtract(a: Operand, b: Operand): Tensor {
  return withOperands("subtract", a, b, (p, q, shape) => {
    const [aShape, bShape] = [p.shape, q.shape];
    return record("subtract", {
      inputs: { p, q },
      outputs: [launchBinary("subtract", p, q, shape)],
      backward: ({ dy, needs }) => ({
        p: needs.p ? sumTo(dy, aShape) : null,
        q: needs.q ? sumTo(negate(dy), bShape) : null,
      }),
    });
  });
}

/**
 * a b elementwise with broadcasting.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { multiply, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await multiply(Tensor.from([[1], [2]]), Tensor.from([3, 4])).data()); // [3, 4, 6, 8]: shapes broadcast
 * ```
 * @throws {TypeError} if the shapes do not broadcast
 */
export function multiply(a: Operand, b: Operand): Tensor {
  return withOperands("multiply", a, b, (p, q, shape) =>
    record("multiply", {
      inputs: { p, q },
      saved: { p, q },
      outputs: [launchBinary("multiply", p, q, shape)],
      backward: ({ dy, saved: { p, q }, needs }) => ({
        p: needs.p ? sumTo(launchBinary("multiply", dy, q, dy.shape), p.shape) : null,
        q: needs.q ? sumTo(launchBinary("multiply", dy, p, dy.shape), q.shape) : null,
      }),
    }));
}

/**
 * a / b elementwise with broadcasting.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { divide, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await divide(Tensor.from([6, 9]), 3).data()); // [2, 3]
 * ```
 * @throws {TypeError} if the shapes do not broadcast
 */
export function divide(a: Operand, b: Operand): Tensor {
  return withOperands("divide", a, b, (p, q, shape) =>
    record("divide", {
      inputs: { p, q },
      saved: { p, q },
      outputs: [launchBinary("divide", p, q, shape)],
      backward: ({ dy, saved: { p, q }, needs }) => {
        const slope = () => launchBinary("divideByDenominator", p, q, dy.shape);
        return {
          p: needs.p ? sumTo(launchBinary("divide", dy, q, dy.shape), p.shape) : null,
          q: needs.q ? sumTo(launchBinary("multiply", dy, slope(), dy.shape), q.shape) : null,
        };
      },
    }));
}

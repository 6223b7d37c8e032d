/**
 * Matrix product of the last two dimensions, with batch broadcasting.
 *   y = op(a) op(b), op = transpose where asked
 * Gradients: y = a b: da = dy b^T, db = a^T dy; a stretched batch dimension sums.
 * @module
 */
import type { MatmulLayout } from "../../kernels/matmul.ts";
import { broadcastShapes, type Shape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { launchMatmul } from "./_matmul.ts";
import { permute } from "./movement.ts";
import { checkFloat } from "./_checks.ts";
import { sumTo } from "./_sums.ts";

/**
 * Options of `matmul`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { matmul, type MatmulOpOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const options: MatmulOpOptions = { transposeB: true }; // scores are Q K^T
 * const [q, k] = [Tensor.from([[1, 0]], { device: await initDevice() }), Tensor.from([[1, 2], [3, 4]])];
 * console.log(await matmul(q, k, options).data()); // [1, 3]
 * ```
 */
export interface MatmulOpOptions {
  /** `a` is [..., K, M]. */
  transposeA?: boolean;
  /** `b` is [..., N, K]. */
  transposeB?: boolean;
}

/**
 * y [..., M, N] = a [..., M, K] b [..., K, N] for ranks 2 to 4; leading dimensions broadcast.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { matmul, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const a = Tensor.from([[1, 2], [3, 4]]);
 * const b = Tensor.from([[5, 6], [7, 8]]);
 * console.log(await matmul(a, b).data()); // [19, 22, 43, 50]
 * ```
 * @throws {TypeError} if an operand is not float32 of rank 2 to 4, or inner or batch sizes do not fit
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOpOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  for (const operand of [a, b]) {
    checkFloat("multiply", operand);
    if (operand.shape.length < 2 || operand.shape.length > 4) {
      throw new TypeError(
        `Cannot multiply a ${showShape(a.shape)} by b ${showShape(b.shape)}: ranks 2 to 4 are required`,
      );
    }
  }
  const inner = [a.shape.at(transposeA ? -2 : -1)!, b.shape.at(transposeB ? -1 : -2)!];
  if (inner[0] !== inner[1]) {
    throw new TypeError(
      `Cannot multiply a ${showShape(a.shape)} by b ${
        showShape(b.shape)
      }: inner sizes must be equal, received ${inner[0]} and ${inner[1]}`,
    );
  }
  if (transposeA && transposeB) return matmul(a, swapLast(b), { transposeA });
  const layout = transposeA ? "tn" : transposeB ? "nt" : "nn";
  const y = product(layout, a, b);
  return record("matmul", {
    inputs: { a, b },
    saved: { a, b },
    outputs: [y],
    backward: ({ dy, saved: { a, b }, needs }) => {
      const [da, db] = GRADIENTS[layout];
      return {
        a: needs.a ? sumTo(da(dy, a, b), a.shape) : null,
        b: needs.b ? sumTo(db(dy, a, b), b.shape) : null,
      };
    },
  });
}

type Gradient = (dy: Tensor, a: Tensor, b: Tensor) => Tensor;

/** da and db of each layout, again as products. */
const GRADIENTS: Readonly<Record<MatmulLayout, readonly [Gradient, Gradient]>> = {
  nn: [(dy, _a, b) => product("nt", dy, b), (dy, a, b) => weightGradient("tn", a, dy, b)],
  nt: [(dy, _a, b) => product("nn", dy, b), (dy, a, b) => weightGradient("tn", dy, a, b)],
  tn: [(dy, _a, b) => product("nt", b, dy), (dy, a) => product("nn", a, dy)],
};

/** left^T right for the gradient of `b`; where `b` is one matrix for all batches, one product over all rows. */
function weightGradient(layout: "tn", left: Tensor, right: Tensor, b: Tensor): Tensor {
  if (b.shape.length > 2 || left.shape.length !== right.shape.length) return product(layout, left, right);
  return product(layout, foldRows(left), foldRows(right));
}

function foldRows(x: Tensor): Tensor {
  const cols = x.shape.at(-1)!;
  return x.alias([cols === 0 ? 0 : x.size / cols, cols]);
}

function swapLast(x: Tensor): Tensor {
  const order = x.shape.map((_, i) => i);
  const last = order.length - 1;
  [order[last - 1], order[last]] = [last, last - 1];
  return permute(x, order);
}

/** Outer and inner batch sizes of a shape of rank 2 to 4. */
function batchOf(shape: Shape): [number, number] {
  return [shape.length > 3 ? shape[0] : 1, shape.length > 2 ? shape[shape.length - 3] : 1];
}

/** The product outside the tape; leading dimensions broadcast. */
function product(layout: MatmulLayout, a: Tensor, b: Tensor): Tensor {
  const [aRows, aCols] = a.shape.slice(-2);
  const [bRows, bCols] = b.shape.slice(-2);
  const N = layout === "nt" ? bRows : bCols;
  const batchShape = broadcastShapes("multiply batches of", a.shape.slice(0, -2), b.shape.slice(0, -2));
  if (layout !== "tn" && b.shape.length === 2) {
    const y = empty(a.device, [...a.shape.slice(0, -1), N]);
    const M = aCols === 0 ? y.size / Math.max(1, N) : a.size / aCols;
    launchMatmul(a.device, {
      layout,
      M,
      N,
      K: aCols,
      a: { tensor: a, ld: aCols },
      b: { tensor: b, ld: bCols },
      y: { tensor: y, ld: N },
    });
    return y;
  }
  const [M, K] = layout === "tn" ? [aCols, aRows] : [aRows, aCols];
  const y = empty(a.device, [...batchShape, M, N]);
  const [aOuter, aInner] = batchOf(a.shape);
  const [bOuter, bInner] = batchOf(b.shape);
  const [outer, inner] = batchOf(y.shape);
  const stride = (size: number, step: number) => size === 1 ? 0 : step;
  launchMatmul(a.device, {
    layout,
    M,
    N,
    K,
    a: { tensor: a, ld: aCols },
    b: { tensor: b, ld: bCols },
    y: { tensor: y, ld: N },
    batch: {
      count: outer * inner,
      inner,
      aOuter: stride(aOuter, aInner * M * K),
      aInner: stride(aInner, M * K),
      bOuter: stride(bOuter, bInner * K * N),
      bInner: stride(bInner, K * N),
      yStride: M * N,
    },
  });
  return y;
}

/**
 * Launches that copy between a dense tensor and one read by strides; outside the tape.
 * @module
 */
import { SCALE, unaryForward } from "../../kernels/pointwise.ts";
import { COPY_RANK, gatherStrided, scatterStrided } from "../../kernels/strided_copy.ts";
import { broadcastStrides, type Shape, sizeOf } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";

/** Kernel parameters of a strided side. */
function stridedParams(shape: Shape, strides: readonly number[], offset: number) {
  if (shape.length > COPY_RANK) {
    throw new TypeError(
      `Cannot move a tensor of rank ${shape.length}: at most ${COPY_RANK} dimensions are supported`,
    );
  }
  const pad = COPY_RANK - shape.length;
  const d = [...new Array<number>(pad).fill(1), ...shape];
  const s = [...new Array<number>(pad).fill(0), ...strides];
  const dims = { d1: d[1], d2: d[2], d3: d[3], d4: d[4], d5: d[5] };
  return { size: sizeOf(shape), offset, ...dims, s0: s[0], s1: s[1], s2: s[2], s3: s[3], s4: s[4], s5: s[5] };
}

/** Elements of x at `offset` and `strides`, dense in `shape`. */
export function gather(x: Tensor, shape: Shape, strides: readonly number[], offset = 0): Tensor {
  const y = empty(x.device, shape, x.dtype);
  x.device.dispatch(gatherStrided, { x: x.view, y: y.view }, stridedParams(shape, strides, offset));
  return y;
}

/** Writes the elements of x to y at `offset` and `strides`. */
export function scatter(x: Tensor, y: Tensor, strides: readonly number[], offset: number): void {
  x.device.dispatch(scatterStrided, { x: x.view, y: y.view }, stridedParams(x.shape, strides, offset));
}

/** x expanded to `shape` and multiplied by `factor`: the gradient of a sum or mean. */
export function expandTo(x: Tensor, shape: Shape, factor: number): Tensor {
  let source = x;
  if (factor !== 1) {
    source = empty(x.device, x.shape);
    const views = { x: x.view, y: source.view };
    x.device.dispatch(unaryForward(SCALE), views, { size: x.size, c: factor });
  }
  return gather(source, shape, broadcastStrides(x.shape, shape));
}

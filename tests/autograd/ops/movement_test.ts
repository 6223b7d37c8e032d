import { assertEquals, assertThrows } from "@std/assert";
import {
  concat,
  defaultDevice,
  expand,
  permute,
  reshape,
  slice,
  Tensor,
  tidy,
  transpose,
} from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { stretchedIndices } from "../../reference/pointwise.ts";

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Multi-index of every element of a shape, row-major. */
function* indices(shape: readonly number[]): Generator<number[]> {
  for (let flat = 0; flat < sizeOf(shape); flat++) {
    const index = new Array<number>(shape.length);
    let rest = flat;
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d] = rest % shape[d];
      rest = Math.floor(rest / shape[d]);
    }
    yield index;
  }
}

const flatten = (index: readonly number[], shape: readonly number[]) =>
  index.reduce((at, i, d) => at * shape[d] + i, 0);

/** Checks an op that only moves: element i of y is element `from[i]` of x; 0 ULP both ways. */
async function checkMove(
  label: string,
  from: readonly number[],
  shape: readonly number[],
  result: readonly number[],
  op: (x: Tensor) => Tensor,
  repeats = false,
): Promise<void> {
  await checkOp({
    label,
    inputs: { x: { data: randomValues(from.length + 1, sizeOf(shape)), shape } },
    op: ({ x }) => op(x),
    shape: result,
    reference: ({ x }) => ({
      y: Float64Array.from(from, (at) => x[at]),
      gradients: (dy) => {
        const dx = new Float64Array(x.length);
        from.forEach((at, i) => dx[at] += dy[i]);
        return { x: dx };
      },
    }),
    gate: { rtol: 0, atol: 0 },
    gradientGate: repeats ? { rtol: 1e-6, atol: from.length * 2 ** -24 } : { rtol: 0, atol: 0 },
  });
}

Deno.test("reshape() keeps the elements, takes one -1, and sends the gradient back unchanged", async () => {
  const shapes: [number[], number[], number[]][] = [
    [[6], [2, 3], [2, 3]],
    [[2, 3, 4], [-1], [24]],
    [[17, 31], [31, -1], [31, 17]],
    [[1], [], []],
    [[0, 3], [3, 0], [3, 0]],
  ];
  for (const [shape, to, result] of shapes) {
    await checkMove(
      `reshape [${shape}]`,
      [...Array(sizeOf(shape)).keys()],
      shape,
      result,
      (x) => reshape(x, to),
    );
  }
});

Deno.test("permute() and transpose() move every element to its place, up to six dimensions", async () => {
  const cases: [number[], number[]][] = [
    [[5], [0]],
    [[17, 31], [1, 0]],
    [[2, 3, 5], [2, 0, 1]],
    [[2, 3, 5], [0, -1, 1]],
    [[3, 4, 2, 7], [0, 2, 1, 3]],
    [[2, 1, 3, 2, 1, 3], [5, 3, 1, 0, 4, 2]],
    [[0, 4], [1, 0]],
    [[129, 63], [1, 0]],
  ];
  for (const [shape, order] of cases) {
    const axes = order.map((axis) => axis < 0 ? axis + shape.length : axis);
    const result = axes.map((axis) => shape[axis]);
    const from = [...indices(result)].map((index) => {
      const source = new Array<number>(shape.length);
      axes.forEach((axis, i) => source[axis] = index[i]);
      return flatten(source, shape);
    });
    await checkMove(`permute [${shape}] to ${order}`, from, shape, result, (x) => permute(x, order));
    const last = shape.length - 1;
    const swaps = shape.length > 1 && axes[last] === last - 1 &&
      axes.every((a, i) => i > last - 2 || a === i);
    if (swaps) await checkMove(`transpose [${shape}]`, from, shape, result, transpose);
  }
});

Deno.test("slice() takes its range of any axis, and its gradient is zero elsewhere", async () => {
  const cases: [number[], number, number, number | undefined][] = [
    [[7], 0, 2, 5],
    [[7], 0, -3, undefined],
    [[7], 0, 0, -1],
    [[4, 5, 6], 0, 1, 3],
    [[4, 5, 6], 1, 4, 5],
    [[4, 5, 6], -1, 1, 6],
    [[4, 5], 1, 2, 2],
    [[3, 1021], 1, 509, 1020],
  ];
  for (const [shape, axis, start, end] of cases) {
    const at = axis < 0 ? axis + shape.length : axis;
    const n = shape[at];
    const first = start < 0 ? start + n : start;
    const last = end === undefined ? n : end < 0 ? end + n : end;
    const result = shape.with(at, last - first);
    const from = [...indices(result)].map((index) => flatten(index.with(at, index[at] + first), shape));
    const label = `slice [${shape}] axis ${axis} ${start}:${end}`;
    await checkMove(label, from, shape, result, (x) => slice(x, axis, start, end));
  }
});

Deno.test("concat() joins along any axis and cuts its gradient apart again", async () => {
  const cases: [number[][], number][] = [
    [[[3], [1], [5]], 0],
    [[[2, 3], [4, 3]], 0],
    [[[2, 3], [2, 1], [2, 7]], 1],
    [[[2, 3, 5], [2, 4, 5]], -2],
    [[[2, 0], [2, 3]], 1],
    [[[17, 31]], 0],
  ];
  for (const [shapes, axis] of cases) {
    const at = axis < 0 ? axis + shapes[0].length : axis;
    const total = shapes.reduce((sum, shape) => sum + shape[at], 0);
    const result = shapes[0].with(at, total);
    const place = [...indices(result)].map((index) => {
      let part = 0;
      let along = index[at];
      while (along >= shapes[part][at]) along -= shapes[part++][at];
      return { part, from: flatten(index.with(at, along), shapes[part]) };
    });
    await checkOp({
      label: `concat ${JSON.stringify(shapes)} along ${axis}`,
      inputs: Object.fromEntries(
        shapes.map((shape, i) => [`x${i}`, { data: randomValues(i + 1, sizeOf(shape)), shape }]),
      ),
      op: (inputs) => concat(Object.values(inputs), axis),
      shape: result,
      reference: (values) => ({
        y: Float64Array.from(place, ({ part, from }) => values[`x${part}`][from]),
        gradients: (dy) => {
          const all = Object.fromEntries(shapes.map((s, i) => [`x${i}`, new Float64Array(sizeOf(s))]));
          place.forEach(({ part, from }, i) => all[`x${part}`][from] = dy[i]);
          return all;
        },
      }),
      gate: { rtol: 0, atol: 0 },
      gradientGate: { rtol: 0, atol: 0 },
    });
  }
});

Deno.test("concat() of one tensor twice adds both parts of its gradient", async () => {
  const from = [0, 1, 2, 0, 1, 2];
  await checkMove("concat([x, x])", from, [3], [6], (x) => concat([x, x], 0), true);
});

Deno.test("expand() repeats, and its gradient sums over what it repeated", async () => {
  const cases: [number[], number[]][] = [
    [[1], [5]],
    [[], [2, 3]],
    [[3, 1], [3, 7]],
    [[1, 3], [4, 3]],
    [[2, 1, 5], [2, 6, 5]],
    [[5], [3, 2, 5]],
    [[1, 2, 1], [4, 2, 1021]],
    [[2, 3], [2, 3]],
    [[1, 3], [0, 3]],
  ];
  for (const [shape, to] of cases) {
    const from = [...stretchedIndices(shape, to)];
    await checkMove(`expand [${shape}] to [${to}]`, from, shape, to, (x) => expand(x, to), true);
  }
});

Deno.test("moves keep every bit, NaN payloads, -0 and integers included", async () => {
  const device = await defaultDevice();
  const words = Uint32Array.of(0x7fc00001, 0xffc00000, 0x80000000, 1, 0x7f800000, 0xff7fffff);
  using x = Tensor.from(new Float32Array(words.buffer), { device, shape: [2, 3] });
  const bitsOf = async (op: (x: Tensor) => Tensor) => {
    using y = tidy(() => op(x));
    const data = await y.data();
    return [...new Uint32Array(data.buffer, data.byteOffset, data.length)];
  };
  const [a, b, c, d, e, f] = words;
  assertEquals(await bitsOf(transpose), [a, d, b, e, c, f]);
  assertEquals(await bitsOf((x) => slice(x, 1, 1)), [b, c, e, f]);
  assertEquals(await bitsOf((x) => concat([x, x], 0)), [...words, ...words]);
  using ids = Tensor.from(Int32Array.of(-100, 7, 2 ** 31 - 1, -(2 ** 31)), { device, shape: [2, 2] });
  using swapped = transpose(ids);
  assertEquals(swapped.dtype, "int32");
  assertEquals([...await swapped.data()], [-100, 2 ** 31 - 1, 7, -(2 ** 31)]);
});

Deno.test("moves past 65,535 workgroups reach the first, the last and the elements around the fold", async () => {
  const device = await defaultDevice();
  const limit = 65_535 * 64; // a workgroup of the copy moves 64 elements
  const size = limit + 65;
  const data = Float32Array.from({ length: size }, (_, i) => i);
  using x = Tensor.from(data, { device, shape: [1, size] });
  using y = slice(x, 1, 0);
  const values = await y.data();
  for (const at of [0, 63, 64, limit - 65, limit - 1, limit, limit + 1, size - 1]) {
    assertEquals(values[at], at);
  }
  assertEquals(values, data);
});

Deno.test("moves refuse shapes, ranges, axes and dtypes that do not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const x = Tensor.from(new Float32Array(6), { device, shape: [2, 3] });
    const half = Tensor.from(new Uint16Array(4), { device, shape: [2, 2] });
    const deep = Tensor.from(new Float32Array(1), { device, shape: [1, 1, 1, 1, 1, 1, 1] });
    const expected: [() => Tensor, typeof TypeError | typeof RangeError, string][] = [
      [() => reshape(x, [4]), TypeError, "Cannot reshape [2, 3] to [4]: 6 elements are required"],
      [() => reshape(x, [4, -1]), TypeError, "Cannot reshape [2, 3] to [4, -1]: 6 elements are required"],
      [() => reshape(x, [-1, -1]), TypeError, "Cannot reshape [2, 3] to [-1, -1]: 6 elements are required"],
      [
        () => permute(x, [0, 0]),
        TypeError,
        "Cannot permute [2, 3]: every dimension is required once, received [0, 0]",
      ],
      [() => permute(x, [0]), TypeError, "every dimension is required once, received [0]"],
      [() => permute(x, [0, 2]), RangeError, "Cannot permute: the axis must be from -2 to 1, received 2"],
      [
        () => slice(x, 1, 2, 5),
        RangeError,
        "Cannot slice dimension 1 of [2, 3]: a range within 0 to 3 is required, received 2 to 5",
      ],
      [() => slice(x, 1, 2, 1), RangeError, "received 2 to 1"],
      [() => slice(x, 2, 0), RangeError, "Cannot slice: the axis must be from -2 to 1, received 2"],
      [() => concat([], 0), TypeError, "Cannot concatenate nothing: at least one tensor is required"],
      [
        () => concat([x, transpose(x)], 0),
        TypeError,
        "Cannot concatenate [2, 3] and [3, 2] along dimension 0: other sizes and dtypes must be equal",
      ],
      [
        () => expand(x, [2, 6]),
        TypeError,
        "Cannot expand [2, 3] to [2, 6]: sizes must be equal or 1",
      ],
      [() => expand(x, [3]), TypeError, "Cannot expand [2, 3] to [3]"],
      [
        () => slice(half, 0, 1),
        TypeError,
        "Cannot slice a packed float16 tensor of shape [2, 2]: cast it to float32",
      ],
      [() => transpose(half), TypeError, "Cannot permute a packed float16 tensor"],
      [
        () => slice(deep, 0, 0),
        TypeError,
        "Cannot move a tensor of rank 7: at most 6 dimensions are supported",
      ],
    ];
    for (const [op, Kind, message] of expected) assertThrows(op, Kind, message);
  });
});

/**
 * Checks the attention ops and their gradients against the float64 reference.
 * @module
 */
import { assertAllClose, assertEquals } from "@std/assert";
import { type AttentionOptions, causalSelfAttention } from "../../autograd/ops/attention.ts";
import { attention } from "../../autograd/ops/key_value_attention.ts";
import { defaultDevice, Device, documentsOf, Tensor } from "../../autograd/mod.ts";
import { selectAttention } from "../../kernels/attention.ts";
import { type AttentionCase, attentionReference, philoxReference } from "./attention.ts";
import { randomValues } from "./matmul.ts";
import { changeProfile } from "./profiles.ts";

const RNG = [123456789, 42, 7, 0];
const CALL = 3;

/** The mask that dropout draws for an element, from the definition in kernels/attention_options.ts. */
function keepOf({ H, Tq, Tk }: { H: number; Tq: number; Tk: number }, p: number) {
  return (b: number, h: number, i: number, j: number) => {
    const group = ((b * H + h) * Tq + i) * Math.ceil(Tk / 4) + Math.floor(j / 4);
    const bits = philoxReference([group, CALL, RNG[2], 0], RNG.slice(0, 2))[j % 4];
    return (bits >>> 8) * 2 ** -24 >= p ? 1 / (1 - p) : 0;
  };
}

/** One call of an attention op. */
export interface Case {
  B: number;
  H: number;
  D: number;
  T: number;
  /** Keys before the first query (`attention` instead of `causalSelfAttention`). */
  prefix?: number;
  /** Heads of keys and values (through `attention`). */
  Hkv?: number;
  window?: number;
  mask?: number[];
  /** Lengths of the documents of each row. */
  documents?: number[][];
  p?: number;
  scale?: number;
  /** Multiplies q: scores far apart. */
  stretch?: number;
  /** Bytes that may be bound; default the device's limit. */
  limit?: number;
  /** Loop iterations that the driver runs; default what it does. */
  iterations?: number;
  /** Kernels for hardware instead of those for this adapter. */
  hardware?: boolean;
  /** Kernels for the adapter's subgroups, where it has them; else those of one thread. */
  subgroup?: boolean;
}

/** Columns `from` to `to` of rows of `width`. */
function columns(x: ArrayLike<number>, width: number, from: number, to: number): Float64Array {
  const rows = x.length / width;
  const y = new Float64Array(rows * (to - from));
  for (let r = 0; r < rows; r++) {
    for (let c = from; c < to; c++) y[r * (to - from) + c - from] = x[r * width + c];
  }
  return y;
}

/** Compares o and every gradient with the reference, whose scale is `wrong` times the right one. */
export async function check(test: Case, wrong = 1): Promise<void> {
  const whole = await defaultDevice();
  const device = test.limit === undefined && test.iterations === undefined ? whole : await Device.create({
    device: whole.gpuDevice,
    limits: test.limit === undefined ? undefined : { maxStorageBufferBindingSize: test.limit },
  });
  const { B, H, D, T, prefix, mask, p = 0, scale = 1 / Math.sqrt(D), stretch = 1, window } = test;
  const Hkv = test.Hkv ?? H;
  const C = H * D;
  const Tk = T + (prefix ?? 0);
  const ids = test.documents?.flatMap((lengths) => lengths.flatMap((length, n) => new Array(length).fill(n)));
  const sizes: AttentionCase = {
    B,
    H,
    Hkv,
    window,
    D,
    Tq: T,
    Tk,
    past: prefix ?? 0,
    scale: scale * wrong,
    mask,
    documents: ids,
    keep: p > 0 ? keepOf({ H, Tq: T, Tk }, p) : undefined,
  };
  using maskTensor = mask ? Tensor.from(Uint32Array.from(mask), { device, shape: [B, Tk] }) : null;
  using rng = Tensor.from(Uint32Array.from(RNG), { device });
  using idTensor = ids ? Tensor.from(Int32Array.from(ids), { device, shape: [B, T] }) : null;
  const documents = idTensor &&
    documentsOf(idTensor, { by: "sequences", rows: B, attentionMask: maskTensor });
  using _starts = documents?.starts ?? null;
  if (test.iterations !== undefined) {
    changeProfile(device, { maxLoopIterations: test.iterations });
  }
  const options: AttentionOptions = {
    heads: H,
    keyValueHeads: test.Hkv,
    window,
    scale: test.scale,
    attentionMask: documents ? null : maskTensor,
    documents,
    dropout: p > 0 ? { p, rng, call: CALL } : null,
    choice: selectAttention({
      kind: test.hardware ? "hardware" : "software",
      subgroupSize: test.subgroup ? device.profile.subgroupSize : 0,
    }, test.subgroup ? Math.max(T, 64) : T),
  };
  const dy = randomValues(9, B * T * C);
  using seed = Tensor.from(dy, { device, shape: [B, T, C] });
  const label = JSON.stringify({ ...test, mask: mask?.join("") });
  const gate = { rtol: 1e-4, atol: 2e-6 * Math.max(1, stretch) };
  if (prefix === undefined && test.Hkv === undefined) {
    const data = randomValues(1, B * T * 3 * C).map((v, i) => i % (3 * C) < C ? v * stretch : v);
    using qkv = Tensor.from(data, { device, shape: [B, T, 3 * C], requiresGrad: true });
    const [q, k, v] = [0, 1, 2].map((n) => columns(data, 3 * C, n * C, (n + 1) * C));
    const expected = attentionReference(q, k, v, dy, sizes);
    using o = causalSelfAttention(qkv, options);
    assertEquals(o.shape, [B, T, C]);
    assertAllClose(await o.data(), expected.o, { ...gate, label: `${label} o` });
    o.backward(seed);
    const dqkv = await qkv.grad!.data();
    assertAllClose(columns(dqkv, 3 * C, 0, C), expected.dq, { ...gate, label: `${label} dq` });
    assertAllClose(columns(dqkv, 3 * C, C, 2 * C), expected.dk, { ...gate, label: `${label} dk` });
    assertAllClose(columns(dqkv, 3 * C, 2 * C, 3 * C), expected.dv, { ...gate, label: `${label} dv` });
  } else {
    const q = randomValues(1, B * T * C);
    const W = Hkv * D;
    const kv = randomValues(2, B * Tk * 2 * W);
    const expected = attentionReference(q, columns(kv, 2 * W, 0, W), columns(kv, 2 * W, W, 2 * W), dy, sizes);
    using tq = Tensor.from(q, { device, shape: [B, T, C], requiresGrad: true });
    using tkv = Tensor.from(kv, { device, shape: [B, Tk, 2 * W], requiresGrad: true });
    using o = attention(tq, tkv, options);
    assertAllClose(await o.data(), expected.o, { ...gate, label: `${label} o` });
    o.backward(seed);
    const dkv = await tkv.grad!.data();
    assertAllClose(await tq.grad!.data(), expected.dq, { ...gate, label: `${label} dq` });
    assertAllClose(columns(dkv, 2 * W, 0, W), expected.dk, { ...gate, label: `${label} dk` });
    assertAllClose(columns(dkv, 2 * W, W, 2 * W), expected.dv, { ...gate, label: `${label} dv` });
  }
}

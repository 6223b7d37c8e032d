/**
 * Initial values of LoRA's A and B that are chosen by name, one strategy for each.
 * @module
 */

import {
  cast,
  matmul,
  multiply,
  negate,
  noGrad,
  qr,
  quantizeNow,
  reshape,
  scale,
  slice,
  sqrt,
  subtract,
  type Svd,
  svd,
  svdLowrank,
  type Tensor,
  tidy,
  transpose,
  untracked,
} from "../../autograd/mod.ts";
import { Parameter } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import { LOFTQ_DEFAULTS } from "./loftq_config.ts";
import { checkEvenRank, type LoraInit, parseInit } from "./lora_config.ts";
import { type LoraSite, type LoraStart, uniformA, zeroB } from "./lora_site.ts";

/** The weight as [out, in], float32. */
function outByIn({ weight, layout }: LoraSite): Tensor {
  const W = cast(weight, "float32");
  return layout === "conv1d" ? transpose(W) : W;
}

/** Tensors that outlive the scope in which they are made. */
function kept<Made extends Record<string, Tensor>>(body: () => Made): Made {
  return untracked(() => noGrad(() => tidy(body)));
}

/** An adapter that starts at s B A, which is subtracted from the weight. */
function takenOff(body: () => { A: Tensor; B: Tensor }): LoraStart {
  const { A, B, negative } = kept(() => {
    const { A, B } = body();
    return { A, B, negative: negate(B) };
  });
  const copy = (tensor: Tensor) => new Parameter(untracked(() => tensor.copy()));
  return { A: copy(A), B: new Parameter(B), offset: { A, B: negative } };
}

/** A = diag(sqrt(S / s)) V^T and B = U diag(sqrt(S / s)) of the first r singular values. */
export function fromSingularValues(
  { rank, scaling }: Pick<LoraSite, "rank" | "scaling">,
  { u, s, vT }: Svd,
): { A: Tensor; B: Tensor } {
  const roots = sqrt(scale(slice(s, 0, 0, rank), 1 / scaling)); // [r]
  return {
    A: multiply(reshape(roots, [rank, 1]), slice(vT, 0, 0, rank)),
    B: multiply(slice(u, 1, 0, rank), roots),
  };
}

function checkRank(name: string, { rank, inFeatures, outFeatures }: LoraSite, most: number): void {
  if (rank > most) {
    refuseConfig(
      "lora",
      `init_lora_weights="${name}" needs a rank of at most ${most} for a weight [${inFeatures}, ${outFeatures}], received ${rank}`,
    );
  }
}

function orthogonal(site: LoraSite): LoraStart {
  const { rank, inFeatures, outFeatures, init } = site;
  checkEvenRank(rank);
  const half = rank / 2;
  const random = [[rank, rank], [half, inFeatures], [half, outFeatures]].map((shape) =>
    init.normal(shape, 1)
  );
  const { A, B } = kept(() => {
    const rows = reshape(qr(random[0]).q, [half, 2, rank]); // rows 2 i and 2 i + 1 of Q side by side
    const [odd, even] = [0, 1].map((i) => reshape(slice(rows, 1, i, i + 1), [half, rank]));
    return {
      A: scale(matmul(odd, random[1], { transposeA: true }), 0.1),
      B: scale(matmul(random[2], even, { transposeA: true }), 0.1),
    };
  });
  for (const parameter of random) parameter.dispose();
  return { A: new Parameter(A), B: new Parameter(B) };
}

function olora(site: LoraSite): LoraStart {
  const { rank, outFeatures, inFeatures } = site;
  checkRank("olora", site, Math.min(outFeatures, inFeatures));
  return takenOff(() => {
    const W = outByIn(site); // [out, in]
    const { q } = qr(slice(W, 1, 0, rank)); // the first columns of Q need no others
    return { A: matmul(q, W, { transposeA: true }), B: q };
  });
}

function pissa(site: LoraSite, iterations: number | null): LoraStart {
  const { rank, inFeatures, outFeatures, init } = site;
  checkRank("pissa", site, Math.min(inFeatures, outFeatures));
  return takenOff(() => {
    const W = outByIn(site);
    const parts = iterations === null ? svd(W) : svdLowrank(W, rank, { iterations, seed: init.seed });
    return fromSingularValues(site, parts);
  });
}

/**
 * LoftQ (Li et al. 2023, arXiv:2310.08659): Q is the weight quantised, B A the best factors of what Q lacks; then, in turns, Q
 * that of W - B A and B A of W - Q. As in `peft`, the scaling is not taken into account.
 */
function loftq(site: LoraSite): LoraStart {
  const { rank, inFeatures, outFeatures, weight, loftq: options } = site;
  checkRank("loftq", site, Math.min(inFeatures, outFeatures));
  if (weight.dtype !== "float32" && weight.dtype !== "float16") {
    refuseConfig(
      "lora",
      `init_lora_weights="loftq" needs a weight that is not quantised, received ${weight.dtype}: load the model without quantization, or use replaceLoraWeightsLoftq()`,
    );
  }
  const { loftqBits, loftqIter } = options ?? LOFTQ_DEFAULTS;
  const type = loftqBits === 4 ? "nf4" : "int8";
  const { A, B, base } = kept(() => {
    const W = outByIn(site);
    let rest = W;
    for (let turn = 1;; turn++) {
      const base = quantizeNow(rest, type);
      const { A, B } = fromSingularValues({ rank, scaling: 1 }, svd(subtract(W, cast(base, "float32"))));
      if (turn === loftqIter) return { A, B, base };
      rest = subtract(W, matmul(B, A));
    }
  });
  return { A: new Parameter(A), B: new Parameter(B), base };
}

/** A strategy for each name; a number at the end of the name is its argument. */
const STARTS: Readonly<
  Record<NonNullable<ReturnType<typeof parseInit>>[0], (site: LoraSite, argument: number | null) => LoraStart>
> = {
  gaussian: (site) => ({ A: site.init.normal([site.rank, site.inFeatures], 1 / site.rank), B: zeroB(site) }),
  orthogonal,
  pissa: (site) => pissa(site, null),
  pissa_niter_: pissa,
  olora,
  loftq,
  eva: (site) => ({ A: uniformA(site), B: zeroB(site) }),
};

/** The start of that name. @throws {RangeError} if the rank does not fit the layer */
export function namedStart(value: Exclude<LoraInit, boolean>, site: LoraSite): LoraStart {
  const [name, argument] = parseInit(value)!;
  return STARTS[name](site, argument);
}

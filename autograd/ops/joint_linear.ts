/**
 * Linear layers of one input, plain or with a LoRA adapter each, in as few launches as the device allows:
 *   jointLinear:      y_i = x W_i + b_i + s_i (xd_i A_i^T) B_i^T, such as queries, keys and values;
 *   jointGatedLinear: y = f(gate) up of two such layers, the middle of a gated MLP.
 * Values and gradients are those of `linear` and `loraLinear`, to the bit: see there for the formulas. Where launches
 * cannot be shared (tiles, buffers, large operands), or cost less than what sharing them takes, these run instead.
 * @module
 */
import type { FusedActivationName } from "../../kernels/fused_activations.ts";
import { isWatched, record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import type { Tensor } from "../tensor.ts";
import { launchJoint } from "./_joint_matmul.ts";
import { checkLinear, checkLora, type LinearSizes, type WeightLayout } from "./_linear_call.ts";
import {
  biasGradient,
  droppedGradient,
  fits,
  forwardProduct,
  gateName,
  gradientOfA,
  gradientOfB,
  inputGradients,
  launchedBeside,
  lowRankGradient,
  lowRankInput,
  type Product,
  weightGradient,
} from "./_linear_products.ts";
import { gatedGradients } from "./gated_product.ts";
import { linear, type LinearOptions, loraLinear } from "./linear.ts";

/** A layer's LoRA adapter. */
export interface LoraTerm {
  /** [R, in] */
  readonly A: Tensor;
  /** [out, R] */
  readonly B: Tensor;
  /** Scaling. */
  readonly s: number;
  /** What it sees instead of x: x after dropout; null for x. */
  readonly xDropped: Tensor | null;
}

/** A linear layer. */
export interface LinearLayer {
  /** [out, in], or [in, out] by `layout`. */
  readonly weight: Tensor;
  /** [out], or null. */
  readonly bias: Tensor | null;
  /** How the weight is stored. */
  readonly layout: WeightLayout;
  /** Its adapter, or null. */
  readonly lora: LoraTerm | null;
}

type Named = Record<string, Tensor | null>;

/** What backward knows of a layer besides tensors. */
interface LayerFacts {
  readonly sizes: LinearSizes;
  readonly R: number;
  readonly s: number;
  readonly drops: boolean;
}

/**
 * Several linear layers of one input.
 * @param x [..., in]   @returns [..., out_i] of each layer, in order
 * @throws {TypeError} if a shape or dtype does not fit
 */
export function jointLinear(x: Tensor, layers: readonly LinearLayer[]): Tensor[] {
  const facts = factsOf(x, layers);
  if (!isJoint(x, facts)) return layers.map((layer) => alone(x, layer));
  const us = lowRankInputs(x, layers, facts);
  const products = layers.map((layer, i) =>
    forwardProduct(facts[i].sizes, { x, ...layer, learns: false }, extensionOf(layer, us[i]))
  );
  const outputs = launchedBeside(products);
  const { shape } = x;
  record("linear", {
    inputs: inputsOf(x, layers),
    saved: savedOf(x, layers, us),
    outputs,
    backward: ({ dys, ...context }) => gradients(facts, dys, shape, context),
  });
  for (const u of us) u?.dispose(); // the tape holds its own handles
  return outputs;
}

/**
 * activation(gate) up, of two linear layers of one input.
 * @param x [..., in]   @returns [..., out]
 * @throws {TypeError} if a shape or dtype does not fit, or the layers' sizes differ
 */
export function jointGatedLinear(
  x: Tensor,
  gate: LinearLayer,
  up: LinearLayer,
  activation: FusedActivationName,
): Tensor {
  const layers = [gate, up];
  const facts = factsOf(x, layers);
  const learns = wantsGrad(...Object.values(inputsOf(x, layers)));
  if (!isJoint(x, facts) || !fits(up.weight, up.bias, learns, up.lora ? 2 : 0)) {
    return alone(x, up, { gate: { activation, by: alone(x, gate) } });
  }
  const us = lowRankInputs(x, layers, facts);
  const first = forwardProduct(facts[0].sizes, { x, ...gate, learns: false }, extensionOf(gate, us[0]));
  const options = { x, ...up, gate: { activation, by: first.y }, learns };
  checkLinear(x, up.weight, up.bias, options);
  const second = forwardProduct(facts[1].sizes, options, extensionOf(up, us[1]));
  launchJoint(x.device, [first.call, second.call], "after");
  const { y, preActivation } = second;
  const { shape } = x;
  record("gatedLinear", {
    inputs: inputsOf(x, layers),
    saved: { ...savedOf(x, layers, us), gate: first.y, preActivation },
    outputs: [y],
    backward: ({ dy, saved, ...context }) => {
      const { dz, dgate } = gatedGradients(gateName({ activation }), saved.gate!, saved.preActivation!, dy);
      return gradients(facts, [dgate, dz], shape, { saved, ...context });
    },
  });
  for (const tensor of [...us, first.y, preActivation]) tensor?.dispose();
  return y;
}

function factsOf(x: Tensor, layers: readonly LinearLayer[]): LayerFacts[] {
  return layers.map(({ weight, bias, layout, lora }) => {
    const sizes = checkLinear(x, weight, bias, { layout });
    const R = lora ? checkLora(sizes, x, lora.A, lora.B, lora.xDropped) : 0;
    return { sizes, R, s: lora?.s ?? 1, drops: lora?.xDropped != null };
  });
}

/** Whether launches are worth sharing. Ops that are watched stay ops of their own, so that each can be named. */
function isJoint({ device }: Tensor, facts: readonly LayerFacts[]): boolean {
  const rows = facts[0]?.sizes.rows ?? 0;
  return facts.length > 1 && rows > 0 && rows <= device.profile.jointRows && !isWatched();
}

/** A layer by itself. */
function alone(
  x: Tensor,
  { weight, bias, layout, lora }: LinearLayer,
  options: Pick<LinearOptions, "gate"> = {},
): Tensor {
  if (!lora) return linear(x, weight, bias, { layout, ...options });
  const { A, B, s, xDropped } = lora;
  return loraLinear(x, weight, bias, A, B, s, { layout, xDropped, ...options });
}

/** u of each layer that has an adapter. */
function lowRankInputs(
  x: Tensor,
  layers: readonly LinearLayer[],
  facts: readonly LayerFacts[],
): (Tensor | null)[] {
  const products = layers.map(({ lora }, i) =>
    lora ? lowRankInput(facts[i].sizes, lora.xDropped ?? x, lora.A, lora.s) : null
  );
  launchedBeside(products.filter((product) => product !== null));
  return products.map((product) => product?.y ?? null);
}

function extensionOf({ lora }: LinearLayer, u: Tensor | null) {
  return lora && u ? { layout: "nt" as const, u, v: lora.B, R: lora.A.shape[0] } : undefined;
}

/** Operands by name and number, the last layer's first: gradients are added in the order of layers one after the other. */
function inputsOf(x: Tensor, layers: readonly LinearLayer[]): Named {
  const inputs: Named = { x };
  for (let i = layers.length - 1; i >= 0; i--) {
    const { weight, bias, lora } = layers[i];
    inputs[`weight${i}`] = weight;
    inputs[`bias${i}`] = bias;
    inputs[`A${i}`] = lora?.A ?? null;
    inputs[`B${i}`] = lora?.B ?? null;
    inputs[`xDropped${i}`] = lora?.xDropped ?? null;
  }
  return inputs;
}

/** What backward reads, by the same names. */
function savedOf(x: Tensor, layers: readonly LinearLayer[], us: readonly (Tensor | null)[]): Named {
  const saved: Named = {};
  layers.forEach(({ weight, lora }, i) => {
    const wantsInput = x.requiresGrad || lora?.xDropped?.requiresGrad === true;
    const readsX = weight.requiresGrad || lora !== null && !lora.xDropped && lora.A.requiresGrad;
    if (readsX) saved.x = x;
    saved[`weight${i}`] = x.requiresGrad ? weight : null;
    saved[`xDropped${i}`] = lora?.A.requiresGrad ? lora.xDropped : null;
    saved[`u${i}`] = lora?.B.requiresGrad ? us[i] : null;
    saved[`A${i}`] = lora && wantsInput ? lora.A : null;
    saved[`B${i}`] = lora && (lora.A.requiresGrad || wantsInput) ? lora.B : null;
  });
  return saved;
}

/** Gradients of all operands for those of the layers' results. */
function gradients(
  facts: readonly LayerFacts[],
  dzs: readonly (Tensor | null)[],
  shape: readonly number[],
  { saved, needs, arrived }: {
    readonly saved: Named;
    readonly needs: Readonly<Record<string, boolean>>;
    readonly arrived: (input: string) => Tensor | null;
  },
): Named {
  const result: Named = {};
  // The layers that a gradient came back for, the last one first.
  const given = facts.map((_, i) => i).filter((i) => dzs[i] !== null).reverse();
  const beside = (make: (i: number) => Product | null): [i: number, y: Tensor][] => {
    const products = given.map((i) => [i, make(i)] as const).filter(([, product]) => product !== null);
    launchedBeside(products.map(([, product]) => product!));
    return products.map(([i, product]) => [i, product!.y]);
  };
  const put = (name: string, make: (i: number) => Product | null) => {
    for (const [i, y] of beside((i) => needs[`${name}${i}`] ? make(i) : null)) result[`${name}${i}`] = y;
  };
  const lowRank = (i: number) => {
    const { sizes, R, s, drops } = facts[i];
    const wanted = R > 0 && (needs[`A${i}`] || needs.x && !drops || needs[`xDropped${i}`]);
    return wanted ? lowRankGradient(sizes, dzs[i]!, saved[`B${i}`]!, s) : null;
  };
  const dus = new Map(beside(lowRank));
  if (needs.x) {
    const sent = given.map((i) => {
      const { sizes, R, drops } = facts[i];
      const u = drops ? undefined : dus.get(i);
      const extension = u && { layout: "nn" as const, u, v: saved[`A${i}`]!, R };
      return { sizes, dz: dzs[i]!, weight: saved[`weight${i}`]!, extension };
    });
    result.x = inputGradients(sent, shape, arrived("x"));
  }
  put("weight", (i) => weightGradient(facts[i].sizes, saved.x!, dzs[i]!));
  put("A", (i) => gradientOfA(facts[i].sizes, dus.get(i)!, saved[`xDropped${i}`] ?? saved.x!));
  put("B", (i) => gradientOfB(facts[i].sizes, dzs[i]!, saved[`u${i}`]!));
  put("xDropped", (i) => droppedGradient(facts[i].sizes, dus.get(i)!, saved[`A${i}`]!, shape));
  for (const i of given) {
    if (needs[`bias${i}`]) result[`bias${i}`] = biasGradient(facts[i].sizes, dzs[i]!);
  }
  return result;
}

/**
 * The small GPT in jax-js (`@jax-js/jax`): the whole step in one `jit`, its fastest form. Embeddings go through one-hot
 * products, because the gradient of `take` does not work under `jit` in 0.1.25. Every function takes ownership of its
 * arguments, as jax-js asks; `.ref` keeps one for later.
 * @module
 */
import { defaultDevice, init, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { LEARNING_RATE } from "../gpt_cases.ts";
import {
  type GptTask,
  type HostTensor,
  LORA_SCALE,
  type OpTask,
  type Peer,
  type PreparedOp,
} from "./peer.ts";

type Tensor = np.Array;
type Weights = Record<string, Tensor>;

const toJax = ({ shape, data }: HostTensor): Tensor => np.array(data).reshape(shape);

function layerNorm(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  const mean = x.ref.mean(-1, { keepdims: true });
  const centred = x.sub(mean);
  const variance = centred.ref.mul(centred.ref).mean(-1, { keepdims: true });
  return centred.div(np.sqrt(variance.add(1e-5))).mul(weight).add(bias);
}

function geluNew(x: Tensor): Tensor {
  const inner = x.ref.add(x.ref.mul(x.ref).mul(x.ref).mul(0.044715)).mul(Math.sqrt(2 / Math.PI));
  return x.mul(0.5).mul(np.tanh(inner).add(1));
}

/** The mean loss; consumes every weight and input. */
function makeLoss(
  task: GptTask,
): (trained: Weights, frozen: Weights, tokens: Tensor, targets: Tensor, mask: Tensor) => Tensor {
  const { width, layers, heads, ids } = task;
  const [B, T] = [ids.length, ids[0].length];
  const D = width / heads;
  return (trained, frozen, tokens, targets, mask) => {
    const w: Weights = { ...frozen, ...trained };
    const norm = (x: Tensor, name: string) => layerNorm(x, w[`${name}.weight`], w[`${name}.bias`]);
    const project = (x: Tensor, name: string) => np.matmul(x, w[`${name}.weight`]).add(w[`${name}.bias`]);
    const split = (x: Tensor, part: number) =>
      // [B T, 3 C] to [B, H, T, D]
      x.slice([], [part * width, (part + 1) * width]).reshape([B, T, heads, D]).transpose([0, 2, 1, 3]);
    const adapt = (x: Tensor, name: string) => {
      const low = np.matmul(x, w[`${name}.lora_A`].transpose());
      return np.matmul(low, w[`${name}.lora_B`].transpose()).mul(LORA_SCALE);
    };
    let x = np.matmul(tokens, w["wte.weight"].ref).reshape([B, T, width]).add(w["wpe.weight"])
      .reshape([B * T, width]);
    for (let layer = 0; layer < layers; layer++) {
      const name = `h.${layer}`;
      const h = norm(x.ref, `${name}.ln_1`);
      const c = `${name}.attn.c_attn`;
      const qkv = task.lora ? project(h.ref, c).add(adapt(h, c)) : project(h, c);
      const [q, k, v] = [split(qkv.ref, 0), split(qkv.ref, 1), split(qkv, 2)];
      const scores = np.matmul(q, k.transpose([0, 1, 3, 2])).mul(1 / Math.sqrt(D)).add(mask.ref);
      const o = np.matmul(nn.softmax(scores, -1), v).transpose([0, 2, 1, 3]).reshape([B * T, width]);
      x = x.add(project(o, `${name}.attn.c_proj`));
      const m = geluNew(project(norm(x.ref, `${name}.ln_2`), `${name}.mlp.c_fc`));
      x = x.add(project(m, `${name}.mlp.c_proj`));
    }
    mask.dispose();
    const logits = np.matmul(norm(x, "ln_f"), w["wte.weight"].transpose());
    return nn.logSoftmax(logits, -1).mul(targets).sum().mul(-1 / (B * (T - 1)));
  };
}

async function train(task: GptTask): Promise<{ step(): Promise<number>; dispose(): void }> {
  const { ids, vocabSize } = task;
  const [B, T] = [ids.length, ids[0].length];
  const tokens = new Float32Array(B * T * vocabSize);
  const targets = new Float32Array(B * T * vocabSize);
  ids.forEach((row, b) =>
    row.forEach((id, t) => {
      tokens[(b * T + t) * vocabSize + id] = 1;
      if (t > 0) targets[(b * T + t - 1) * vocabSize + id] = 1;
    })
  );
  const mask = Float32Array.from({ length: T * T }, (_, i) => i % T > Math.floor(i / T) ? -1e9 : 0);
  const inputs = [
    toJax({ shape: [B * T, vocabSize], data: tokens }),
    toJax({ shape: [B * T, vocabSize], data: targets }),
    toJax({ shape: [T, T], data: mask }),
  ] as const;
  const trained: Weights = {};
  const frozen: Weights = {};
  for (const [name, weight] of task.weights) {
    (task.lora && !name.includes("lora_") ? frozen : trained)[name] = toJax(weight);
  }
  const zeros = () =>
    Object.fromEntries(Object.entries(trained).map(([n, w]) => [n, np.zeros([...w.shape])]));
  let state: Weights[] = [trained, zeros(), zeros()];
  const lossAndGrad = valueAndGrad(makeLoss(task));
  const update = jit((
    p: Weights,
    m: Weights,
    v: Weights,
    base: Weights,
    size: Tensor,
    root: Tensor,
    tokens: Tensor,
    targets: Tensor,
    mask: Tensor,
  ): [Tensor, Weights, Weights, Weights] => {
    const [loss, grads] = lossAndGrad(tree.ref(p), base, tokens, targets, mask) as [Tensor, Weights];
    const next: [Weights, Weights, Weights] = [{}, {}, {}];
    for (const name of Object.keys(p)) {
      const g = grads[name];
      const m1 = m[name].mul(0.9).add(g.ref.mul(0.1));
      const v1 = v[name].mul(0.999).add(g.ref.mul(g).mul(0.001));
      const step = m1.ref.div(np.sqrt(v1.ref).div(root.ref).add(1e-8)).mul(size.ref);
      next[0][name] = p[name].sub(step);
      next[1][name] = m1;
      next[2][name] = v1;
    }
    size.dispose();
    root.dispose();
    return [loss, ...next];
  });
  let t = 0;
  return await Promise.resolve({
    async step() {
      t++;
      const size = np.array([LEARNING_RATE / (1 - 0.9 ** t)]);
      const root = np.array([Math.sqrt(1 - 0.999 ** t)]);
      const [a, b, c] = inputs;
      const [loss, ...next] = update(
        state[0],
        state[1],
        state[2],
        tree.ref(frozen),
        size,
        root,
        a.ref,
        b.ref,
        c.ref,
      );
      state = next;
      return (await loss.data())[0];
    },
    dispose() {
      for (const owner of [...state, frozen]) tree.dispose(owner);
      for (const input of inputs) input.dispose();
      update.dispose();
    },
  });
}

function prepare({ kind, inputs, repeat }: OpTask): Promise<PreparedOp> {
  const tensors = inputs.map(toJax);
  const op = jit((...xs: Tensor[]): Tensor => {
    if (kind === "matmul") return np.matmul(xs[0], xs[1]);
    return kind === "softmax" ? nn.softmax(xs[0], -1) : layerNorm(xs[0], xs[1], xs[2]);
  });
  const once = () => op(...tensors.map((tensor) => tensor.ref));
  return Promise.resolve({
    result: () => once().data(),
    async run() {
      const results = Array.from({ length: repeat }, once);
      await Promise.all(results.map((result) => result.blockUntilReady())); // lazy: all must be asked for
      for (const result of results) result.dispose();
    },
    dispose() {
      for (const tensor of tensors) tensor.dispose();
      op.dispose();
    },
  });
}

/** jax-js on WebGPU. */
export async function openJax(): Promise<Peer> {
  await init("webgpu");
  defaultDevice("webgpu");
  return { name: "jax-js 0.1.25", train, prepare };
}

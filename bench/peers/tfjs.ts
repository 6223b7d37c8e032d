/**
 * The small GPT in tfjs with its WebGPU backend: eager ops, `tf.train.adam`.
 * @module
 */
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import { LEARNING_RATE } from "../gpt_cases.ts";
import {
  type GptTask,
  type HostTensor,
  LORA_SCALE,
  type OpTask,
  type Peer,
  type PreparedOp,
} from "./peer.ts";

const toTf = ({ shape, data }: HostTensor): tf.Tensor => tf.tensor(data, shape);

function layerNorm(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor): tf.Tensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
}

function geluNew(x: tf.Tensor): tf.Tensor {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

function makeLoss(task: GptTask, weights: ReadonlyMap<string, tf.Tensor>): () => tf.Scalar {
  const { ids, width, layers, heads, vocabSize } = task;
  const [B, T] = [ids.length, ids[0].length];
  const tokens = tf.tensor1d(ids.flat(), "int32");
  const labels = ids.flatMap((row) => [...row.slice(1), -1]); // -1: no token, a row of zeros
  const targets = tf.keep(tf.oneHot(tf.tensor1d(labels, "int32"), vocabSize).toFloat());
  const mask = tf.tensor2d(
    Float32Array.from({ length: T * T }, (_, i) => i % T > Math.floor(i / T) ? -1e9 : 0),
    [T, T],
  );
  const w = (name: string) => weights.get(name)!;
  const norm = (x: tf.Tensor, name: string) => layerNorm(x, w(`${name}.weight`), w(`${name}.bias`));
  const project = (x: tf.Tensor, name: string) =>
    tf.add(tf.matMul(x, w(`${name}.weight`)), w(`${name}.bias`));
  const adapt = (x: tf.Tensor, name: string) =>
    tf.mul(
      tf.matMul(tf.matMul(x, w(`${name}.lora_A`), false, true), w(`${name}.lora_B`), false, true),
      LORA_SCALE,
    );
  const head = (x: tf.Tensor) => tf.transpose(tf.reshape(x, [B, T, heads, width / heads]), [0, 2, 1, 3]);
  return () => {
    const embedded = tf.reshape(tf.gather(w("wte.weight"), tokens), [B, T, width]);
    let x: tf.Tensor = tf.reshape(tf.add(embedded, w("wpe.weight")), [B * T, width]);
    for (let layer = 0; layer < layers; layer++) {
      const name = `h.${layer}`;
      const h = norm(x, `${name}.ln_1`);
      const c = `${name}.attn.c_attn`;
      const qkv = task.lora ? tf.add(project(h, c), adapt(h, c)) : project(h, c);
      const [q, k, v] = tf.split(qkv, 3, 1).map(head);
      const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(width / heads)), mask);
      const o = tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]), [B * T, width]);
      x = tf.add(x, project(o, `${name}.attn.c_proj`));
      const m = geluNew(project(norm(x, `${name}.ln_2`), `${name}.mlp.c_fc`));
      x = tf.add(x, project(m, `${name}.mlp.c_proj`));
    }
    const logits = tf.matMul(norm(x, "ln_f"), w("wte.weight"), false, true);
    return tf.mul(tf.sum(tf.mul(tf.logSoftmax(logits), targets)), -1 / (B * (T - 1))) as tf.Scalar;
  };
}

async function train(task: GptTask): Promise<{ step(): Promise<number>; dispose(): void }> {
  const variables: tf.Variable[] = [];
  const weights = new Map<string, tf.Tensor>();
  for (const [name, weight] of task.weights) {
    if (task.lora && !name.includes("lora_")) weights.set(name, toTf(weight));
    else {
      const variable = tf.variable(toTf(weight), true);
      variables.push(variable);
      weights.set(name, variable);
    }
  }
  const loss = makeLoss(task, weights);
  const optimizer = tf.train.adam(LEARNING_RATE, 0.9, 0.999, 1e-8);
  return await Promise.resolve({
    async step() {
      const value = optimizer.minimize(loss, true, variables)!;
      const [number] = await value.data();
      value.dispose();
      return number;
    },
    dispose() {
      optimizer.dispose();
      for (const weight of weights.values()) weight.dispose();
    },
  });
}

function prepare({ kind, inputs, repeat }: OpTask): Promise<PreparedOp> {
  const xs = inputs.map(toTf);
  const once = (): tf.Tensor =>
    tf.tidy(() => {
      if (kind === "matmul") return tf.matMul(xs[0], xs[1]);
      return kind === "softmax" ? tf.softmax(xs[0]) : layerNorm(xs[0], xs[1], xs[2]);
    });
  return Promise.resolve({
    result: () => once().data(),
    async run() {
      const results = Array.from({ length: repeat }, once);
      const corner = tf.slice(results.at(-1)!, [0, 0], [1, 1]); // the queue is in order: all are done with the last
      await corner.data();
      for (const result of [...results, corner]) result.dispose();
    },
    dispose() {
      for (const x of xs) x.dispose();
    },
  });
}

/** tfjs on WebGPU. @throws {Error} if the backend does not start */
export async function openTfjs(): Promise<Peer> {
  if (!await tf.setBackend("webgpu")) throw new Error("Cannot time tfjs: its WebGPU backend does not start");
  await tf.ready();
  return { name: "tfjs 4.22.0", train, prepare };
}

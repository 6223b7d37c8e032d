/**
 * Our library and the other TypeScript libraries that train on WebGPU, in one run on one adapter: the same GPT from the
 * same weights, the same products and row ops. Losses and results are compared before times are believed; the libraries
 * take turns, several rounds, and medians are printed.
 * Run: deno task bench:peers [--rounds 3] [--steps 8] [--json FILE]
 * @module
 */
import { empty, layerNorm, softmax, Tensor } from "../../autograd/mod.ts";
import { launchMatmul } from "../../autograd/ops/_matmul.ts";
import { type Device, initDevice } from "../../gpu/mod.ts";
import {
  checkResult,
  formatTable,
  jsonPath,
  median,
  randomValues,
  type Row,
  sampleIndices,
} from "../harness.ts";
import { exportTask, type HostTensor, type OpTask, ourStep, type Peer, type PreparedOp } from "./peer.ts";

/** Steps over which losses are compared; jax-js and tfjs stay within 1e-4 of each other over 24. */
const COMPARED_STEPS = 24;
/** Largest difference of losses. */
const LOSS_TOLERANCE = 2e-3;

function numberAfter(args: readonly string[], flag: string, fallback: number): number {
  const at = args.indexOf(flag);
  return at < 0 ? fallback : Number(args[at + 1]);
}

const host = (shape: number[], seed: number): HostTensor => ({
  shape,
  data: randomValues(shape.reduce((a, b) => a * b, 1), seed),
});

const OPS: readonly OpTask[] = [
  {
    name: "matmul 1024^3",
    kind: "matmul",
    inputs: [host([1024, 1024], 1), host([1024, 1024], 2)],
    repeat: 2,
  },
  {
    name: "matmul 512x768x3072",
    kind: "matmul",
    inputs: [host([512, 768], 1), host([768, 3072], 2)],
    repeat: 2,
  },
  { name: "softmax [512, 768]", kind: "softmax", inputs: [host([512, 768], 3)], repeat: 20 },
  {
    name: "layer norm [512, 768]",
    kind: "layerNorm",
    inputs: [host([512, 768], 3), host([768], 4), host([768], 5)],
    repeat: 20,
  },
];

/** The float64 value of an element of an op's result. */
function reference({ kind, inputs }: OpTask): (index: number) => number {
  const [{ data: x, shape: [, C] }, second, third] = inputs;
  if (kind === "matmul") {
    const N = second.shape[1];
    return (at) => {
      const row = Math.floor(at / N) * C;
      let sum = 0;
      for (let k = 0; k < C; k++) sum += x[row + k] * second.data[k * N + at % N];
      return sum;
    };
  }
  return (at) => {
    const row = [...x.subarray(Math.floor(at / C) * C, Math.floor(at / C) * C + C)];
    if (kind === "softmax") return Math.exp(row[at % C]) / row.reduce((sum, v) => sum + Math.exp(v), 0);
    const mean = row.reduce((a, b) => a + b, 0) / C;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / C;
    return (row[at % C] - mean) / Math.sqrt(variance + 1e-5) * second.data[at % C] + third.data[at % C];
  };
}

/** Our library as a peer. */
function ours(device: Device): Peer {
  return {
    name: "@peft/webgpu",
    train: (task) => {
      const step = ourStep(device, task.lora);
      return Promise.resolve({ step: () => step.run(), dispose: () => step.dispose() });
    },
    prepare({ kind, inputs, repeat }): Promise<PreparedOp> {
      const xs = inputs.map(({ shape, data }) => Tensor.from(data, { device, shape }));
      const once = () => {
        if (kind === "softmax") return softmax(xs[0]);
        if (kind === "layerNorm") return layerNorm(xs[0], xs[1], xs[2]);
        const [[M, K], [, N]] = [xs[0].shape, xs[1].shape];
        const y = empty(device, [M, N]);
        const [a, b] = [{ tensor: xs[0], ld: K }, { tensor: xs[1], ld: N }];
        launchMatmul(device, { layout: "nn", M, N, K, a, b, y: { tensor: y, ld: N } });
        return y;
      };
      return Promise.resolve({
        async result() {
          const y = once();
          const data = await y.data();
          y.dispose();
          return data;
        },
        async run() {
          for (let i = 0; i < repeat; i++) once().dispose();
          await device.sync();
        },
        dispose: () => xs.forEach((x) => x.dispose()),
      });
    },
  };
}

/** Opens the peers; one that fails is reported and left out. */
async function openPeers(device: Device): Promise<Peer[]> {
  const peers = [ours(device)];
  const openers = {
    "jax-js": async () => (await import("./jax.ts")).openJax(),
    tfjs: async () => (await import("./tfjs.ts")).openTfjs(),
  };
  for (const [name, open] of Object.entries(openers)) {
    try {
      peers.push(await open());
    } catch (error) {
      console.log(`${name} cannot be timed: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return peers;
}

/** The small GPT, every library in turn. */
async function benchTraining(device: Device, peers: Peer[], lora: boolean, rounds: number, steps: number) {
  const task = await exportTask(device, lora);
  const running = [];
  const first = new Map<string, number>();
  const losses = new Map<string, number[]>();
  for (const peer of peers) {
    try {
      const training = await peer.train(task);
      const start = performance.now();
      const values = [await training.step()];
      first.set(peer.name, performance.now() - start);
      while (values.length < COMPARED_STEPS) values.push(await training.step());
      losses.set(peer.name, values);
      const own = losses.get(peers[0].name)!;
      const apart = Math.max(...values.map((value, i) => Math.abs(value - own[i])));
      if (!(apart <= LOSS_TOLERANCE)) {
        console.log(
          `${peer.name} is not timed: its losses differ by ${apart} (${values.slice(0, 3).join(", ")})`,
        );
        continue;
      }
      running.push({ peer, training, apart, times: [] as number[] });
    } catch (error) {
      console.log(`${peer.name} cannot train: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const { training, times } of running) {
      for (let i = 0; i < steps; i++) {
        const start = performance.now();
        await training.step();
        times.push(performance.now() - start);
      }
    }
  }
  const own = median(running[0].times);
  return running.map(({ peer, training, apart, times }): Row => {
    training.dispose();
    const values = losses.get(peer.name)!;
    return {
      library: peer.name,
      ms: median(times),
      "times ours": median(times) / own,
      "first ms": first.get(peer.name)!,
      loss: `${values[0].toFixed(4)} -> ${values.at(-1)!.toFixed(4)}`,
      "losses apart": apart.toExponential(1),
    };
  });
}

/** One op, every library in turn. */
async function benchOp(device: Device, peers: Peer[], task: OpTask, rounds: number): Promise<Row[]> {
  const expected = reference(task);
  const size = task.kind === "matmul" ? task.inputs[0].shape[0] * task.inputs[1].shape[1] : 512 * 768;
  const running = [];
  for (const peer of peers) {
    const op = await peer.prepare(task);
    try {
      checkResult(`${task.name} of ${peer.name}`, await op.result(), sampleIndices(size, 50), expected, 1e-3);
      await op.run();
      running.push({ peer, op, times: [] as number[] });
    } catch (error) {
      console.log((error as Error).message.split("\n")[0]);
    }
  }
  const waits: number[] = [];
  for (let round = 0; round < 3 * rounds; round++) {
    let start = performance.now();
    await device.sync();
    waits.push(performance.now() - start);
    for (const { op, times } of running) {
      start = performance.now();
      await op.run();
      times.push(performance.now() - start);
    }
  }
  return running.map(({ peer, op, times }) => {
    op.dispose();
    const ms = Math.max(1e-3, median(times) - median(waits)) / task.repeat;
    const row: Row = { op: task.name, library: peer.name, ms };
    if (task.kind !== "matmul") return row;
    return { ...row, "GFLOP/s": 2 * size * task.inputs[0].shape[1] / ms / 1e6 };
  });
}

async function main(args: readonly string[]): Promise<void> {
  const path = jsonPath(args);
  const [rounds, steps] = [numberAfter(args, "--rounds", 3), numberAfter(args, "--steps", 8)];
  const device = await initDevice();
  console.log(
    `adapter: ${device.adapterName}; Deno ${Deno.version.deno}; load ${Deno.loadavg()[0].toFixed(1)}`,
  );
  const peers = await openPeers(device);
  const tables: Record<string, Row[]> = {};
  const report = {
    date: new Date().toISOString(),
    adapter: device.adapterName,
    load: Deno.loadavg(),
    tables,
  };
  const add = async (title: string, rows: Row[]) => {
    tables[title] = [...tables[title] ?? [], ...rows];
    console.log(`\n${title}\n${formatTable(rows)}`);
    if (path) await Deno.writeTextFile(path, `${JSON.stringify(report, null, 1)}\n`);
  };
  await add("Step, all weights", await benchTraining(device, peers, false, rounds, steps));
  await add("Step, LoRA r=8 on c_attn", await benchTraining(device, peers, true, rounds, steps));
  for (const task of OPS) await add(task.name, await benchOp(device, peers, task, rounds));
}

if (import.meta.main) {
  await main(Deno.args);
  Deno.exit(0); // a peer's own timers would keep the process
}

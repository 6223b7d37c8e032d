/**
 * Kills processes of trainings on several machines at random moments (SIGKILL), the one that began and the broker among
 * them, and compares the adapter with that of an undisturbed training: of one process, or with gradients as float16 of a
 * beginner that is alone. It must be the same to the bit. No test of the suite: it takes minutes.
 * Usage: deno run -A tests/distributed/kill_nodes.ts [kills, default 30] [seed, default 1] [compression, default none]
 * @module
 */

import { HostRandom } from "@peft/webgpu/tensor";
import { assertEquals } from "@std/assert";
import { NatsServer, pause } from "./nats_server.ts";
import { adapterOf, FinetuneProcess, runFinetune, writeTinyTraining } from "./tiny_nodes.ts";
import { until, WorkerProcess } from "./tiny_sweep.ts";

const NODES = 3;
const STEPS = 200;

const [kills = 30, seed = 1] = Deno.args.slice(0, 2).map(Number);
const [, , compression = "none"] = Deno.args;
const random = new HostRandom(seed);
const folder = await Deno.makeTempDir({ prefix: "peft_kills_" });
const begun = performance.now();
const { model, args } = await writeTinyTraining(folder, STEPS);
await using server = await NatsServer.start();
const nodes = ["--nodes", `${NODES}`, "--queue", server.url, "--gradient-compression", compression];
const undisturbed = compression === "none" ? ["--accumulation", `${NODES}`] : [...nodes, "--ack-wait", "2"];
await runFinetune(...args, ...undisturbed, "--output", `${folder}/alone`);
const expected = await adapterOf(`${folder}/alone`);

const logs: string[] = [];
const start = () => new WorkerProcess("--queue", server.url, "--allow-model", model);
const workers = Array.from({ length: NODES - 1 }, start);
const killed = { workers: 0, beginners: 0, brokers: 0 };
const total = () => killed.workers + killed.beginners + killed.brokers;
let trainings = 0;

/** Trains among kills, and compares the adapter. */
async function runDisturbed(name: string): Promise<void> {
  const output = `${folder}/${name}`;
  const flags = [...nodes, "--ack-wait", "2", "--output", output];
  let isDone = false;
  let code: number | null = null;
  const begin = (...more: string[]) => {
    const process = new FinetuneProcess(...args, ...flags, ...more);
    void process.status().then((status) => {
      if (status.signal !== null) return;
      [isDone, code] = [true, status.code];
      logs.push(process.text);
    });
    return process;
  };
  let beginner = begin();
  await until("training begins", () => /trainable params/.test(beginner.text));
  while (!isDone && total() < kills) {
    await pause(1000 + 5000 * random.uniform());
    const victim = random.integer(NODES + 1);
    if (isDone) break;
    if (victim === NODES) {
      await server.stop();
      await pause(2000 * random.uniform());
      await server.begin();
      killed.brokers++;
      continue;
    }
    if (victim < workers.length) {
      await workers[victim].end("SIGKILL");
      logs.push(workers[victim].text);
      workers[victim] = start();
      killed.workers++;
    } else {
      const { signal } = await beginner.end("SIGKILL");
      if (signal === null) break; // it had ended
      logs.push(beginner.text);
      beginner = begin("--resume");
      killed.beginners++;
    }
  }
  await until("training ends", () => isDone, 300);
  assertEquals(code, 0, beginner.text);
  assertEquals(await adapterOf(output), expected, `${name} is as if nobody had disturbed it`);
  console.log(`${name}: the adapter of the undisturbed training, to the bit; ${total()} kills so far`);
}

try {
  while (total() < kills) await runDisturbed(`disturbed-${++trainings}`);
} finally {
  for (const worker of workers) {
    await worker.end("SIGTERM");
    logs.push(worker.text);
  }
  await Deno.remove(folder, { recursive: true });
}
const count = (pattern: RegExp) => logs.join("\n").match(pattern)?.length ?? 0;
console.log(
  `${killed.workers} workers, ${killed.beginners} beginners and ${killed.brokers} brokers killed, in ${trainings} trainings of ${STEPS} steps by ` +
    `${NODES} nodes: ${count(/this worker is a node/g)} times a worker became a node, ` +
    `${count(/is computed here too/g)} shares were taken over, ${
      count(/continuing from/g)
    } beginners went on from a ` +
    `checkpoint; ${((performance.now() - begun) / 1000).toFixed(0)} s`,
);

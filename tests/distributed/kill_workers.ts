/**
 * Kills workers of sweeps at random moments (SIGKILL), and the broker now and then, and compares what comes out with a
 * sweep that nobody disturbed: no trial may be lost or end twice, and numbers, curves and the adapter must be the same to
 * the bit. No test of the suite: it takes minutes.
 * Usage: deno run -A tests/distributed/kill_workers.ts [kills, default 50] [seed, default 1]
 * @module
 */

import { HostRandom } from "@peft/webgpu/tensor";
import { assertEquals } from "@std/assert";
import { NatsServer, pause } from "./nats_server.ts";
import { outcomeOf, resultsOf, runSweep, WorkerProcess, writeTinySweep } from "./tiny_sweep.ts";

const WORKERS = 3;
/** Kills between two of the broker. */
const BROKER_EVERY = 10;

const [kills = 50, seed = 1] = Deno.args.map(Number);
const random = new HostRandom(seed);
const folder = await Deno.makeTempDir({ prefix: "peft_kills_" });
const spec = (name: string) => ({
  ...{ name, method: "grid" },
  parameters: { lr: { values: [1e-3, 1e-2, 5e-2] }, rank: { values: [2, 4] } },
});
const STEPS = 120;
const length = { "max-steps": STEPS, "save-steps": 5 };
const begun = performance.now();

const { model, file } = await writeTinySweep(folder, spec("undisturbed"), length);
await runSweep("--file", file, "--output", `${folder}/undisturbed`);
const expected = await outcomeOf(`${folder}/undisturbed`);
const trials = (await resultsOf(`${folder}/undisturbed`)).length;
console.log(`undisturbed: ${((performance.now() - begun) / 1000).toFixed(0)} s for ${trials} trials`);

await using server = await NatsServer.start();
const logs: string[] = [];
const workers: WorkerProcess[] = [];
const start = () =>
  new WorkerProcess("--queue", server.url, "--allow-model", model, "--work", `${folder}/work`);
let killed = 0;
let brokerKills = 0;
let sweeps = 0;
let starts = 0;

/** Kills a worker, and now and then the broker, and starts them again. */
async function disturb(): Promise<void> {
  const place = random.integer(WORKERS);
  await workers[place].end("SIGKILL");
  logs.push(workers[place].text);
  killed++;
  if (killed % BROKER_EVERY === 0) {
    await server.stop();
    await pause(2000 * random.uniform());
    await server.begin();
    brokerKills++;
  }
  workers[place] = start();
}

/** Runs a sweep among kills, and compares it with the undisturbed one. */
async function runDisturbed(name: string): Promise<void> {
  await writeTinySweep(folder, spec(name), length);
  const output = `${folder}/${name}`;
  let isDone = false;
  const safe = ["--ack-wait", "5", "--max-starts", "1000"]; // workers die more often here than they make a checkpoint
  const running = runSweep("--file", file, "--output", output, "--queue", server.url, ...safe);
  const ended = running.finally(() => isDone = true);
  ended.catch(() => {});
  while (!isDone && killed < kills) {
    await pause(1000 + 6000 * random.uniform());
    if (!isDone) await disturb();
  }
  await ended;
  assertEquals(await outcomeOf(output), expected, `${name} is as if nobody had disturbed it`);
  const results = await resultsOf(output);
  assertEquals(results.length, trials);
  starts += results.reduce((sum, one) => sum + one.starts, 0);
  const times = results.map((one) => one.starts).join(", ");
  console.log(`${name}: as undisturbed; ${killed} kills so far, trials begun ${times} times`);
}

try {
  for (let i = 0; i < WORKERS; i++) workers.push(start());
  while (killed < kills) await runDisturbed(`disturbed-${++sweeps}`);
} finally {
  for (const worker of workers) {
    await worker.end("SIGTERM");
    logs.push(worker.text);
  }
  await Deno.remove(folder, { recursive: true });
}
const count = (pattern: RegExp) => logs.join("\n").match(pattern)?.length ?? 0;
const ends = count(new RegExp(`^trial \\d+: step ${STEPS}, `, "gm"));
const handovers = count(/^trial \d+: goes on from step \d+/gm);
console.log(
  `${killed} workers killed, the broker ${brokerKills} times, in ${sweeps} sweeps of ${trials} trials: ${starts} starts, ` +
    `${handovers} of them from another's checkpoint; ${ends} ends were told for ${
      sweeps * trials
    } results; ` +
    `${((performance.now() - begun) / 1000).toFixed(0)} s`,
);
if (ends > sweeps * trials) throw new Error("a trial ended twice");

/**
 * Trainings on several machines whose broker fails in the middle: no step is lost, and what is trained is what an
 * undisturbed training trains, to the bit.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HostRandom } from "@peft/webgpu/tensor";
import { ForgottenSharesError, JetStreamBroker, LocalBroker, readRecords } from "@peft/webgpu/distributed";
import { BehindError, NodeGradients } from "../../jobs/nodes/node_gradients.ts";
import { openTraining, placeOf, TRAININGS } from "../../jobs/nodes/protocol.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer, pause } from "./nats_server.ts";
import { adapterOf, FinetuneProcess, runFinetune, writeTinyTraining } from "./tiny_nodes.ts";
import { SweepProcess, until, WorkerProcess, writeTinyModel } from "./tiny_sweep.ts";

/** The newest checkpoint that a broker keeps of a training; 0 while there is none. */
async function newestStep(broker: JetStreamBroker, name: string): Promise<number> {
  const store = await broker.objects(placeOf(name), { mustExist: true }).catch(() => null);
  return store === null ? 0 : (await new TrialStore(store, 0).steps()).at(-1) ?? 0;
}

Deno.test("a node whose share of the step before is lost begins once more from the newest checkpoint, and then says so", async () => {
  const broker = new LocalBroker();
  const [store, alive] = [await broker.objects("run"), await broker.records("alive")];
  const checkpoints = new TrialStore(store, 0);
  const node = new NodeGradients({
    ...{ store, alive, holder: "p", shares: 1, compression: "float16", say: () => {} },
  }, checkpoints);
  const compute = () => Promise.resolve({ bytes: Uint8Array.of(1), residual: Uint8Array.of(2) });
  await node.exchange(1, [0], compute);
  await node.exchange(2, [0], compute);
  await assertRejects(() => node.exchange(4, [0], compute), BehindError, "what rounding left of step 3");
  await node.exchange(3, [0], compute); // from a checkpoint of step 2
  await node.exchange(4, [0], compute);
  await assertRejects(() => node.exchange(6, [0], compute), BehindError);
  await assertRejects(() => node.exchange(6, [0], compute), ForgottenSharesError);
  await store.put("trial-0/checkpoints/checkpoint-8/manifest.json", Uint8Array.of(1));
  await assertRejects(() => node.exchange(7, [0], compute), BehindError, "a checkpoint of step 8 is there");
  await node.leave();
});

Deno.test({
  name:
    "NATS: a broker that is killed several times while nodes train loses no step: gradients as float16 are the undisturbed ones, to the bit",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 80);
      await using server = await NatsServer.start();
      const queue = ["--queue", server.url, "--gradient-compression", "float16"];
      const flags = [...args, "--nodes", "2", ...queue];
      await runFinetune(...flags, "--ack-wait", "1", "--output", `${folder}/undisturbed`);

      const worker = new WorkerProcess("--queue", server.url, "--allow-model", model);
      const beginner = new FinetuneProcess(...flags, "--ack-wait", "20", "--output", `${folder}/nodes`);
      await until("the worker is a node", () => /this worker is a node/.test(worker.text));
      await until("nodes train", () => /step [1-9]\d*\/80/.test(beginner.text));
      const random = new HostRandom(7);
      let kills = 0;
      for (; kills < 4 && !/80 steps/.test(beginner.text); kills++) {
        await server.stop();
        await pause(kills === 1 ? 3000 : 50);
        await server.begin();
        await pause(1500 + 1000 * random.uniform());
      }
      assert(kills > 1, beginner.text);
      assertEquals((await beginner.status()).code, 0, beginner.text);
      assertMatch(beginner.text, /80 steps, mean loss/);
      assertEquals(await adapterOf(`${folder}/nodes`), await adapterOf(`${folder}/undisturbed`));
      await until("the worker is free", () => /training "nodes" is over/.test(worker.text));
      const [, computed] = /is over: (\d+) shares/.exec(worker.text)!;
      assert(Number(computed) >= 20, worker.text);
      assertEquals((await worker.end("SIGTERM")).code, 0, worker.text);
      const broker = await JetStreamBroker.connect({ url: server.url });
      assertEquals(await (await broker.records(TRAININGS)).keys(), [], "nothing is left");
      await broker.close();
    }),
});

Deno.test({
  name:
    "NATS: Ctrl-C ends nodes and a sweep within five seconds while the broker is away; with --resume the training is that of one process",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 120);
      await runFinetune(...args, "--accumulation", "2", "--output", `${folder}/alone`);
      await using server = await NatsServer.start();
      const file = `${folder}/away.yaml`;
      const finetune = { model, data: `${folder}/train.jsonl`, "max-steps": 5000 };
      const parameters = { lr: { values: [1e-3] } };
      await Deno.writeTextFile(file, JSON.stringify({ method: "grid", finetune, parameters }));
      const queue = ["--queue", server.url];
      const sweep = new SweepProcess(file, ...queue, "--output", `${folder}/sweep`);
      await until("the sweep has begun", () => /for workers at/.test(sweep.text));
      const nodes = [...args, "--nodes", "2", ...queue, "--ack-wait", "2", "--output", `${folder}/nodes`];
      const beginner = new FinetuneProcess(...nodes);
      await until("nodes train", () => /step [1-9]\d*\/120/.test(beginner.text));
      const worker = new WorkerProcess(...queue, "--allow-model", model);
      await until("the worker has a trial", () => /trial 0: begins/.test(worker.text));

      await server.stop();
      await pause(2000);
      for (const [process, wanted] of [[beginner, 130], [worker, 0], [sweep, 130]] as const) {
        const began = performance.now();
        const { code } = await process.end("SIGINT");
        const seconds = (performance.now() - began) / 1000;
        assertEquals(code, wanted, process.text);
        assert(seconds < 5, `${seconds} s: ${process.text}`);
      }
      assertMatch(beginner.text, /stopped after step \d+; checkpoint written to .+ stays on the broker/);
      assert(!/training goes on/.test(beginner.text), beginner.text);
      assertMatch(worker.text, /trial 0: the broker does not get this checkpoint: /);
      assert(!/trial 0 goes on/.test(worker.text), worker.text);

      await server.begin();
      const again = new FinetuneProcess(...nodes, "--resume");
      assertEquals((await again.status()).code, 0, again.text);
      assertEquals(await adapterOf(`${folder}/nodes`), await adapterOf(`${folder}/alone`));
    }),
});

Deno.test({
  name:
    "NATS: where the broker's store is full, nodes wait and say so; once there is room they go on, and the adapter is that of one process",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 60);
      await runFinetune(...args, "--accumulation", "2", "--output", `${folder}/alone`);
      await using server = await NatsServer.start(
        `jetstream { store_dir: "FOLDER/store", max_file_store: 3MB }`,
      );
      const broker = await JetStreamBroker.connect({ url: server.url });
      const worker = new WorkerProcess("--queue", server.url, "--allow-model", model);
      const nodes = ["--nodes", "2", "--queue", server.url, "--ack-wait", "20"];
      const beginner = new FinetuneProcess(...args, ...nodes, "--output", `${folder}/nodes`);
      await until("there is a checkpoint", async () => await newestStep(broker, "nodes") >= 4);
      const filler = await broker.objects("filler");
      const waits =
        /step (\d+) waits for room: Cannot store "gradients\/\d+\/\d": room in the broker's store/;
      for (let i = 0; !waits.test(beginner.text + worker.text); i++) {
        assert(!/60 steps/.test(beginner.text), "training ended before the store was full");
        await filler.put(`filler-${i}`, new Uint8Array(2 ** 16)).catch(() => {});
      }
      const [, step] = waits.exec(beginner.text + worker.text)!;
      assert(Number(step) < 60);
      await pause(2000);
      assert(!/60 steps/.test(beginner.text), "a step waits");
      for (const name of await filler.list()) await filler.remove(name);
      await server.stop(); // servers before 2.9.15 count what was purged until then
      await server.begin();
      assertEquals((await beginner.status()).code, 0, beginner.text);
      assertEquals(await adapterOf(`${folder}/nodes`), await adapterOf(`${folder}/alone`));
      assertEquals((await worker.end("SIGTERM")).code, 0, worker.text);
      await broker.close();
    }),
});

Deno.test({
  name:
    "NATS: a worker of another base refuses a training, and every worker one of another version; both are told, and the training goes on",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 8);
      const other = await writeTinyModel(`${folder}/other`, 6);
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const nodes = ["--nodes", "2", "--queue", server.url, "--ack-wait", "60", "--save-steps", "0"];
      const beginner = new FinetuneProcess(...args, ...nodes, "--output", `${folder}/nodes`);
      const trainings = await broker.records(TRAININGS);
      await until("it is published", async () => await trainings.get("nodes") !== null);
      const record = JSON.parse((await trainings.get("nodes"))!.value);
      const newer = await openTraining(broker, "newer", 20_000);
      await trainings.put("newer", JSON.stringify({ ...record, name: "newer", version: "9.9.9" }));

      const stranger = new WorkerProcess("--queue", server.url, "--allow-model", other);
      const wrongBase =
        /Cannot join the training "nodes": its base model ".+\/model" \(SHA-256 \w{12}\) must be one of --allow-model, received ".+\/other" \(SHA-256 \w{12}\)/;
      const wrongVersion =
        /Cannot join the training "newer": @peft\/webgpu 9\.9\.9 \(protocol \d+\), with which it was begun, is required, received/;
      await until("it refuses both", () => [wrongBase, wrongVersion].every((why) => why.test(stranger.text)));
      await until("the beginner is told", () => wrongBase.test(beginner.text));
      const worker = new WorkerProcess("--queue", server.url, "--allow-model", model);
      assertEquals((await beginner.status()).code, 0, beginner.text);
      assertMatch(worker.text, wrongVersion);
      assertMatch(worker.text, /training "nodes": this worker is a node/);
      const refusals = await readRecords(newer.alive, (key) => key.startsWith("refusal."));
      assertEquals(refusals.size, 2);
      for (const { value } of refusals.values()) assertMatch(value, wrongVersion);
      for (const process of [worker, stranger]) assertEquals((await process.end("SIGTERM")).code, 0);
      await broker.close();
    }),
});

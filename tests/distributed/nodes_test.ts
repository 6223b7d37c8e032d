/**
 * One training by several processes of `./run` over a broker: whoever is killed, leaves or goes on, the adapter is that of
 * one process, to the bit.
 * @module
 */

import { Buffer } from "node:buffer";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { VERSION } from "@peft/webgpu";
import { JetStreamBroker, Lease } from "@peft/webgpu/distributed";
import { judgeTraining } from "../../jobs/nodes/node_jobs.ts";
import { aliveOf, placeOf, PROTOCOL, readTraining, TRAININGS } from "../../jobs/nodes/protocol.ts";
import { findBase } from "../../cli/sweep/files.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { isUserError } from "../../jobs/user_errors.ts";
import { freePort } from "../free_port.ts";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";
import { adapterOf, FinetuneProcess, runFinetune, writePairs, writeTinyTraining } from "./tiny_nodes.ts";
import { until, WorkerProcess } from "./tiny_sweep.ts";

/** The message of an error that is the user's to mend. */
async function refused(...args: string[]): Promise<string> {
  const error = await assertRejects(() => runFinetune(...args), Error);
  assert(isUserError(error), String(error.stack));
  return error.message;
}

/** Everything that a training may leave. */
async function leftOf(broker: JetStreamBroker, name: string): Promise<string[]> {
  const left: string[] = await (await broker.records(TRAININGS)).keys();
  for (
    const open of [
      () => broker.objects(placeOf(name), { mustExist: true }),
      () => broker.queue(placeOf(name), { mustExist: true }),
    ]
  ) {
    await open().then(() => left.push(name), () => {});
  }
  return left;
}

Deno.test({
  name:
    "NATS: finetune --nodes trains what one process does with as many times the batches, to the bit: with a node killed, the beginner stopped and gone on, and another killed",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 60);
      await runFinetune(...args, "--accumulation", "2", "--output", `${folder}/alone`);
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const queue = ["--queue", server.url];
      const output = `${folder}/nodes`;
      const finetune = [...args, "--nodes", "2", ...queue, "--ack-wait", "2", "--output", output];
      const start = () => new WorkerProcess(...queue, "--allow-model", model);
      const stepOf = async () => {
        const store = await broker.objects(placeOf("nodes"), { mustExist: true }).catch(() => null);
        return store === null ? 0 : (await new TrialStore(store, 0).steps()).at(-1) ?? 0;
      };

      const first = start();
      const beginner = new FinetuneProcess(...finetune);
      await until("the worker is a node", () => /this worker is a node/.test(first.text));
      await until("there is a checkpoint", async () => await stepOf() >= 4);
      assertEquals((await first.end("SIGKILL")).signal, "SIGKILL");
      const second = start();
      await until("another is a node", () => /this worker is a node/.test(second.text));
      assertEquals((await beginner.end("SIGINT")).code, 130, beginner.text);
      assertMatch(beginner.text, /\b[12] of 2 nodes/);
      assertMatch(beginner.text, /give the same command with --resume to go on/);
      assertMatch(
        await refused(...finetune),
        /an unfinished training "nodes" of the same settings is there: --resume/,
      );
      assertMatch(
        await refused(...finetune, "--seed", "1", "--resume"),
        /another base is there: give another --run-name/,
      );

      const resumed = new FinetuneProcess(...finetune, "--resume");
      await until("it goes on", () => /continuing from checkpoint-\d+ of the broker/.test(resumed.text));
      await resumed.end("SIGKILL");
      const last = new FinetuneProcess(...finetune, "--resume");
      const { code } = await last.status();
      assertEquals(code, 0, last.text);
      assertMatch(last.text, /60 steps, mean loss/);
      assertEquals(await adapterOf(output), await adapterOf(`${folder}/alone`));
      await until("the worker is free", () => /training "nodes" is over: \d+ shares/.test(second.text));
      assertEquals((await second.end("SIGTERM")).code, 0, second.text);
      assertEquals(await leftOf(broker, "nodes"), []);
      await broker.close();
    }),
});

Deno.test({
  name:
    "NATS: with gradients as float16, a training of which a worker and the beginner are killed is the undisturbed one, to the bit",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 60);
      await using server = await NatsServer.start();
      const flags = ["--nodes", "2", "--queue", server.url, "--ack-wait", "2"];
      const compressed = [...args, ...flags, "--gradient-compression", "float16"];
      await runFinetune(...compressed, "--output", `${folder}/alone`); // both shares, since no worker is there
      await runFinetune(...args, "--accumulation", "2", "--output", `${folder}/float32`);
      const expected = await adapterOf(`${folder}/alone`);
      assert(Buffer.compare(expected, await adapterOf(`${folder}/float32`)) !== 0);

      const finetune = [...compressed, "--output", `${folder}/nodes`];
      const worker = new WorkerProcess("--queue", server.url, "--allow-model", model);
      const beginner = new FinetuneProcess(...finetune);
      const broker = await JetStreamBroker.connect({ url: server.url });
      await until("the worker is a node", () => /this worker is a node/.test(worker.text));
      const store = await broker.objects(placeOf("nodes"), { mustExist: true });
      const stepOf = async () => (await new TrialStore(store, 0).steps()).at(-1) ?? 0;
      await until("there is a checkpoint", async () => await stepOf() >= 4);
      assertEquals((await worker.end("SIGKILL")).signal, "SIGKILL");
      const atKill = await stepOf();
      await until("the beginner does both shares", async () => await stepOf() >= atKill + 4);
      assertEquals((await beginner.end("SIGKILL")).signal, "SIGKILL", beginner.text);
      assertMatch(beginner.text, /is computed here too/);
      assertMatch(
        await refused(...args, ...flags, "--output", `${folder}/nodes`, "--resume"),
        /an unfinished training with other settings, other data or another base/,
      );
      const { steps } = await runFinetune(...finetune, "--resume");
      assertEquals(steps, 60);
      assertEquals(await adapterOf(`${folder}/nodes`), expected);
      assertEquals(await leftOf(broker, "nodes"), []);
      await broker.close();
    }),
});

Deno.test({
  name:
    "NATS: preferences are learned by several processes as by one, to the bit; dropout and the KL term of KTO included",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 12);
      const pairs = ["--data", await writePairs(folder)];
      await using server = await NatsServer.start();
      const queue = ["--queue", server.url];
      const worker = new WorkerProcess(...queue, "--allow-model", model);
      for (
        const [name, ...task] of [
          ["kto", "--task", "kto", "--training-options", '{"disable_dropout": false}'],
          ["dpo", "--task", "dpo", "--beta", "0.3"],
        ]
      ) {
        const common = [...args, ...pairs, ...task];
        await runFinetune(...common, "--accumulation", "2", "--output", `${folder}/alone-${name}`);
        const output = `${folder}/${name}`;
        await runFinetune(...common, "--nodes", "2", ...queue, "--ack-wait", "5", "--output", output);
        assertEquals(await adapterOf(output), await adapterOf(`${folder}/alone-${name}`));
        await until("the worker is free", () => worker.text.includes(`training "${name}" is over`));
        const [, computed] = new RegExp(`"${name}" is over: (\\d+) shares`).exec(worker.text)!;
        assert(Number(computed) > 0, worker.text);
      }
      await worker.end("SIGTERM");
    }),
});

Deno.test({
  name: "NATS: a training on several machines that cannot be is refused, and others are unharmed",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, args } = await writeTinyTraining(folder, 4);
      const base = [...args, "--output", `${folder}/mine`];
      assertMatch(
        await refused(...base, "--nodes", "2"),
        /--nodes must be 1 without --queue, by which .* received 2$/,
      );
      const absent = ["--queue", `nats://127.0.0.1:${freePort()}`];
      assertMatch(await refused(...base, ...absent), /--nodes must be at least 2 with --queue, received 1$/);
      const two = [...base, "--nodes", "2"];
      assertMatch(await refused(...two, ...absent), /a broker that answers is required/);
      assertMatch(
        await refused(...two, ...absent, "--run-name", "a b"),
        /--run-name must be 1 to 48 .* received "a b"$/,
      );
      assertMatch(await refused(...two, ...absent, "--resume", "--discard"), /exclude each other/);
      assertMatch(
        await refused(...base, "--gradient-compression", "float16"),
        /--gradient-compression must be none without --nodes, received float16$/,
      );
      assertMatch(
        await refused(...two, ...absent, "--gradient-compression", "int8"),
        /--gradient-compression .*"none" or "float16".*received "int8"/,
      );
      assertMatch(
        await refused(...two, ...absent, "--training-options", '{"gradient_accumulation_steps": 3}'),
        /cannot set gradientAccumulationSteps with --nodes: give --accumulation$/,
      );
      {
        await using server = await NatsServer.start(`authorization { user: peft, password: secret }`);
        assertMatch(await refused(...two, "--queue", server.url), /credentials/);
      }
      {
        await using server = await NatsServer.start(
          `jetstream { store_dir: "FOLDER/store", max_file_store: 1MB }`,
        );
        const broker = await JetStreamBroker.connect({ url: server.url });
        const filler = await broker.objects("filler");
        for (let size = 2 ** 19; size >= 64; size /= 2) {
          await filler.put(`filler-${size}`, new Uint8Array(size)).catch(() => {});
        }
        assertMatch(await refused(...two, "--queue", server.url), /room/);
        assertEquals(await leftOf(broker, "mine").catch(() => []), []);
        await broker.close();
      }
      await using server = await NatsServer.start();
      const queue = ["--queue", server.url];
      const broker = await JetStreamBroker.connect({ url: server.url });
      const alive = await broker.records(aliveOf("mine"), { ttlSeconds: 2 });
      const lease = await Lease.take(alive, "beginner", "somebody");
      const waits = ["--ack-wait", "2"];
      assertMatch(
        await refused(...two, ...queue, ...waits),
        /received "mine", which somebody runs, or ran less than \d+ s ago$/,
      );
      await lease.release();

      const trainings = await broker.records(TRAININGS);
      const { path, hash } = await findBase(model);
      const record = {
        ...{
          protocol: 1,
          version: "0.0.1",
          id: crypto.randomUUID(),
          name: "mine",
          model,
          base: hash,
          plan: hash,
        },
        ...{ nodes: 2, compression: "none", data: [], given: {} },
      };
      await trainings.put("mine", JSON.stringify(record));
      assertMatch(
        await refused(...two, ...queue, ...waits),
        /the unfinished training "mine" is of @peft\/webgpu 0\.0\.1, received/,
      );
      const bases = [{ name: "mine", path, hash }];
      const judge = (value: object, of = bases) =>
        judgeTraining("mine", JSON.stringify(value), { version: VERSION, bases: of });
      const refusal = (...given: Parameters<typeof judge>) =>
        (judge(...given) as { refusal: string }).refusal;
      assertMatch(
        refusal(record),
        /^Cannot join the training "mine": @peft\/webgpu 0\.0\.1 \(protocol 1\), with which it was begun, is required, received/,
      );
      const now = { ...record, protocol: PROTOCOL, version: VERSION };
      assert("record" in judge(now));
      assertMatch(
        refusal(now, [{ ...bases[0], hash: "0".repeat(64) }]),
        /its base model .* must be one of --allow-model, received "mine" \(SHA-256 0{12}\)$/,
      );
      assertMatch(refusal({ ...now, nodes: 1 }), /Cannot read a training's record: "nodes"/);
      assertMatch(refusal({ ...now, data: [{ path: "../x", files: [] }] }), /a relative path is required/);

      const result = await runFinetune(...two, ...queue, ...waits, "--discard");
      assertEquals(result.steps, 4, "alone, since no worker comes");
      assertEquals(await leftOf(broker, "mine"), []);
      assert(readTraining(JSON.stringify(now)));
      await broker.close();
    }),
});

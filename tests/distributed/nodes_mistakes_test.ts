/**
 * What a training on several machines leaves on the broker where it never begins: nothing.
 * @module
 */

import { jetstreamManager } from "@nats-io/jetstream";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { JetStreamBroker, LocalBroker } from "@peft/webgpu/distributed";
import { memoryStore } from "@peft/webgpu/io";
import { parseFlags } from "../../cli/command.ts";
import { InterruptedError } from "../../cli/interrupt.ts";
import { BegunTraining } from "../../cli/nodes/begin.ts";
import { finetune } from "../../cli/training/finetune.ts";
import type { FinetuneValues } from "../../jobs/finetune/finetune_flags.ts";
import { runName } from "../../jobs/finetune/node_flags.ts";
import { TRAININGS } from "../../jobs/nodes/protocol.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";
import { FinetuneProcess, runFinetune, writeTinyTraining } from "./tiny_nodes.ts";

/** Everything that the training "nodes" left: names of streams, and records. */
async function leftOf(broker: JetStreamBroker): Promise<string[]> {
  const left = await (await broker.records(TRAININGS)).keys();
  const manager = await jetstreamManager(broker.connection);
  for await (const name of manager.streams.names()) if (name.includes("nodes")) left.push(name);
  return left;
}

Deno.test({
  name:
    "NATS: a training whose data or settings are no good leaves nothing on the broker, and the corrected one runs",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { args } = await writeTinyTraining(folder, 2);
      await Deno.writeTextFile(`${folder}/empty.jsonl`, "");
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const nodes = ["--nodes", "2", "--queue", server.url, "--ack-wait", "1", "--output", `${folder}/nodes`];
      const mistakes: [args: string[], message: RegExp][] = [
        [["--data", `${folder}/empty.jsonl`], /at least one row is required/],
        [["--task", "dpo"], /an object with "chosen" and "rejected"/],
        [["--targets", "nothing"], /Cannot .+nothing/],
      ];
      for (const [wrong, message] of mistakes) {
        const error = await assertRejects(() => runFinetune(...args, ...nodes, ...wrong), Error);
        assertMatch(error.message, message);
        assertEquals(await leftOf(broker), [], message.source);
      }
      assertEquals((await runFinetune(...args, ...nodes)).steps, 2);
      assertEquals(await leftOf(broker), []);

      const huge = ["--training-options", '{"learning_rate": 1e38, "warmup_ratio": 0}', "--max-steps", "9"];
      const diverges = new FinetuneProcess(...args, ...nodes, ...huge);
      assertEquals((await diverges.status()).code, 1, diverges.text);
      assertMatch(
        diverges.text,
        /"nodes" stays on the broker, .+ --discard to begin anew\nerror: .+ a finite loss/,
      );
      assertEquals((await runFinetune(...args, ...nodes, "--discard")).steps, 2);
      assertEquals(await leftOf(broker), []);
      await broker.close();
    }),
});

Deno.test({
  name:
    "NATS: a polite kill while the model is loaded leaves nothing on the broker; a later one leaves the training",
  ignore: NATS_SERVER === null || Deno.build.os === "windows",
  fn: () =>
    inFolder(async (folder) => {
      const { args } = await writeTinyTraining(folder, 2);
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const nodes = ["--nodes", "2", "--queue", server.url, "--output", `${folder}/nodes`];
      const begin = () => BegunTraining.begin(parseFlags(finetune, [...args, ...nodes]) as FinetuneValues);
      const training = await begin();
      const { error } = console;
      const said: string[] = [];
      console.error = (line: string) => void said.push(line);
      const killed = () => {
        Deno.kill(Deno.pid, "SIGTERM");
        return new Promise<never>(() => {});
      };
      try {
        await assertRejects(() => training.publish(killed), InterruptedError);
        await training.close();
        assertEquals(await leftOf(broker), []);
        const another = await begin();
        await another.publish(() => Promise.resolve());
        await assertRejects(() => another.stoppable(killed), InterruptedError);
        await another.close();
      } finally {
        console.error = error;
      }
      assertMatch(said[0], /^\nstopping; nothing stays on the broker$/);
      assertMatch(
        said[1],
        /^\nstopping; the training "nodes" stays on the broker, where workers go on; .+--resume/,
      );
      assert((await leftOf(broker)).includes("nodes"));
      await broker.close();
    }),
});

Deno.test("a checkpoint that others remove while it is fetched is left out, and the newer one is there", async () => {
  const objects = await new LocalBroker().objects("nodes");
  const kept = new TrialStore(objects, 0);
  for (const step of [4, 8]) {
    const files = memoryStore();
    for (const name of ["a.bin", "manifest.json"]) await files.write(name, new TextEncoder().encode(name));
    await kept.keepCheckpoint(`checkpoint-${step}`, files);
  }
  const fetched = memoryStore();
  const vanishing: typeof objects = Object.create(objects, {
    list: { value: () => objects.list() },
    open: {
      value: (name: string) =>
        /checkpoint-4\/manifest/.test(name) ? Promise.resolve(null) : objects.open(name),
    },
  });
  await new TrialStore(vanishing, 0).fetchCheckpoints(fetched);
  assertEquals(await fetched.folders(), ["checkpoint-8"]);
  assert(await fetched.folder("checkpoint-8").open("manifest.json") !== undefined);
});

Deno.test("the name of a training is that of its folder, with accents left out and dashes for what no name has", () => {
  const named = (output: string) => runName({ "run-name": undefined, output });
  assertEquals([named("out/über été/"), named("C:\\my run"), named("out/日本")], [
    "uber-ete",
    "my-run",
    "--",
  ]);
});

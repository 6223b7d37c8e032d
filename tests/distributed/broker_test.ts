/**
 * Queues, objects, records and leases: the same of a broker in this process and of NATS.
 * @module
 */

import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Broker,
  BrokerError,
  JetStreamBroker,
  Lease,
  LeaseTakenError,
  LocalBroker,
  type OpenOptions,
  readObject,
  readRecords,
  type Records,
  withPatience,
} from "@peft/webgpu/distributed";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer, pause } from "./nats_server.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (content: Uint8Array | null) => content && new TextDecoder().decode(content);

/** Runs a test with each kind of broker. */
function withBrokers(name: string, body: (broker: Broker) => Promise<void>): void {
  Deno.test(`LocalBroker in memory: ${name}`, () => body(new LocalBroker()));
  Deno.test(`LocalBroker in a folder: ${name}`, () => inFolder((folder) => body(new LocalBroker(folder))));
  Deno.test({
    name: `NATS: ${name}`,
    ignore: NATS_SERVER === null,
    async fn() {
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      try {
        await body(broker);
      } finally {
        await broker.close();
      }
    },
  });
}

withBrokers(
  "a job is given to one worker, again if it gives it back, and to nobody once it is done",
  async (broker) => {
    const queue = await broker.queue("q", { ackWaitMs: 20_000 });
    assertEquals(queue.ackWaitMs, 20_000);
    assertEquals([await queue.add("1.a", bytes("one")), await queue.add("2", bytes("two"))], [true, true]);
    assertEquals(await queue.add("1.a", bytes("one")), false, "a job that waits is not added twice");
    const first = (await queue.take(1000))!;
    assertEquals([first.id, textOf(first.body), first.attempt], ["1.a", "one", 1]);
    const second = (await queue.take(1000))!;
    assertEquals(second.id, "2");
    assertEquals(await queue.take(1000), null, "both are being worked on");
    assertEquals(await queue.add("1.a", bytes("one")), false, "nor one that is being worked on");
    await first.release();
    const again = (await queue.take(2000))!;
    assertEquals([again.id, again.attempt], ["1.a", 2]);
    await again.ack();
    await second.ack();
    assertEquals(await queue.size(), 0);
    assertEquals(await queue.add("1.a", bytes("one")), true, "one that is done may be added again");
  },
);

withBrokers("what must exist is opened once it was made, and no more once it is removed", async (broker) => {
  const opens = [
    ["open a queue", (options: OpenOptions) => broker.queue("n", options)],
    ["open a store", (options: OpenOptions) => broker.objects("n", options)],
    ["open records", (options: OpenOptions) => broker.records("n", options)],
  ] as const;
  const refused = async () => {
    for (const [action, open] of opens) {
      await assertRejects(() => open({ mustExist: true }), BrokerError, `Cannot ${action}: `);
    }
  };
  await refused();
  for (const [, open] of opens) await open({});
  for (const [, open] of opens) await open({ mustExist: true });
  await broker.remove("n");
  await refused();
});

Deno.test("LocalBroker in a folder: what an earlier process wrote exists", () =>
  inFolder(async (folder) => {
    await (await new LocalBroker(folder).objects("n")).put("a", bytes("one"));
    await (await new LocalBroker(folder).records("n")).put("a", "two");
    const later = new LocalBroker(folder);
    assertEquals(textOf(await readObject(await later.objects("n", { mustExist: true }), "a")), "one");
    const opened = [1, 2].map(() => later.records("n", { mustExist: true }));
    const [records, same] = await Promise.all(opened);
    const { value, revision } = (await records.get("a"))!;
    assertEquals(value, "two");
    assert(await records.update("a", "three", revision) !== null);
    assertEquals(await same.update("a", "four", revision), null, "both know that it was written in between");
  }));

Deno.test("LocalBroker in a folder: what an earlier process opened exists, though nobody wrote to it", () =>
  inFolder(async (folder) => {
    const opens = [
      (broker: Broker, options: OpenOptions) => broker.objects("n", options),
      (broker: Broker, options: OpenOptions) => broker.records("m", options),
      (broker: Broker, options: OpenOptions) => broker.records("alive", { ttlSeconds: 2, ...options }),
    ];
    for (const open of opens) {
      const refused = () =>
        assertRejects(() => open(new LocalBroker(folder), { mustExist: true }), BrokerError);
      await refused();
      await open(new LocalBroker(folder), {});
      const opened = await open(new LocalBroker(folder), { mustExist: true });
      assertEquals(await ("list" in opened ? opened.list() : opened.keys()), []);
      for (const name of ["n", "m", "alive"]) await new LocalBroker(folder).remove(name);
      await refused();
    }
  }));

withBrokers("an object is kept whole, replaced and removed", async (broker) => {
  const store = await broker.objects("o");
  const large = crypto.getRandomValues(new Uint8Array(60_000));
  const five = new Uint8Array(300_000).map((_, i) => large[i % large.length]); // several chunks of NATS
  await store.put("a/b.bin", five);
  await store.put("a/c ü.txt", ReadableStream.from([bytes("one "), bytes("two")]));
  assertEquals(await readObject(store, "a/b.bin"), five);
  assertEquals(textOf(await readObject(store, "a/c ü.txt")), "one two");
  await assertRejects(() => readObject(store, "a/b.bin", 1000), RangeError, "at most 1000 bytes");
  await store.put("a/b.bin", bytes("new"));
  assertEquals(textOf(await readObject(store, "a/b.bin")), "new");
  assertEquals(await store.list(), ["a/b.bin", "a/c ü.txt"]);
  await store.remove("a/b.bin");
  await store.remove("a/b.bin");
  assertEquals([await store.open("a/b.bin"), await store.open("none")], [null, null]);
  assertEquals(await store.list(), ["a/c ü.txt"]);
});

withBrokers(
  "of objects that are created at once under a name, the first stays until it is removed",
  async (broker) => {
    const store = await broker.objects("o");
    const contents = Array.from({ length: 4 }, (_, i) => new Uint8Array(300_000).fill(i));
    const others = await broker.objects("o"); // as another process has it open
    const created = await Promise.all(
      contents.map((content, i) => (i % 2 ? store : others).create("a/1", content)),
    );
    assertEquals(created.filter((isKept) => isKept).length, 1);
    const [winner] = (await readObject(store, "a/1"))!;
    assertEquals(created.indexOf(true), winner);
    assertEquals(await readObject(store, "a/1"), contents[winner]);
    assertEquals(await store.create("a/1", bytes("late")), false, "by the same process, too");
    await store.remove("a/1");
    assertEquals(await store.create("a/1", bytes("new")), true);
    assertEquals(textOf(await readObject(store, "a/1")), "new");
    await store.put("a/1", bytes("put"));
    assertEquals([await store.create("a/1", bytes("x")), textOf(await readObject(store, "a/1"))], [
      false,
      "put",
    ]);
  },
);

/** A way to a server on which, once it is told, the answer to the next object's last message gets lost with the connection. */
async function forgetfulProxy(port: number) {
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.on("data", (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      upstream.write(bytes);
      if (!proxy.forgets || !/PUB \$O\.[^ ]+\.M\./.test(text)) return;
      proxy.forgets = false;
      upstream.removeAllListeners("data"); // the server has it, and its answer does not arrive
      setTimeout(() => client.destroy(), 200);
    });
    upstream.on("data", (bytes) => client.write(bytes));
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = { port: (server.address() as AddressInfo).port, forgets: false, close: () => server.close() };
  return proxy;
}

Deno.test({
  name:
    "NATS: an object that is created while the connection is lost is whole once it is tried again, and this process's",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const proxy = await forgetfulProxy(server.port);
    const [broker, other] = await Promise.all(
      [proxy.port, server.port].map((port) => JetStreamBroker.connect({ url: `nats://127.0.0.1:${port}` })),
    );
    const store = await broker.objects("o");
    const others = await other.objects("o");
    const content = new Uint8Array(300_000).map((_, i) => i * 7);
    proxy.forgets = true;
    const error = await assertRejects(() => store.create("a", content), BrokerError);
    assertEquals(error.failure, "unreachable", error.message);
    assertEquals(await others.size("a"), content.length, "the server has kept it");
    const isOwn = await withPatience(() => store.create("a", content), { patienceMs: 20_000 });
    assertEquals([isOwn, await readObject(others, "a")], [true, content]);
    assertEquals(await others.create("a", bytes("b")), false);
    await Promise.all([broker.close(), other.close()]);
    proxy.close();
  },
});

withBrokers("a record is created once, and changed by one who knows its revision", async (broker) => {
  const records = await broker.records("r");
  assertEquals(await records.keys(), []);
  const both = await Promise.all([records.create("a.1", "mine"), records.create("a.1", "yours")]);
  assertEquals(both.filter((revision) => revision === null).length, 1);
  const { value, revision } = (await records.get("a.1"))!;
  assert(value === "mine" || value === "yours");
  const next = (await records.update("a.1", "later", revision))!;
  assert(next > revision);
  assertEquals(await records.update("a.1", "too late", revision), null);
  await records.put("b", "two");
  const found = [...await readRecords(records)].map(([key, { value }]) => [key, value]);
  assertEquals(found, [["a.1", "later"], ["b", "two"]]);
  await records.remove("a.1");
  await records.remove("a.1");
  assertEquals([await records.get("a.1"), await records.keys()], [null, ["b"]]);
  assert(await records.create("a.1", "again") !== null);
  await assertRejects(() => broker.records("no.dots"), RangeError, 'received "no.dots"');
});

withBrokers("remove() leaves nothing of a name, and what is of another name", async (broker) => {
  for (const name of ["x", "y"]) {
    await (await broker.objects(name)).put("o", bytes(name));
    await (await broker.records(name)).put("r", name);
    await (await broker.queue(name)).add("j", bytes(name));
  }
  await broker.remove("x");
  await broker.remove("x");
  assertEquals([await (await broker.objects("x")).list(), await (await broker.objects("y")).list()], [[], [
    "o",
  ]]);
  assertEquals(await (await broker.records("x")).get("r"), null);
  assertEquals([await (await broker.queue("x")).size(), await (await broker.queue("y")).size()], [0, 1]);
});

Deno.test({
  name: "NATS: a job whose worker is silent is given to another; one whose worker says that it works is not",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const broker = await JetStreamBroker.connect({ url: server.url });
    const queue = await broker.queue("q", { ackWaitMs: 1500 });
    await queue.add("1", bytes("one"));
    const silent = (await queue.take(1000))!;
    const beat = setInterval(() => silent.working(), 400);
    assertEquals(await queue.take(2500), null);
    clearInterval(beat);
    const taken = (await queue.take(4000))!;
    assertEquals([taken.id, taken.attempt], ["1", 2]);
    await taken.ack();
    await broker.close();
  },
});

Deno.test("a lease stays while answers come late or get lost, and ends when another has it", async () => {
  const records = await new LocalBroker().records("r");
  let writes = 0;
  const slow: Records = {
    ...{ ttlSeconds: 0.03, get: (key) => records.get(key), keys: () => records.keys() },
    ...{ put: (key, value) => records.put(key, value), create: (key, value) => records.create(key, value) },
    remove: (key) => records.remove(key),
    async update(key, value, revision) {
      const next = await records.update(key, value, revision);
      await pause(35); // longer than the time between two renewals
      if (++writes % 2 === 0) {
        throw new BrokerError("unreachable", "Cannot write: an answer is required, received none");
      }
      return next;
    },
  };
  const lease = await Lease.take(slow, "a", "me");
  await pause(400);
  assert(writes > 4, `${writes}`);
  assertEquals(lease.lost.aborted, false);
  await records.put("a", JSON.stringify({ holder: "me", token: "of another process of this name" }));
  await pause(200);
  assertEquals(lease.lost.aborted, true);
});

Deno.test({
  name:
    "NATS: a lease is one process's; silence ends it, a broker that was away does not; what was kept outlives the broker",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const statuses: string[] = [];
    const broker = await JetStreamBroker.connect({
      url: server.url,
      onStatus: (status) => statuses.push(status),
    });
    const records = await broker.records("leases", { ttlSeconds: 2 });
    const lease = await Lease.take(records, "sweep", "first");
    const error = await assertRejects(() => Lease.take(records, "sweep", "second"), LeaseTakenError);
    assertEquals(error.holder, "first");
    await pause(2600);
    await assertRejects(() => Lease.take(records, "sweep", "second"), LeaseTakenError, "", "it was renewed");
    const store = await broker.objects("o");
    await store.put("kept", bytes("yes"));
    const queue = await broker.queue("q");
    await queue.add("1", bytes("one"));

    await server.stop();
    const unreachable = await assertRejects(() => store.put("lost", bytes("no")), BrokerError);
    assertEquals(unreachable.failure, "unreachable", unreachable.message);
    const waited: string[] = [];
    const later = withPatience(() => readObject(store, "kept"), {
      patienceMs: 20_000,
      onWait: ({ message }) => waited.push(message),
    });
    await pause(2600); // longer than the lease lives
    await server.begin();
    assertEquals(textOf(await later), "yes");
    assertEquals(waited.length, 1);
    assertEquals((await withPatience(() => queue.take(1000), { patienceMs: 10_000 }))?.id, "1");
    await pause(1500);
    assertEquals(lease.lost.aborted, false);
    assertEquals(JSON.parse((await records.get("sweep"))!.value).holder, "first");
    assertEquals(statuses, ["disconnected", "reconnected"]);
    await records.put("sweep", "another"); // as if this process had been silent for too long
    await pause(1500);
    assertEquals(lease.lost.aborted, true);
    await lease.release();
    assertEquals((await records.get("sweep"))?.value, "another");
    await broker.close();
  },
});

Deno.test({
  name: "NATS: a process that ends waits neither for a broker that is away nor for one that is silent",
  ignore: NATS_SERVER === null,
  async fn() {
    for (const end of ["stop", "freeze"] as const) {
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const ending = new AbortController();
      broker.endWith(ending.signal);
      const [store, queue] = [await broker.objects("o"), await broker.queue("q")];
      const records = await broker.records("r", { ttlSeconds: 30 });
      const lease = await Lease.take(records, "lease", "me");
      await store.put("a", bytes("one"));
      await queue.add("1", bytes("one"));
      const job = (await queue.take(1000))!;

      await server[end]();
      const asked: Promise<unknown>[] = [
        ...[store.put("b", bytes("two")), store.create("c", bytes("three")), readObject(store, "a")],
        ...[queue.add("2", bytes("two")), lease.release()],
        withPatience(() => store.list(), { patienceMs: Infinity, signal: ending.signal }),
      ];
      const waiting = asked.map((call) => assertRejects(() => call, BrokerError));
      const next = queue.take(60_000);
      await pause(1000);
      const began = performance.now();
      ending.abort();
      for (const { failure, message } of await Promise.all(waiting)) {
        assertEquals(failure, "unreachable", message);
      }
      assertEquals(await next, null);
      await assertRejects(() => job.ack(), BrokerError);
      await assertRejects(() => job.release(), BrokerError);
      await broker.close();
      assert(performance.now() - began < 4500, `${end}: ${performance.now() - began} ms`);
    }
  },
});

Deno.test({
  name: "NATS: a process that ends is answered as long as the broker does, and ends with it",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const broker = await JetStreamBroker.connect({ url: server.url });
    const ending = new AbortController();
    broker.endWith(ending.signal);
    ending.abort();
    await pause(4000);
    const store = await broker.objects("o");
    await store.put("a", bytes("one"));
    assertEquals(textOf(await readObject(store, "a")), "one");
    await server.stop();
    const began = performance.now();
    await assertRejects(() => store.list(), BrokerError, "a broker that answers is required");
    assert(performance.now() - began < 1000, `${performance.now() - began} ms`);
    await broker.close();
  },
});

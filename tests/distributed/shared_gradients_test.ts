/**
 * A training whose steps several processes share, against one that is alone.
 * @module
 */

import { Buffer } from "node:buffer";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { ComputedShare, GradientCompression } from "@peft/webgpu/train";
import {
  ForgottenSharesError,
  JetStreamBroker,
  LocalBroker,
  type Records,
  SharedGradients,
} from "@peft/webgpu/distributed";
import { trainShares } from "./gradients_node.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";

const SCRIPT = new URL("./gradients_node.ts", import.meta.url).pathname;

/** Processes of this one, by a broker in memory. */
async function sharers(count: number, shares: number, compression: GradientCompression = "none") {
  const broker = new LocalBroker();
  const store = await broker.objects("run");
  const records = await broker.records("alive");
  const alive: Records = {
    ttlSeconds: 2,
    get: (key) => records.get(key),
    keys: () => records.keys(),
    put: (key, value) => records.put(key, value),
    create: (key, value) => records.create(key, value),
    update: (key, value, revision) => records.update(key, value, revision),
    remove: (key) => records.remove(key),
  };
  const make = (holder: string) => new SharedGradients({ store, alive, holder, shares, compression });
  return { store, alive, all: Array.from({ length: count }, (_, i) => make(`p${i}`)), make };
}

Deno.test("processes that share the gradients of each step train what one process trains, to the bit; one that comes late, too", async () => {
  const sizes = { shares: 3, steps: 6 };
  const alone = await trainShares(undefined, sizes);
  const { store, all, make } = await sharers(3, 3);
  const hashes = await Promise.all(all.map((gradients) => trainShares(gradients, sizes)));
  assertEquals(hashes, [alone, alone, alone]);
  // the fourth step ends an epoch of eleven batches: it has two
  assertEquals(all.map(({ counts: { computed } }) => computed).sort(), [5, 6, 6]);
  assertEquals(new Set(all.flatMap(({ held }) => held)), new Set([0, 1, 2]));
  assertEquals(all.filter(({ leads }) => leads).length, 1);
  assertEquals((await store.list()).length, 17);

  const late = make("late");
  assertEquals(await trainShares(late, sizes), alone);
  assertEquals([late.counts.computed, late.counts.reads, late.held], [0, 17, []]);

  await all[0].forget(4);
  assertEquals((await store.list()).length, 6);
  for (const gradients of all) await gradients.leave();
});

Deno.test("one process does what nobody else does, and gives it to one that comes", async () => {
  const { alive, all: [first], make } = await sharers(1, 2);
  const bytesOf = (share: number) => Promise.resolve({ bytes: Uint8Array.of(share), residual: null });
  // a second process that is silent: its lease stays for as long as the records remember it
  const silent = make("silent");
  const controller = new AbortController();
  const ended = silent.exchange(1, [0, 1], (share) => {
    controller.abort(new Error("killed"));
    return bytesOf(share);
  }, controller.signal);
  await assertRejects(() => ended, Error, "killed");
  assertEquals(silent.held, [0]);
  const step = first.exchange(1, [0, 1], bytesOf);
  assertEquals((await step).map((bytes) => [...bytes]), [[0], [1]]);
  assertEquals(first.held, [1]);
  await silent.leave();

  const rest = first.exchange(2, [0, 1], bytesOf); // share 0 has no process now: it waits, and then computes it
  await new Promise((resolve) => setTimeout(resolve, 700));
  assertEquals(first.held, [1], "a share is not taken over before its process was silent for long enough");
  const other = make("other");
  await Promise.all([rest, other.exchange(2, [0, 1], bytesOf)]);
  assertEquals([first.held, other.held], [[1], [0]]);
  assert((await alive.keys()).every((key) => key.startsWith("share.")), "no spare process is left");
  for (const gradients of [first, other]) await gradients.leave();
  assertEquals(await alive.keys(), []);
});

Deno.test("one process that is alone waits once for others, and then does everything", async () => {
  const { all: [alone] } = await sharers(1, 5);
  const begun = performance.now();
  const compute = (share: number) => Promise.resolve({ bytes: Uint8Array.of(share), residual: null });
  await alone.exchange(1, [0, 1, 2, 3, 4], compute);
  const seconds = (performance.now() - begun) / 1000;
  assert(seconds > 2 && seconds < 4, `${seconds} s`);
  assertEquals(alone.held, [0, 1, 2, 3, 4]);
  await alone.leave();
});

Deno.test("of two processes that compute one share, the first that stores it is the one whose bytes both go on with", async () => {
  const { all, make } = await sharers(1, 1);
  const other = make("other");
  const [first] = all;
  const { promise: isStored, resolve: stored } = Promise.withResolvers<void>();
  const { promise: isComputing, resolve: computes } = Promise.withResolvers<void>();
  const slow = first.exchange(1, [0], async () => {
    computes();
    await isStored; // as a process that pauses, whose lease another has meanwhile
    return { bytes: Uint8Array.of(1), residual: null };
  });
  await isComputing;
  const lease = first.held;
  await first.leave();
  const found = await other.exchange(1, [0], () => {
    return Promise.resolve({ bytes: Uint8Array.of(2), residual: null });
  });
  stored();
  assertEquals([lease, other.held], [[0], [0]]);
  assertEquals([[...found[0]], [...(await slow)[0]]], [[2], [2]]);
  assertEquals([first.counts.computed, first.counts.reads], [1, 1]);
  await other.leave();
});

Deno.test("whoever waits stores its shares again that a broker which crashed has lost", async () => {
  const { store, all: [first], make } = await sharers(1, 2, "float16");
  const other = make("other");
  const compute = (share: number) =>
    Promise.resolve({ bytes: Uint8Array.of(share), residual: Uint8Array.of(10 + share) });
  await Promise.all([first, other].map((process) => process.exchange(1, [0, 1], compute)));
  for (const name of await store.list()) if (name.endsWith("1/0")) await store.remove(name);
  const next = first.exchange(2, [0, 1], compute); // waits for the other
  await new Promise((resolve) => setTimeout(resolve, 500));
  for (const name of await store.list()) if (name.endsWith("2/0")) await store.remove(name);
  const again = await make("late").exchange(1, [0, 1], compute);
  assertEquals(again.map((bytes) => [...bytes]), [[0], [1]]);
  const both = await Promise.all([next, other.exchange(2, [0, 1], compute)]);
  assertEquals(both.flat().map((bytes) => [...bytes]), [[0], [1], [0], [1]]);
  assertEquals((await store.list()).filter((name) => name.startsWith("residuals/")).length, 4);
  assertEquals([first.counts.computed, other.counts.computed], [2, 2]);
  for (const process of [first, other]) await process.leave();
});

Deno.test("with float16 the same is trained, to the bit, whoever computes what, and others see half the bytes", async () => {
  const sizes = { shares: 3, steps: 9 };
  const { all: [alone] } = await sharers(1, 3, "float16");
  const expected = await trainShares(alone, sizes);
  const { all: [uncompressed] } = await sharers(1, 3);
  assert(expected !== await trainShares(uncompressed, sizes), "but not what float32 trains");

  const { store, all, make } = await sharers(3, 3, "float16");
  const changing = all.map((gradients, i) => {
    const { exchange } = gradients;
    gradients.exchange = async (step, ...rest) => {
      if (step % 3 === i) await gradients.leave(); // another takes its share, and it takes another's
      return await exchange.call(gradients, step, ...rest);
    };
    return trainShares(gradients, sizes);
  });
  assertEquals(await Promise.all(changing), [expected, expected, expected]);
  assert(all.some(({ counts: { computed, puts } }) => puts === 2 * computed && computed > 0));
  const late = make("late");
  assertEquals(await trainShares(late, sizes), expected);
  assertEquals(late.counts.computed, 0);
  const { received } = late.counts;
  const whole = make("whole");
  const plain = (await sharers(1, 3)).make("plain");
  await trainShares(plain, sizes);
  assert(received > 0.5 * plain.counts.sent && received < 0.51 * plain.counts.sent, `${received}`);
  assertEquals((await store.list()).filter((name) => name.startsWith("residuals/")).length, 25);
  await whole.forget(9);
  assertEquals(await store.list(), []);
  for (const gradients of [alone, uncompressed, plain, ...all]) await gradients.leave();
});

Deno.test("with float16 a share gets what rounding left of the step before from whoever computed that; a process that fell behind says so", async () => {
  const { store, all: [first], make } = await sharers(1, 2, "float16");
  const seen: string[] = [];
  const compute = (step: number) => (share: number, previous: ComputedShare | null) => {
    seen.push(`${step}/${share}: ${previous && `${previous.bytes} ${previous.residual}`}`);
    return Promise.resolve({ bytes: Uint8Array.of(step, share), residual: Uint8Array.of(9, step, share) });
  };
  for (const [step, shares] of [[1, [0, 1]], [2, [0]], [3, [0, 1]]] as const) {
    if (step === 3) await store.remove("residuals/1/1"); // share 1 had no batches in step 2: nothing is read for it
    await first.exchange(step, shares, compute(step));
    if (step === 1) await first.exchange(step, shares, compute(step)); // after a lost device: both are there
  }
  await first.leave();
  // they began from a checkpoint of step 3, and of step 2
  for (const step of [4, 3]) {
    await store.remove(`gradients/3/1`);
    const other = make(`from ${step}`);
    await other.exchange(step, [0, 1], compute(step));
    await other.leave();
  }
  assertEquals(seen, [
    ...["1/0: null", "1/1: null", "2/0: 1,0 9,1,0", "3/0: 2,0 9,2,0", "3/1: null"],
    ...["4/0: 3,0 9,3,0", "4/1: null", "3/1: null"],
  ]);
  await first.forget(3);
  const behind = make("behind");
  await assertRejects(
    () => behind.exchange(4, [0, 1, 2], compute(4)),
    ForgottenSharesError,
    "share 2 of step 4",
  );
  await behind.leave();
});

Deno.test("SharedGradients refuses shares that are no number of processes", async () => {
  const broker = new LocalBroker();
  const store = await broker.objects("run");
  const alive = await broker.records("alive");
  const make = (shares: number) => new SharedGradients({ store, alive, holder: "p", shares });
  assertThrows(() => make(0), RangeError, "shares must be a positive integer, received 0");
  assertThrows(() => make(1.5), RangeError, "received 1.5");
  assertThrows(
    () => new SharedGradients({ store, alive, holder: "p", shares: 1, compression: "int8" as never }),
    RangeError,
    'compression must be "none" or "float16", received "int8"',
  );
});

Deno.test({
  name:
    "NATS: shares of 24 MiB, many times what one message holds, arrive whole, also for one who comes late",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const broker = await JetStreamBroker.connect({ url: server.url });
    const store = await broker.objects("run");
    const alive = await broker.records("run-alive", { ttlSeconds: 20 });
    const make = (holder: string) => new SharedGradients({ store, alive, holder, shares: 2 });
    const expected = [0, 1].map((share) => {
      const bytes = new Uint8Array(24 * 2 ** 20 + 5 * share);
      for (let i = 0; i < bytes.length; i++) bytes[i] = i * 31 + (i >> 16) + share;
      return bytes;
    });
    const nodes = [make("a"), make("b")];
    const isWhole = (found: readonly Uint8Array[]) =>
      found.every((bytes, i) => Buffer.compare(bytes, expected[i]) === 0);
    const compute = (share: number) => Promise.resolve({ bytes: expected[share], residual: null });
    for (const found of await Promise.all(nodes.map((node) => node.exchange(1, [0, 1], compute)))) {
      assert(isWhole(found));
    }
    const late = make("late");
    assert(isWhole(await late.exchange(1, [0, 1], compute)));
    assertEquals(late.counts.computed, 0);
    for (const node of nodes) await node.leave();
    await broker.close();
  },
});

/** A process of the script, with its lines as they come. */
function spawn(url: string, holder: string, slowMs: number) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", SCRIPT, url, holder, "2", "8", `${slowMs}`],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: string[] = [];
  const reading = (async () => {
    const text = child.stdout.pipeThrough(new TextDecoderStream());
    let rest = "";
    for await (const piece of text) {
      const parts = (rest + piece).split("\n");
      rest = parts.pop()!;
      lines.push(...parts);
    }
  })();
  return { child, lines, reading };
}

Deno.test({
  name:
    "NATS: a process that is killed in the middle of a step is replaced, and all end with the bits of one that is alone",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const alone = await trainShares(undefined, { shares: 2, steps: 8 });
    const nodes = ["a", "b", "c"].map((holder) => spawn(server.url, holder, 200));
    const has = (text: RegExp) => nodes.findIndex(({ lines }) => lines.some((line) => text.test(line)));
    while (has(/^step 3 /) < 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const victim = nodes[has(/^step 3 /)];
    victim.child.kill("SIGKILL");
    const rest = nodes.filter((node) => node !== victim);
    await Promise.all(nodes.map(({ reading }) => reading));
    await Promise.all(nodes.map(({ child }) => child.status));
    for (const { lines } of rest) assertEquals(JSON.parse(lines.at(-1)!).hash, alone, lines.join("\n"));
    const computed = rest.map(({ lines }) => JSON.parse(lines.at(-1)!).computed);
    assert(computed.every((count) => count > 0), `the third process takes the place: ${computed}`);
  },
});

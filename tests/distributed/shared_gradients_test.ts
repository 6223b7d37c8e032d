/**
 * A training whose steps several processes share, against one that is alone.
 * @module
 */

import { Buffer } from "node:buffer";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { JetStreamBroker, LocalBroker, SharedGradients } from "@peft/webgpu/distributed";
import { trainShares } from "./gradients_node.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";

const SCRIPT = new URL("./gradients_node.ts", import.meta.url).pathname;

/** Processes of this one, by a broker in memory. */
async function sharers(count: number, shares: number) {
  const broker = new LocalBroker();
  const store = await broker.objects("run");
  const alive = await broker.records("alive");
  const make = (holder: string) => new SharedGradients({ store, alive, holder, shares });
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
  const bytesOf = (share: number) => Promise.resolve(Uint8Array.of(share));
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

Deno.test("SharedGradients refuses shares that are no number of processes", async () => {
  const broker = new LocalBroker();
  const store = await broker.objects("run");
  const alive = await broker.records("alive");
  const make = (shares: number) => new SharedGradients({ store, alive, holder: "p", shares });
  assertThrows(() => make(0), RangeError, "shares must be a positive integer, received 0");
  assertThrows(() => make(1.5), RangeError, "received 1.5");
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
    const compute = (share: number) => Promise.resolve(expected[share]);
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

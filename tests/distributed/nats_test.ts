/**
 * Who may connect to NATS, and how it is said when somebody may not.
 * @module
 */

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { nkeys } from "@nats-io/nats-core";
import { BrokerError, JetStreamBroker, type NatsOptions, withPatience } from "@peft/webgpu/distributed";
import { connectNats } from "../../distributed/nats.ts";
import { freePort } from "../free_port.ts";
import { jwtUser } from "./nats_jwt.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";

/** The failure of a connection, with its message. */
async function failure(options: NatsOptions): Promise<readonly [string, string]> {
  const error = await assertRejects(async () => {
    const broker = await JetStreamBroker.connect({ timeoutMs: 2000, ...options });
    await broker.close();
  }, BrokerError);
  return [error.failure, error.message];
}

async function connects(options: NatsOptions): Promise<void> {
  const broker = await JetStreamBroker.connect({ timeoutMs: 2000, ...options });
  await (await broker.records("r")).put("a", "b");
  await broker.close();
}

Deno.test("JetStreamBroker.connect() says what is wrong with an address, a seed, and a broker that is not there", async () => {
  const [kind, message] = await failure({ url: `nats://127.0.0.1:${freePort()}` });
  assertEquals(kind, "unreachable");
  assertMatch(
    message,
    /^Cannot connect to NATS at 127\.0\.0\.1:\d+: a broker that answers is required, received "connection refused"$/,
  );
  for (const url of ["localhost:4222", "http://localhost:4222", "nats://", "nats://a:b:c", ""]) {
    assertMatch(
      (await failure({ url }))[1],
      /^Cannot connect to NATS: an address that begins with nats:\/\//,
    );
  }
  assertMatch((await failure({ url: "nat://user:secret@host" }))[1], /received "nat:\/\/…@host"$/);
  assertMatch((await failure({ url: "nats://a,ws://b" }))[1], /all of WebSockets, or none/);
  const url = "nats://127.0.0.1";
  assertMatch(
    (await failure({ url, nkey: "SUnone" }))[1],
    /^Cannot connect to NATS: an NKey's seed, .* is required/,
  );
  assertMatch(
    (await failure({ url, creds: "none" }))[1],
    /^Cannot connect to NATS: a \.creds file with a JWT/,
  );
});

Deno.test("JetStreamBroker.connect() survives connections that are reset at any moment", async () => {
  const info = `INFO ${JSON.stringify({ version: "2.10.0", proto: 1, headers: true, jetstream: true })}\r\n`;
  const resets: Record<string, (socket: Socket) => void> = {
    "at once": (socket) => socket.resetAndDestroy(),
    "after half a line": (socket) => socket.write("INFO {", () => socket.resetAndDestroy()),
    "after the first line": (socket) => socket.write(info, () => socket.resetAndDestroy()),
    "after the client's first words": (socket) => {
      socket.write(info);
      socket.once("data", () => socket.resetAndDestroy());
    },
    "before TLS": (socket) => {
      socket.write(info.replace("{", `{"tls_required":true,`));
      socket.once("data", () => socket.resetAndDestroy());
    },
  };
  for (const [when, reset] of Object.entries(resets)) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      reset(socket);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `nats://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const failures = Array.from({ length: 30 }, () => failure({ url, timeoutMs: 500 }));
    for (const [kind, message] of await Promise.all(failures)) {
      assertEquals(kind, "unreachable", `${when}: ${message}`);
    }
    await new Promise((closed) => server.close(closed));
  }
});

Deno.test("a connection to NATS ends with what was sent, and without a server that takes nothing more", async () => {
  const size = 8 << 20;
  const [info, pong] = [
    `INFO {"version":"2.10.0","proto":1,"headers":true,"max_payload":${size}}\r\n`,
    "PONG\r\n",
  ];
  for (const isStuck of [false, true]) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const connecting = connectNats({ url: `nats://127.0.0.1:${listener.addr.port}` });
    using socket = await listener.accept();
    await socket.write(new TextEncoder().encode(info + pong));
    const connection = await connecting;
    connection.publish("subject", new Uint8Array(size));
    await new Promise((later) => setTimeout(later)); // the client gives it to the socket
    const began = performance.now();
    const received = isStuck ? 0 : new Response(socket.readable).bytes().then(({ length }) => length);
    await connection.close();
    assert(performance.now() - began < 5000, "a server that takes nothing holds nobody up");
    if (!isStuck) assert(await received > size, `${await received} bytes arrived`);
  }
});

Deno.test({
  name: "NATS: users, tokens, NKeys and credentials are let in, others are refused as such",
  ignore: NATS_SERVER === null,
  async fn() {
    const pair = nkeys.createUser();
    const seed = new TextDecoder().decode(pair.getSeed());
    const other = new TextDecoder().decode(nkeys.createUser().getSeed());
    {
      const users =
        `authorization { users: [{ user: ann, password: "p@ss" }, { nkey: ${pair.getPublicKey()} },
        { user: bob, password: b, permissions: { publish: "none.>" } }] }`;
      await using server = await NatsServer.start(users);
      const { url } = server;
      await connects({ url, user: "ann", password: "p@ss" });
      await connects({ url: url.replace("//", "//ann:p%40ss@") });
      await connects({ url, nkey: seed });
      const refused: NatsOptions[] = [
        { url },
        { url, user: "ann", password: "x" },
        { url, nkey: other },
        { url, user: "bob", password: "b" },
      ];
      for (const options of refused) {
        const [kind, message] = await failure(options);
        assertEquals(kind, "credentials", message);
        assertMatch(
          message,
          /^Cannot .*: credentials that the broker knows and that may do this are required/,
        );
      }
    }
    {
      const [own, other] = [jwtUser(), jwtUser()];
      await using server = await NatsServer.start(own.config);
      await connects({ url: server.url, creds: own.creds });
      assertEquals((await failure({ url: server.url, creds: other.creds }))[0], "credentials");
    }
    await using server = await NatsServer.start(`authorization { token: "s3cret" }`);
    await connects({ url: server.url, token: "s3cret" });
    await connects({ url: server.url.replace("//", "//s3cret@") });
    assertEquals((await failure({ url: server.url, token: "wrong" }))[0], "credentials");
  },
});

Deno.test({
  name: "NATS: a server without JetStream, and one whose store is full, are told apart from one that is away",
  ignore: NATS_SERVER === null,
  async fn() {
    {
      await using server = await NatsServer.start("jetstream: disabled");
      assertMatch(
        (await failure({ url: server.url }))[1],
        /^Cannot use NATS with JetStream \(start nats-server with -js\)/,
      );
    }
    await using server = await NatsServer.start(
      `jetstream { store_dir: "FOLDER/store", max_file_store: 1MB }`,
    );
    const broker = await JetStreamBroker.connect({ url: server.url });
    const store = await broker.objects("o");
    await store.put("first", new Uint8Array(600_000));
    const error = await assertRejects(() => store.put("second", new Uint8Array(600_000)), BrokerError);
    assertEquals(error.failure, "full", error.message);
    assertMatch(error.message, /^Cannot store "second": room in the broker's store is required/);
    assertEquals(await store.list(), ["first"]);
    await store.remove("first");
    await server.stop(); // servers before 2.9.15 count what was purged until then (nats-server, pull request 3876)
    await server.begin();
    await withPatience(() => store.list(), { patienceMs: 10_000 });
    await store.put("second", new Uint8Array(600_000));
    await broker.close();
  },
});

/** Runs openssl in a folder, with arguments as they would be typed. */
async function openssl(folder: string, line: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args: line.split(" "), cwd: folder })
    .output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const HAS_OPENSSL = await Deno.stat("/usr/bin/openssl").then(() => true, () => false);

/** An authority, and a certificate of 127.0.0.1 that it signed, for server and client. */
async function writeCertificates(folder: string): Promise<void> {
  const key = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj";
  await openssl(folder, `req -x509 -days 2 ${key} /CN=authority -keyout ca.key -out ca.pem`);
  await openssl(folder, `req ${key} /CN=test -keyout key.pem -out csr.pem`);
  await Deno.writeTextFile(`${folder}/ext`, "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  const signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext";
  await openssl(folder, `x509 -req -in csr.pem ${signed} -out cert.pem`);
}

Deno.test({
  name:
    "NATS: with TLS a client that trusts the server's authority is let in, with its own certificate where one is asked for; WebSockets work too",
  ignore: NATS_SERVER === null || !HAS_OPENSSL,
  async fn() {
    const web = freePort();
    const files = `cert_file: "FOLDER/cert.pem", key_file: "FOLDER/key.pem"`;
    {
      const config = `tls { ${files} }\nwebsocket { host: "127.0.0.1", port: ${web}, no_tls: true }`;
      await using server = await NatsServer.start(config, writeCertificates);
      const ca = await Deno.readTextFile(`${server.folder}/ca.pem`);
      const url = server.url.replace("nats:", "tls:");
      await connects({ url: server.url, tls: { ca } });
      await connects({ url, tls: { ca } });
      await connects({ url: `ws://127.0.0.1:${web}` });
      const [kind, message] = await failure({ url });
      assertEquals(kind, "certificate", message);
    }
    await using server = await NatsServer.start(
      `tls { ${files}, ca_file: "FOLDER/ca.pem", verify: true }`,
      writeCertificates,
    );
    const read = (name: string) => Deno.readTextFile(`${server.folder}/${name}.pem`);
    const [ca, cert, key] = [await read("ca"), await read("cert"), await read("key")];
    await connects({ url: server.url, tls: { ca, cert, key } });
    const [kind, message] = await failure({ url: server.url, tls: { ca } });
    assertEquals(kind, "certificate", message);
    assertMatch(message, /received "the server asks for a certificate of the client's own"$/);
  },
});

Deno.test({
  name: "NATS: a server without TLS is refused where the address insists on it",
  ignore: NATS_SERVER === null,
  async fn() {
    await using server = await NatsServer.start();
    const [kind, message] = await failure({ url: server.url.replace("nats:", "tls:") });
    assertEquals(kind, "certificate", message);
  },
});

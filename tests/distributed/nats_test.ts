/**
 * Who may connect to NATS, and how it is said when somebody may not.
 * @module
 */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { nkeys } from "@nats-io/nats-core";
import { BrokerError, JetStreamBroker, type NatsOptions, withPatience } from "@peft/webgpu/distributed";
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

/** Runs openssl. */
async function openssl(folder: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args, cwd: folder }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const HAS_OPENSSL = await Deno.stat("/usr/bin/openssl").then(() => true, () => false);

Deno.test({
  name: "NATS: with TLS a client that trusts the server's authority is let in; WebSockets work too",
  ignore: NATS_SERVER === null || !HAS_OPENSSL,
  async fn() {
    const prepare = async (folder: string) => {
      const subject = [
        "-subj",
        "/CN=test",
        "-days",
        "2",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
      ];
      await openssl(folder, "req", "-x509", ...subject, "-keyout", "ca.key", "-out", "ca.pem");
      await openssl(
        folder,
        "req",
        ...subject.filter((part) => part !== "-days" && part !== "2"),
        "-keyout",
        "key.pem",
        "-out",
        "csr.pem",
      );
      await Deno.writeTextFile(`${folder}/ext`, "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
      const signed = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
      ];
      await openssl(folder, "x509", "-req", "-in", "csr.pem", ...signed, "-out", "cert.pem");
    };
    const web = freePort();
    const config = `tls { cert_file: "FOLDER/cert.pem", key_file: "FOLDER/key.pem" }
websocket { host: "127.0.0.1", port: ${web}, no_tls: true }`;
    await using server = await NatsServer.start(config, prepare);
    const ca = await Deno.readTextFile(`${server.folder}/ca.pem`);
    await connects({ url: server.url, tls: { ca } });
    await connects({ url: server.url.replace("nats:", "tls:"), tls: { ca } });
    await connects({ url: `ws://127.0.0.1:${web}` });
    const [kind, message] = await failure({ url: server.url.replace("nats:", "tls:") });
    assertEquals(kind, "certificate", message);
  },
});

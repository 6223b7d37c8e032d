/**
 * The link by which a tab joins: what it says, what the address bar keeps of it, and what the browser may reach then.
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { joinLink } from "../../cli/join_link.ts";
import { NODE_FLAGS } from "../../jobs/finetune/node_flags.ts";
import { checkFlags } from "../../jobs/flags.ts";
import { isLink, type JoinLink, policyFor, readLink, shownHash } from "../../studio/page/join/link.ts";
import type { StudioError } from "../../studio/protocol.ts";

const HASH = "0123456789abcdef".repeat(4);
const problemOf = (hash: string, protocol = "http:") => {
  const { kind, title, whatToDo } = readLink(hash, protocol) as StudioError;
  return [kind, `${title} ${whatToDo}`];
};

Deno.test("readLink() reads what joinLink() writes, and the address bar keeps no credentials", () => {
  const base = { name: "models/small", path: "models/small", hash: HASH } as never;
  const studio = "https://studio.example.org/teach";
  const text = joinLink({ websocket: "wss://broker.example.org:9222", studio }, "pirate", base)!;
  assertEquals(
    text,
    `https://studio.example.org/teach/join.html#broker=wss://broker.example.org:9222&training=pirate&model=small&base=${HASH}`,
  );
  assertEquals(joinLink({ websocket: undefined, studio }, "pirate", base), null);
  const said = new URL(text).hash;
  const nobody = { user: "", password: "", token: "" };
  const plain = {
    ...{ broker: "wss://broker.example.org:9222", training: "pirate", model: "small", base: HASH },
    ...nobody,
  };
  assertEquals(readLink(said, "https:"), plain);
  const link = readLink(`${said}&user=peft&password=a%26b&token=t`, "https:") as JoinLink;
  assertEquals(link, { ...plain, user: "peft", password: "a&b", token: "t" });
  assertEquals(shownHash(link), said);
  const ofHub = { name: "owner/small", path: "/cache/models--owner--small/x", hash: HASH } as never;
  assertMatch(joinLink({ websocket: "ws://10.0.0.1:9222", studio }, "p", ofHub)!, /&model=owner\/small&/);

  const before = (address: string) => {
    const { broker, user, password, token } = readLink(`#broker=${address}`, "http:") as JoinLink;
    return [broker, user, password, token];
  };
  assertEquals(before("ws://peft:s%2540cret@10.0.0.1:9222"), ["ws://10.0.0.1:9222", "peft", "s@cret", ""]);
  assertEquals(before("wss://t0ken@broker.example.org/nats"), [
    "wss://broker.example.org/nats",
    "",
    "",
    "t0ken",
  ]);
});

Deno.test("readLink() says in a sentence what is wrong with a link, and never shows a password", () => {
  assertEquals(problemOf("")[0], "bad-settings");
  assertMatch(problemOf("#training=pirate")[1], /^This page needs a link that names a broker\. Ask whoever/);
  for (const address of ["nats://10.0.0.1:4222", "https://example.org", "10.0.0.1:9222", "wss://"]) {
    assertMatch(
      problemOf(`#broker=${address}`)[1],
      /^The link names no broker that a tab can reach\..* wss:\/\//,
    );
  }
  const { detail } = readLink("#broker=nats://peft:secret@10.0.0.1", "http:") as StudioError;
  assertEquals(detail, "nats://…@10.0.0.1");
  assertMatch(
    problemOf("#broker=ws://10.0.0.1:9222", "https:")[1],
    /^This page came over https, and the link's broker has no TLS\./,
  );
  for (const near of ["ws://localhost:9222", "ws://127.0.0.1:9222", "ws://[::1]:9222"]) {
    assertEquals(isLink(readLink(`#broker=${near}`, "https:")), true, near);
  }
  assertMatch(problemOf("#broker=ws://10.0.0.1:9222&base=12ab")[1], /^The link is damaged/);
});

Deno.test("--websocket and --studio take addresses that may be shown, and never show a password", () => {
  const problemsOf = (given: Record<string, string>) =>
    checkFlags(NODE_FLAGS, { nodes: "2", queue: "nats://10.0.0.1", ...given }).problems;
  const wanted = "must be an address that begins with";
  assertEquals(
    problemsOf({ websocket: "wss://broker.example.org:9222/nats", studio: "http://10.0.0.1" }),
    [],
  );
  assertEquals(problemsOf({ websocket: "wss://peft:secret@broker.example.org" }), [
    `--websocket ${wanted} wss:// or ws://, without credentials, received "wss://…@broker.example.org"`,
  ]);
  assertEquals(problemsOf({ websocket: "nats://10.0.0.1:4222", studio: "studio.example.org" }), [
    `--websocket ${wanted} wss:// or ws://, without credentials, received "nats://10.0.0.1:4222"`,
    `--studio ${wanted} https:// or http://, without credentials, received "studio.example.org"`,
  ]);
});

Deno.test("policyFor() lets the browser reach the one broker in place of all", () => {
  const policy =
    "default-src 'none'; connect-src 'self' blob: https://hub.example ws: wss:; form-action 'none'";
  assertEquals(
    policyFor("wss://broker.example.org:9222/nats", policy),
    "default-src 'none'; connect-src 'self' blob: https://hub.example wss://broker.example.org:9222; form-action 'none'",
  );
  assertEquals(policyFor("ws://[::1]:9222", policy).includes("example ws:;"), true);
});

/**
 * Flags that say how a broker is reached, by the names of NATS' own tools.
 * @module
 */

import { refusedAs, type Rule, rule, text } from "../options/rules.ts";

/** The flags. */
export const BROKER_FLAGS = {
  queue: {
    rule: text,
    help:
      "Address of a NATS server with JetStream: nats://host:4222, tls://, ws://, wss://; several with commas between",
  },
  creds: { rule: text, needs: "queue", help: "File of credentials, .creds: a user's JWT and NKey" },
  nkey: { rule: text, needs: "queue", help: "File with the seed of an NKey" },
  tlsca: { rule: text, needs: "queue", help: "Certificate in PEM of the authority that signed the server's" },
  tlscert: {
    rule: text,
    needs: "queue",
    help: "This client's certificate in PEM, where the server asks for one",
  },
  tlskey: { rule: text, needs: "queue", help: "The key of --tlscert" },
} as const;

/** Their values. */
export interface BrokerValues {
  readonly queue: string | undefined;
  readonly creds: string | undefined;
  readonly nkey: string | undefined;
  readonly tlsca: string | undefined;
  readonly tlscert: string | undefined;
  readonly tlskey: string | undefined;
}

/** An address of the given schemes that may be shown: it has no credentials. */
function publicAddress(...schemes: string[]): Rule<string> {
  const isPublic = (value: unknown) => {
    const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : null;
    return url !== null && schemes.includes(url.protocol) && url.username + url.password + url.hash === "";
  };
  const wanted = schemes.map((scheme) => `${scheme}//`).join(" or ");
  return refusedAs(rule<string>(wanted, isPublic), (name, value) => {
    const shown = String(value).replace(/\/\/[^@/]*@/, "//…@");
    return `${name} must be an address that begins with ${wanted}, without credentials, received "${shown}"`;
  });
}

/** Flags of what browsers' tabs may work for. */
export const TAB_FLAGS = {
  websocket: {
    rule: publicAddress("wss:", "ws:"),
    needs: "queue",
    help:
      "Address by which browsers reach the same broker (nats-server's websocket block): prints the link of the studio by which a tab joins",
  },
  studio: {
    rule: publicAddress("https:", "http:"),
    default: "http://127.0.0.1:8080/",
    help: "With --websocket: address of the studio (./run studio, or its files on any host)",
  },
} as const;

/** Their values. */
export interface TabValues {
  readonly websocket: string | undefined;
  readonly studio: string;
}

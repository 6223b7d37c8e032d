/**
 * Flags that say how a broker is reached, by the names of NATS' own tools.
 * @module
 */

import { text } from "../options/rules.ts";

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

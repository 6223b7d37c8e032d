/**
 * Connecting to NATS: the one place that knows addresses, credentials, TLS, and what its errors mean.
 * @module
 */

import {
  type Authenticator,
  type ConnectionOptions,
  credsAuthenticator,
  hasWsProtocol,
  type NatsConnection,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
  wsconnect,
} from "@nats-io/nats-core";
import { BrokerError, type BrokerFailure } from "./broker_error.ts";

/**
 * How to reach a NATS server, and as whom.
 *
 * @example
 * ```ts
 * import { JetStreamBroker, type NatsOptions } from "@peft/webgpu/distributed";
 *
 * // connects as the user of a `.creds` file
 * async function connectAs(file: string): Promise<JetStreamBroker> {
 *   const creds = await Deno.readTextFile(file);
 *   const onStatus: NatsOptions["onStatus"] = (status) => console.warn(`the broker: ${status}`);
 *   return await JetStreamBroker.connect({ url: "tls://broker.example.com:4222", name: "worker", creds, onStatus });
 * }
 * ```
 */
export interface NatsOptions {
  /**
   * Addresses with commas between: `nats://host:4222`, `tls://` to insist on TLS, `ws://` and `wss://` by WebSocket (all
   * that browsers have). `user:password@` or `token@` before the host are credentials.
   */
  readonly url: string;
  /** What the server's monitoring calls this connection. */
  readonly name?: string;
  /** A token, where the server has one for all. */
  readonly token?: string;
  /** A user's name. */
  readonly user?: string;
  /** The user's password. */
  readonly password?: string;
  /** Contents of a `.creds` file: a user's JWT and its NKey. */
  readonly creds?: string;
  /** Seed of an NKey, which begins with SU. */
  readonly nkey?: string;
  /** Certificates in PEM: of the authority that signed the server's, and this client's own with its key. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** Milliseconds to wait for the first connection. Default 5000. */
  readonly timeoutMs?: number;
  /** Told of lost and new connections. */
  readonly onStatus?: (status: "disconnected" | "reconnected") => void;
}

const DEFAULT_PORT = 4222;
const SCHEMES = ["nats:", "tls:", "ws:", "wss:"];

/** An address without its credentials. */
interface Address {
  readonly scheme: string;
  /** As the client takes it. */
  readonly server: string;
  readonly user: string;
  readonly password: string;
}

function refuse(given: string, wanted: string): never {
  const shown = given.replace(/\/\/[^@/]*@/, "//…@"); // no password in a message
  throw new BrokerError(
    "other",
    `Cannot connect to NATS: ${wanted} is required, such as nats://localhost:4222, received "${shown}"`,
  );
}

function parseAddress(text: string): Address {
  const scheme = /^[a-z]+:(?=\/\/)/.exec(text)?.[0] ?? "";
  let url: URL | null = null;
  try {
    // URL knows no hosts of unknown schemes
    url = new URL(text.replace(/^[a-z]+:(?=\/\/)/, scheme === "wss:" ? "https:" : "http:"));
  } catch { /* refused below */ }
  if (url === null || url.hostname === "" || !SCHEMES.includes(scheme)) {
    return refuse(text, `an address that begins with ${SCHEMES.map((name) => `${name}//`).join(", ")}`);
  }
  const isWeb = scheme.startsWith("ws");
  const port = url.port || (isWeb ? (scheme === "wss:" ? 443 : 80) : DEFAULT_PORT);
  return {
    scheme,
    server: `${isWeb ? `${scheme}//` : ""}${url.hostname}:${port}${isWeb ? url.pathname : ""}`,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  };
}

/** Who connects; none where nothing says it. */
function authenticatorOf(options: NatsOptions, { user: before, password: secret }: Address): Authenticator[] {
  const { creds, nkey, user, password, token } = options;
  const bytes = (text: string) => new TextEncoder().encode(text);
  try {
    const signer = creds !== undefined
      ? credsAuthenticator(bytes(`${creds.trim()}\n`)) // the client's pattern ends with a line break
      : nkey !== undefined
      ? nkeyAuthenticator(bytes(nkey.trim()))
      : null;
    signer?.("nonce"); // what is no seed fails here, and not while connecting
    if (signer) return [signer];
  } catch (cause) {
    throw new BrokerError(
      "credentials",
      `Cannot connect to NATS: ${
        creds === undefined ? "an NKey's seed, which begins with SU," : "a .creds file with a JWT and an NKey"
      } is required, received another text (${(cause as Error).message})`,
      { cause },
    );
  }
  if (user !== undefined) return [usernamePasswordAuthenticator(user, password)];
  if (token !== undefined) return [tokenAuthenticator(token)];
  if (before !== "" && secret !== "") return [usernamePasswordAuthenticator(before, secret)];
  return before === "" ? [] : [tokenAuthenticator(before)];
}

/** Codes of JetStream that tell of a store without room. Source: nats-server, server/errors.json */
const FULL_CODES: ReadonlySet<number> = new Set([10023, 10028, 10047, 10077, 10123]);
/** JetStream does not answer yet (the same list). */
const STARTING = 10008;

/** What failed, by the client's own classes, codes and texts; the first that fits. */
const SIGNS: readonly (readonly [BrokerFailure, (error: Error & { code?: unknown }) => boolean])[] = [
  ["full", ({ code }) => FULL_CODES.has(code as number)],
  ["full", ({ message }) => /no space left|insufficient (?:storage )?resources/i.test(message)],
  ["credentials", ({ name }) => /Authorization|Authentication|PermissionViolation/.test(name)],
  ["credentials", ({ message }) => /authorization|authentication|permissions? violation/i.test(message)],
  ["unreachable", ({ code }) => /^E(?:CONN|HOST|NET|PIPE|NOTFOUND|TIMEDOUT|AI_)/.test(String(code))], // of sockets
  ["certificate", ({ message }) => /certificate|\btls\b|\bssl\b/i.test(message)],
  ["unreachable", ({ name, code }) => name === "JetStreamApiError" && code === STARTING],
  ["unreachable", ({ name }) => /Timeout|Connection|NoResponders/.test(name)],
  ["unreachable", ({ message }) => /timeout|closed|connection|no responders/i.test(message)],
];

function failureOf(error: Error): BrokerFailure {
  const [failure] = SIGNS.find(([, fits]) => fits(error)) ?? [null];
  return failure ?? (error.cause instanceof Error ? failureOf(error.cause) : "other");
}

const WANTED: Readonly<Record<BrokerFailure, string>> = {
  unreachable: "a broker that answers is required",
  credentials: "credentials that the broker knows and that may do this are required",
  certificate: "TLS with a certificate that is trusted is required",
  full: "room in the broker's store is required",
  other: "a broker that does this is required",
};

/** An error of the client as ours. @param action what failed, such as "store an object" */
export function brokerError(action: string, cause: unknown): BrokerError {
  if (cause instanceof BrokerError) return cause;
  const error = cause instanceof Error ? cause : new Error(String(cause));
  const failure = failureOf(error);
  return new BrokerError(failure, `Cannot ${action}: ${WANTED[failure]}, received "${error.message}"`, {
    cause,
  });
}

/** Tells of lost and new connections until the connection ends. */
async function follow(connection: NatsConnection, tell: NonNullable<NatsOptions["onStatus"]>): Promise<void> {
  for await (const { type } of connection.status()) {
    if (type === "disconnect") tell("disconnected");
    if (type === "reconnect") tell("reconnected");
  }
}

/**
 * Connects to a NATS server. The connection comes back by itself, for as long as it takes, when the server was away;
 * what was asked meanwhile fails with "unreachable".
 *
 * @throws {BrokerError} "unreachable" where no server answers, "credentials" for wrong ones, "other" for an address that is none
 */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const addresses = options.url.split(",").map((part) => parseAddress(part.trim()));
  const [first] = addresses;
  const isWeb = addresses.some(({ scheme }) => scheme.startsWith("ws"));
  if (isWeb && !addresses.every(({ scheme }) => scheme.startsWith("ws"))) {
    refuse(options.url, "addresses that are all of WebSockets, or none,");
  }
  const { tls } = options;
  const common: ConnectionOptions = {
    servers: addresses.map(({ server }) => server),
    name: options.name,
    authenticator: authenticatorOf(options, first),
    timeout: options.timeoutMs ?? 5000,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    pingInterval: 20_000,
    ignoreAuthErrorAbort: true, // a server that restarts may know its users only later
  };
  const wantsTls = !isWeb && (tls !== undefined || addresses.some(({ scheme }) => scheme === "tls:"));
  let connection: NatsConnection;
  try {
    if (isWeb || hasWsProtocol(common)) connection = await wsconnect(common);
    else {
      const { connectSocket } = await import("./nats_socket.ts");
      connection = await connectSocket({ ...common, ...wantsTls && { tls: { ...tls } } });
    }
  } catch (cause) {
    const where = addresses.map(({ server }) => server).join(", ");
    throw brokerError(`connect to NATS at ${where}`, cause);
  }
  if (options.onStatus) void follow(connection, options.onStatus);
  return connection;
}

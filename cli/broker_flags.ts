/**
 * How commands reach the broker of their flags, with credentials of files and of the environment.
 * @module
 */

import { type Broker, JetStreamBroker } from "@peft/webgpu/distributed";
import type { BrokerValues } from "../jobs/broker_flags.ts";
import { UsageError } from "../jobs/usage_error.ts";

async function contentsOf(
  command: string,
  flag: string,
  path: string | undefined,
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    throw new UsageError(`Cannot run ${command}: --${flag} must be a file, received "${path}"`, { cause });
  }
}

/** A variable of the environment; undefined where it may not be read. */
function environment(name: string): string | undefined {
  try {
    return Deno.env.get(name) || undefined;
  } catch {
    return undefined;
  }
}

/**
 * Connects to the broker of `--queue`. NATS_USER, NATS_PASSWORD and NATS_TOKEN of the environment are credentials too,
 * which no list of processes shows.
 * @param name what the server's monitoring calls this program
 */
export async function openBroker(command: string, values: BrokerValues, name: string): Promise<Broker> {
  const { queue: url, creds, nkey, tlsca, tlscert, tlskey } = values;
  if (url === undefined) {
    throw new UsageError(`Cannot run ${command}: --queue is required; see ${command} --help`);
  }
  if ((tlscert === undefined) !== (tlskey === undefined)) {
    throw new UsageError(`Cannot run ${command}: --tlscert and --tlskey must be given together`);
  }
  const read = (flag: string, path: string | undefined) => contentsOf(command, flag, path);
  const [ca, cert, key] = [
    await read("tlsca", tlsca),
    await read("tlscert", tlscert),
    await read("tlskey", tlskey),
  ];
  const wantsTls = ca !== undefined || cert !== undefined;
  return await JetStreamBroker.connect({
    url,
    name,
    creds: await read("creds", creds),
    nkey: await read("nkey", nkey),
    user: environment("NATS_USER"),
    password: environment("NATS_PASSWORD"),
    token: environment("NATS_TOKEN"),
    ...wantsTls && { tls: { ca, cert, key } },
    onStatus: (status) =>
      console.error(
        status === "disconnected" ? "the broker is away; waiting for it" : "the broker is back",
      ),
  });
}

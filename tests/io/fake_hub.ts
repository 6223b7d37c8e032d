/**
 * A model hub on this machine, with a switch for everything that can go wrong.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import { HubError, type HubFailure, type ResolveOptions } from "../../io/hub.ts";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const encoder = new TextEncoder();
export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

export const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, i) => i * 31 + (i >> 8));
export const CONFIG = encoder.encode('{"model_type":"gpt2"}');

/** What the fake hub does instead of serving a file. */
export type Trick = (
  request: Request,
  bytes: Uint8Array,
  hit: number,
) => Response | Promise<Response> | undefined;

export interface FakeHub {
  url: string;
  /** Requests of file contents: path and Range header. */
  hits: string[];
  /** Every request. */
  requests: { method: string; path: string; authorization: string | null; encoding: string | null }[];
  files: Map<string, Uint8Array>;
  /** Overrides of what paths-info says of a file. */
  info: Map<string, Record<string, unknown>>;
  trick?: Trick;
  api?: (path: string) => Response | undefined;
  commit: string;
  stop(): Promise<void>;
}

/** Size and hashes of a file, as the hub gives them. */
export function infoOf(name: string, bytes: Uint8Array): Record<string, unknown> {
  const lfs = /\.(safetensors|gguf|bin)$/.test(name)
    ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }
    : {};
  return { size: bytes.length, oid: gitSha1(bytes), ...lfs };
}

/** A server that answers like the hub, on this machine alone. */
export function serveHub(): FakeHub {
  const hub: FakeHub = {
    url: "",
    hits: [],
    requests: [],
    files: new Map([["config.json", CONFIG], ["model.safetensors", WEIGHTS]]),
    info: new Map(),
    commit: COMMIT,
    stop: () => server.shutdown(),
  };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const path = decodeURIComponent(new URL(request.url).pathname);
    hub.requests.push({
      method: request.method,
      path,
      authorization: request.headers.get("Authorization"),
      encoding: request.headers.get("Accept-Encoding"),
    });
    const special = hub.api?.(path);
    if (special) return special;
    if (path.startsWith("/api/models/org/tiny/revision/")) {
      return Response.json({
        _id: "1",
        id: "org/tiny",
        sha: hub.commit,
        lastModified: "2026-01-01T00:00:00Z",
      });
    }
    if (path === `/api/models/org/tiny/tree/${hub.commit}`) {
      return Response.json(
        [...hub.files].map(([path, bytes]) => ({ type: "file", path, ...infoOf(path, bytes) })),
      );
    }
    if (path === `/api/models/org/tiny/paths-info/${hub.commit}`) {
      const { paths } = await request.json() as { paths: string[] };
      return Response.json(
        paths.filter((name) => hub.files.has(name)).map((name) => {
          const bytes = hub.files.get(name)!;
          return { path: name, type: "file", ...infoOf(name, bytes), ...hub.info.get(name) };
        }),
      );
    }
    const name = path.replace(`/org/tiny/resolve/${hub.commit}/`, "");
    const bytes = hub.files.get(name);
    if (!bytes) return new Response("Entry not found", { status: 404 });
    const range = request.headers.get("Range");
    hub.hits.push(range ? `${name} ${range}` : name);
    const tricked = await hub.trick?.(request, bytes, hub.hits.length);
    if (tricked) return tricked;
    if (!range) return new Response(bytes.slice());
    const start = Number(/^bytes=(\d+)-$/.exec(range)![1]);
    return new Response(bytes.slice(start), {
      status: 206,
      headers: { "Content-Range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` },
    });
  });
  hub.url = `http://127.0.0.1:${server.addr.port}`;
  return hub;
}

/** Sends the client to a server that closes the connection after `count` bytes although more are announced. */
export function broken(bytes: Uint8Array, count: number, status = "200 OK", headers = ""): Response {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  (async () => {
    const connection = await listener.accept();
    await connection.read(new Uint8Array(4096));
    const head = `HTTP/1.1 ${status}\r\nContent-Length: ${bytes.length}\r\n${headers}\r\n`;
    const answer = new Uint8Array([...encoder.encode(head), ...bytes.subarray(0, count)]);
    for (let at = 0; at < answer.length;) at += await connection.write(answer.subarray(at));
    connection.close();
    listener.close();
  })();
  return Response.redirect(`http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}/`, 302);
}

export const FILES = ["config.json", "model.safetensors"];

export async function withHub(
  body: (hub: FakeHub, options: ResolveOptions & { cacheDir: string }) => Promise<void>,
): Promise<void> {
  const cacheDir = await Deno.makeTempDir();
  const hub = serveHub();
  try {
    await body(hub, {
      files: FILES,
      hubUrl: hub.url,
      cacheDir,
      token: "",
      timeouts: { retryMs: 1, connectMs: 2000, stallMs: 300 },
    });
  } finally {
    await hub.stop();
    await Deno.remove(cacheDir, { recursive: true });
  }
}

export async function assertFails(
  promise: Promise<unknown>,
  failure: HubFailure,
  message: string,
): Promise<HubError> {
  const error = await assertRejects(() => promise, HubError, message);
  assertEquals(error.failure, failure, error.message);
  return error;
}

export const repository = (cacheDir: string) => join(cacheDir, "models--org--tiny");
export const blobsIn = (cacheDir: string) => {
  try {
    return [...Deno.readDirSync(join(repository(cacheDir), "blobs"))].map((entry) => entry.name).sort();
  } catch {
    return [];
  }
};

/** All files below a folder. */
export function* walk(folder: string): Iterable<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* walk(path);
    else yield path;
  }
}

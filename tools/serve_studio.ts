/**
 * Builds the studio and serves it: `./run studio [--port N] [--host NAME] [--hub URL]`.
 * @module
 */
import { parseArgs } from "node:util";
import { buildStudio, contentPolicy, DEFAULT_HUB, hubOrigin, pagePolicies } from "./build_studio.ts";
import { gzip } from "./bundle.ts";

const HELP = `Builds the studio, a page where you teach a model and take the adapter home, and serves it.

Usage: ./run studio [flags]

  --port <integer>  Where to listen [8080]; 0 takes any free port
  --host <name>     Address to listen on [127.0.0.1]; browsers offer WebGPU on localhost and https alone
  --hub <url>       Model hub, the only other origin that the page may reach [${DEFAULT_HUB}]
  --help            Show this text

Nothing is opened by itself: the address is printed. Ctrl-C ends it. The files in dist/studio can be put on any
web host, under any path.`;

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
  jsonl: "application/jsonl; charset=utf-8",
  jinja: "text/plain; charset=utf-8",
  txt: "text/plain; charset=utf-8",
  svg: "image/svg+xml",
  woff2: "font/woff2",
  wasm: "application/wasm",
};

/** Types that shrink. */
const isText = (type: string) => /^text\/|json|svg/.test(type);

/** First and last byte of `bytes=from-to`, `bytes=from-` or `bytes=-last`; null where there is none, or none in the file. */
function readRange(header: string | null, size: number): [first: number, last: number] | null {
  const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(header ?? "") ?? [];
  if (!from && !to) return null;
  const first = from ? Number(from) : Math.max(0, size - Number(to));
  const last = from && to ? Math.min(Number(to), size - 1) : size - 1;
  return first <= last ? [first, last] : null;
}

/** The path that an address asks for; null where its escapes are wrong. */
function readPath(address: string): string | null {
  try {
    return decodeURIComponent(new URL(address).pathname);
  } catch {
    return null;
  }
}

/**
 * Answers requests for the files of a folder, with ranges and gzip.
 * @param options `policy`: sent with every file, but for those of `policies`, which have their own
 */
export function fileServer(
  folder: string,
  options: { policy?: string; policies?: Readonly<Record<string, string>> } = {},
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (!["GET", "HEAD"].includes(request.method)) return new Response(null, { status: 405 });
    const asked = readPath(request.url);
    const path = asked?.endsWith("/") ? `${asked}index.html` : asked ?? "";
    const plain = (status: number, text: string, headers = {}) =>
      new Response(request.method === "HEAD" ? null : text, { status, headers });
    if (asked === null || path.split("/").includes("..") || path.includes("\0")) {
      return plain(404, "not found");
    }
    const data = await Deno.readFile(folder + path).catch(() => null);
    if (data === null) return plain(404, "not found");

    const type = TYPES[path.split(".").at(-1)!] ?? "application/octet-stream";
    const isHashed = /-[A-Z0-9]{8}\.\w+$/.test(path);
    const headers = new Headers({
      "content-type": type,
      "accept-ranges": "bytes",
      "cache-control": isHashed ? "public, max-age=31536000, immutable" : "no-cache",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    const policy = options.policies?.[path] ?? options.policy;
    if (policy) headers.set("content-security-policy", `${policy}; frame-ancestors 'none'`);
    const asksRange = request.headers.has("range");
    const range = readRange(request.headers.get("range"), data.length);
    if (asksRange && range === null) {
      return plain(416, "no such range", { "content-range": `bytes */${data.length}` });
    }
    let body: Uint8Array<ArrayBuffer> | ArrayBuffer = data;
    if (range) {
      body = data.subarray(range[0], range[1] + 1);
      headers.set("content-range", `bytes ${range[0]}-${range[1]}/${data.length}`);
    } else if (isText(type) && /\bgzip\b/.test(request.headers.get("accept-encoding") ?? "")) {
      body = await gzip(data);
      headers.set("content-encoding", "gzip");
      headers.set("vary", "accept-encoding");
    }
    headers.set("content-length", String(body.byteLength));
    return new Response(request.method === "HEAD" ? null : body, { status: range ? 206 : 200, headers });
  };
}

/** A mistake in the flags, or a port that cannot be had. */
class ServeError extends Error {
  override name = "ServeError";
}

/** What the command line asks for; null for `--help`. @throws {ServeError} for flags that do not exist or are wrong */
function readFlags(args: string[]): { port: number; host: string; hub: string } | null {
  const text = { type: "string" } as const;
  let values: { port?: string; host?: string; hub?: string; help?: boolean };
  try {
    const options = { port: text, host: text, hub: text, help: { type: "boolean", short: "h" } } as const;
    ({ values } = parseArgs({ args, options, strict: true, allowPositionals: false }));
  } catch (error) {
    const [reason] = (error as Error).message.split(". ");
    throw new ServeError(`Cannot run studio: ${reason}; see ./run studio --help`);
  }
  if (values.help) return null;
  const { port = "8080", host = "127.0.0.1", hub = DEFAULT_HUB } = values;
  if (!/^\d+$/.test(port) || Number(port) > 65535) {
    throw new ServeError(`Cannot run studio: --port must be an integer from 0 to 65535, received "${port}"`);
  }
  const origin = hubOrigin(hub);
  if (origin === null) {
    throw new ServeError(`Cannot run studio: --hub must be a web address, received "${hub}"`);
  }
  return { port: Number(port), host, hub: origin };
}

/** Listens, or says why not. @throws {ServeError} where the port is in use, or the host is none of this machine's */
function listen(
  host: string,
  port: number,
  handler: (request: Request) => Promise<Response>,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: host, port, onListen: () => {} }, handler);
  } catch (error) {
    const reason = error instanceof Deno.errors.AddrInUse
      ? `port ${port} is in use; choose another one with --port, or 0 for any`
      : error instanceof Deno.errors.PermissionDenied
      ? `port ${port} is not allowed to you; choose one above 1023 with --port`
      : `--host "${host}" must be an address of this machine: ${(error as Error).message}`;
    throw new ServeError(`Cannot serve the studio: ${reason}`);
  }
}

/** Builds, serves until Ctrl-C or a polite kill, and gives the exit code: 0; 1 for a mistake in what was asked. */
async function main(args: string[]): Promise<number> {
  try {
    const flags = readFlags(args);
    if (flags === null) {
      console.log(HELP);
      return 0;
    }
    const { promise: answered, resolve: answerWith } = Promise.withResolvers<ReturnType<typeof fileServer>>();
    // before the build, because it may fail; requests wait for the build
    const server = listen(flags.host, flags.port, async (request) => (await answered)(request));
    const { output, problems } = await buildStudio({ hub: flags.hub });
    for (const problem of problems) console.error(problem);
    answerWith(fileServer(output, { policy: contentPolicy(flags.hub), policies: pagePolicies(flags.hub) }));
    const host = flags.host.includes(":") ? `[${flags.host}]` : flags.host;
    const stop = () => void server.shutdown();
    const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
    for (const name of signals) Deno.addSignalListener(name, stop);
    console.log(`The studio is at http://${host}:${server.addr.port}/ (Ctrl-C ends it)`);
    await server.finished;
    return 0;
  } catch (error) {
    if (!(error instanceof ServeError)) throw error;
    console.error(error.message);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));

/**
 * The engine in this process, behind messages as in a worker, with a private file system in memory and the built-in model's
 * files on a server.
 * @module
 */
import { EngineClient, EngineError } from "../../studio/engine/client.ts";
import type { Engine, EngineHost } from "../../studio/engine/engine.ts";
import { serve } from "../../studio/engine/serve.ts";
import type {
  DataFacts,
  EngineEvent,
  ErrorKind,
  FromEngine,
  NamedFile,
  StudioError,
  ToEngine,
  TrainEvent,
  TrainingSettings,
} from "../../studio/protocol.ts";
import { assertEquals } from "../assert.ts";
import { FakeDirectory } from "../io/fake_handles.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Everything that the built-in model is served from. */
export const ASSETS = {
  model: `${ROOT}examples/demo/model/`,
  data: `${ROOT}examples/demo/data/`,
  support: `${ROOT}examples/teach/support.jsonl`,
};

/** Path on disk of an asset that a page asks for, such as `data/pirate.jsonl`. */
export function assetPath(path: string): string | null {
  if (path.includes("..")) return null;
  if (path === "data/support.jsonl") return ASSETS.support;
  if (path.startsWith("data/")) return ASSETS.data + path.slice("data/".length);
  return path.startsWith("model/") ? ASSETS.model + path.slice("model/".length) : null;
}

/** A server of the assets. */
export function serveAssets(): { url: string; requests: string[]; stop: () => Promise<void> } {
  const requests: string[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const path = new URL(request.url).pathname.replace("/assets/", "");
    requests.push(path);
    const file = assetPath(path);
    const bytes = file && await Deno.readFile(file).catch(() => null);
    return bytes ? new Response(bytes) : new Response("not found", { status: 404 });
  });
  return { url: `http://127.0.0.1:${server.addr.port}/assets/`, requests, stop: () => server.shutdown() };
}

/** An engine with its page's end. */
export interface Started {
  readonly client: EngineClient;
  readonly engine: Engine;
  /** Its private file system. */
  readonly root: FakeDirectory;
  /** Events that belong to no call. */
  readonly events: EngineEvent[];
}

/** Messages between two ends in one process, one after the other, as a worker's are. */
export function startEngine(
  root = new FakeDirectory(),
  locks?: { request: unknown },
  makeHelper?: EngineHost["makeHelper"],
): Started {
  const later = (deliver: () => void) => setTimeout(deliver, 0);
  const page = {
    postMessage: (message: ToEngine) =>
      void later(() => worker.onmessage?.({ data: message } as MessageEvent<ToEngine>)),
    onmessage: null as ((event: MessageEvent<FromEngine>) => void) | null,
  };
  const worker = {
    postMessage: (message: FromEngine) =>
      void later(() => page.onmessage?.({ data: message } as MessageEvent<FromEngine>)),
    onmessage: null as ((event: MessageEvent<ToEngine>) => void) | null,
  };
  const storage = {
    getDirectory: () => Promise.resolve(root),
    estimate: () => Promise.resolve({ quota: root.quota.limit, usage: root.quota.used }),
  };
  const engine = serve(worker, { storage, locks: locks as never, makeHelper });
  const client = new EngineClient(page);
  const events: EngineEvent[] = [];
  client.onEvent = (event) => void events.push(event);
  return { client, engine, root, events };
}

/** Collects the events of a training. */
export function trainEvents(): { onEvent: (event: EngineEvent) => void; events: TrainEvent[] } {
  const events: TrainEvent[] = [];
  return { events, onEvent: (event) => void (event.event === "train" && events.push(event.train)) };
}

/** What a call is refused with; every refusal says what to do. */
export async function refusalOf(call: Promise<unknown>, kind: ErrorKind): Promise<StudioError> {
  const error = await call.then(() => null, (error) => error);
  if (!(error instanceof EngineError)) throw new Error(`${kind} was expected, received ${error}`);
  assertEquals(error.error.kind, kind, JSON.stringify(error.error));
  if (kind !== "cancelled" && error.error.whatToDo.length < 10) {
    throw new Error(`no advice: ${JSON.stringify(error.error)}`);
  }
  return error.error;
}

/** Starts an engine with the built-in model and short rows of the sample data. */
export async function ready(
  assetsUrl: string,
  options: { root?: FakeDirectory; memoryBudget?: number } = {},
): Promise<Started & { data: DataFacts; settings: TrainingSettings }> {
  const started = startEngine(options.root);
  const { client } = started;
  await client.call("start", { assetsUrl, memoryBudget: options.memoryBudget });
  await client.call("openModel", { source: { kind: "builtin" } });
  const data = await client.call("openData", { source: { kind: "sample" }, length: 32 });
  const settings = {
    ...await client.call("suggest", {}),
    ...{ steps: 4, batchSize: 2, checkpointEvery: 2, evalEvery: 0, sampleEvery: 0, warmupSteps: 1 },
  };
  return { ...started, data, settings };
}

/** Runs `body` with the assets' server. */
export async function withAssets(
  body: (assetsUrl: string, requests: string[]) => Promise<void>,
): Promise<void> {
  const { url, requests, stop } = serveAssets();
  try {
    await body(url, requests);
  } finally {
    await stop();
  }
}

/** A dropped file. */
export const file = (path: string, ...parts: BlobPart[]): NamedFile => ({
  path,
  file: new File(parts, path),
});

/** A file that says it is larger than anyone may keep in a test. */
export function hugeFile(path: string, size: number): NamedFile {
  const huge = new File(["not so much"], path);
  Object.defineProperty(huge, "size", { value: size });
  return { path, file: huge };
}

/** The weights of an adapter, as they are taken home. */
export const adapterBytes = async ({ client }: Started, adapterId: string): Promise<Uint8Array> => {
  const { unzipSync } = await import("fflate");
  const { blob } = await client.call("export", { what: "peft", adapterId });
  return unzipSync(new Uint8Array(await blob.arrayBuffer()))["adapter_model.safetensors"];
};

/** The losses of every step. */
export const lossesOf = (events: readonly TrainEvent[]) =>
  events.flatMap((event) => event.type === "step" ? [event.loss] : []);

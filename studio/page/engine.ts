/**
 * The engine in its worker, as the page's modules call it.
 * @module
 */
import { signal } from "@preact/signals";
import { EngineClient, EngineError } from "../engine/client.ts";
import type { CallName, Calls, EngineEvent, Environment, StartOptions, StudioError } from "../protocol.ts";

/** The worker's script, beside the page's; the build says its name. */
declare const ENGINE_FILE: string;
/** Origin of the model hub that the page may reach; the build says it. */
declare const HUB_ORIGIN: string;

/** The hub's origin. */
export const hubOrigin: string = HUB_ORIGIN;

/** What the engine found; null until it has looked. */
export const environment = signal<Environment | null>(null);

/** What keeps the studio from working: shown in place of the step. */
export const halt = signal<StudioError | null>(null);

/** Kinds of errors after which the step itself cannot go on. */
const HALTING: ReadonlySet<StudioError["kind"]> = new Set([
  "no-webgpu",
  "other-tab",
  "out-of-memory",
  "device-lost",
]);

/** Whether an error was given a page of its own. */
export function haltWith(error: StudioError): boolean {
  if (!HALTING.has(error.kind)) return false;
  halt.value = error;
  return true;
}

/** Says that the worker itself failed. */
function crashed(detail: string): StudioError {
  return {
    kind: "internal",
    title: "The part that computes has stopped.",
    whatToDo: "Reload the page. A training goes on from where it was last saved.",
    detail,
  };
}

/**
 * Starts the worker through a blob that imports it: such a worker inherits the page's Content-Security-Policy, also from
 * hosts that send no headers, so that neither can reach another origin.
 */
function startWorker(): Worker {
  const script = `import ${JSON.stringify(new URL(ENGINE_FILE, import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module", name: "engine" });
  worker.onerror = (event) => {
    halt.value = crashed(event.message || `${ENGINE_FILE} could not be loaded`);
  };
  return worker;
}

let client: EngineClient | null = null;
/** Ends when the engine has started, or never will: a reader may be faster than it. */
let started: Promise<unknown> = Promise.resolve();

/** What an error is to a reader. */
export function readError(error: unknown): StudioError {
  if (error instanceof EngineError) return error.error;
  const detail = error instanceof Error ? error.stack ?? error.message : String(error);
  return {
    kind: "internal",
    title: "Something went wrong in the page itself.",
    whatToDo: "Try once more. If it happens again, reload the page.",
    detail,
  };
}

/** Calls the engine once it has started; see {@linkcode EngineClient.call}. */
export async function call<Name extends CallName>(
  name: Name,
  params: Calls[Name]["params"],
  options: { onEvent?: (event: EngineEvent) => void; signal?: AbortSignal } = {},
): Promise<Calls[Name]["result"]> {
  await started;
  return await client!.call(name, params, options);
}

/** Starts the engine and looks at the browser. Gives whether the studio can work. */
export async function startEngine(
  onEvent: (event: EngineEvent) => void,
  options: Pick<StartOptions, "worksBesideOthers"> = {},
): Promise<boolean> {
  client = new EngineClient(startWorker());
  client.onEvent = onEvent;
  try {
    const starting = client.call("start", {
      assetsUrl: new URL("assets/", document.baseURI).href,
      hubEndpoint: hubOrigin,
      ...options,
    });
    started = starting.catch(() => null);
    const found = await starting;
    environment.value = found;
    if (found.problem) halt.value = found.problem;
  } catch (error) {
    halt.value = readError(error);
  }
  return halt.value === null;
}

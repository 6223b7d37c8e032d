/**
 * The server's routes, as a web-standard handler: requests in, responses out, on any runtime.
 * @module
 */

import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { matchedRoutes } from "hono/route";
import { cors } from "hono/cors";
import { timingSafeEqual } from "hono/utils/buffer";
import { DeviceLostError } from "@peft/webgpu";
import { ApiError, type ErrorStatus, toApiError } from "./api_error.ts";
import type { Engine } from "./engine.ts";
import { CHAT, TEXT } from "./formats.ts";
import { Metrics } from "./metrics.ts";
import { readAdapterBody, readChatBody, readCompletionBody } from "./requests.ts";
import { respond } from "./respond.ts";

/**
 * How a server answers.
 *
 * @example
 * ```ts
 * import { ApiError, type AppOptions } from "@peft/webgpu/serve";
 * import { isSafeRelativePath } from "@peft/webgpu/io";
 *
 * const options: AppOptions = {
 *   apiKey: "a long secret",
 *   maxBodyBytes: 1_000_000,
 *   timeoutMs: 60_000,
 *   allowOrigin: "https://chat.example.com",
 *   adapterSource: (path) => {
 *     if (isSafeRelativePath(path)) return `adapters/${path}`;
 *     throw new ApiError(400, `"${path}" is no adapter of this server`, "invalid_value", "path");
 *   },
 *   onLost: () => Deno.exit(1), // what started the server starts it again
 * };
 * console.log(options.adapterSource("pirate")); // adapters/pirate
 * ```
 */
export interface AppOptions {
  /** Clients must send it as a bearer token; null: anyone may ask. */
  readonly apiKey: string | null;
  /** Greatest size of a request's body. */
  readonly maxBodyBytes: number;
  /** Longest time that a request may take. */
  readonly timeoutMs: number;
  /** Origins of pages that may ask; null: those of the server's own alone. */
  readonly allowOrigin: string | null;
  /** Where an adapter that a client names lies. @throws {ApiError} for a place that clients may not name */
  readonly adapterSource: (path: string) => string;
  /** Called once the device is lost: nothing can be answered any more. */
  readonly onLost: (error: Error) => void;
}

/**
 * A web-standard handler.
 *
 * @example
 * ```ts
 * import type { App } from "@peft/webgpu/serve";
 *
 * // ids of the models and adapters that an app answers for, asked without a port
 * async function modelIds(app: App): Promise<string[]> {
 *   const answer = await app.fetch(new Request("http://localhost/v1/models"));
 *   return (await answer.json()).data.map(({ id }: { id: string }) => id);
 * }
 * ```
 */
export interface App {
  /** Answers a request. */
  readonly fetch: (request: Request) => Response | Promise<Response>;
}

/** What is read of a body. @throws {ApiError} 408 where it is not there in time, 400 where it breaks off, and its own */
async function arriving<T>(read: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new ApiError(408, "the body took longer to arrive than this server allows", "timeout");
    timer = setTimeout(() => reject(error), timeoutMs);
  });
  try {
    return await Promise.race([read, late]);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, "the body broke off before its end", "incomplete_body");
  } finally {
    clearTimeout(timer);
  }
}

/** A body as JSON. @throws {ApiError} 400, or 408 where it is not there in time */
async function bodyOf(c: Context, timeoutMs: number): Promise<unknown> {
  const text = await arriving(c.req.text(), timeoutMs);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `the body must be JSON: ${(error as Error).message}`, "invalid_json");
  }
}

/** Where an adapter came from, as clients see it: of a path on this machine, which is none of theirs, its last part. */
function shownSource(source: string): string {
  return /^(?:[/.~\\]|[A-Za-z]:)/.test(source)
    ? source.split(/[/\\]/).findLast((part) => part !== "") ?? ""
    : source;
}

/**
 * The handler of a server: `app.fetch(request)` answers.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { createApp, Engine } from "@peft/webgpu/serve";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const engine = new Engine(model, tokenizer, "demo", {
 *   maxRows: 8,
 *   maxWaiting: 64,
 *   maxNewTokens: 512,
 *   maxChoices: 8,
 * });
 * const app = createApp(engine, {
 *   apiKey: null,
 *   maxBodyBytes: 1_000_000,
 *   timeoutMs: 60_000,
 *   allowOrigin: null,
 *   adapterSource: (path) => path,
 *   onLost: (error) => console.error(error.message),
 * });
 * Deno.serve({ port: 0 }, app.fetch); // at any port that is free
 * ```
 * @param engine the model; `dispose()` it after the server
 */
export function createApp(engine: Engine, options: AppOptions): App {
  const metrics = new Metrics(engine);
  let lost: Error | null = null;
  const noteError = (error: unknown) => {
    if (error instanceof DeviceLostError && !lost) options.onLost(lost = error);
  };
  const app = new Hono();

  app.use(async (c, next) => {
    await next();
    const { path } = matchedRoutes(c).findLast(({ method }) => method !== "ALL") ?? { path: "none" };
    metrics.request(path, c.res.status);
  });
  if (options.allowOrigin) app.use(cors({ origin: options.allowOrigin }));
  app.use("/v1/*", async (c, next) => {
    if (options.apiKey !== null && c.req.method !== "OPTIONS") {
      const [, token = ""] = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "") ?? [];
      if (!await timingSafeEqual(token, options.apiKey)) {
        throw new ApiError(401, "a valid API key is required as bearer token", "invalid_api_key");
      }
    }
    await next();
  });
  const tooLarge = () => {
    throw new ApiError(413, `a body of at most ${options.maxBodyBytes} bytes is required`, "body_too_large");
  };
  const limitBody = bodyLimit({ maxSize: options.maxBodyBytes, onError: tooLarge });
  app.use("/v1/*", async (c, next) => {
    await arriving(limitBody(c, () => Promise.resolve()), options.timeoutMs); // reads one of unknown length
    await next();
  });

  app.get("/health", (c) => lost ? c.json({ status: "lost" }, 503) : c.json({ status: "ok" }));
  app.get(
    "/metrics",
    async (c) => c.text(await metrics.text(), 200, { "content-type": metrics.contentType }),
  );

  const { modelId } = engine;
  const owned_by = "peft-webgpu";
  const models = () => [
    { id: modelId, object: "model", created: engine.created, owned_by, root: modelId, parent: null },
    ...engine.adapters.all.map(({ id, created, source }) => ({
      ...{ id, object: "model", created, owned_by, root: shownSource(source), parent: modelId },
    })),
  ];
  app.get("/v1/models", (c) => c.json({ object: "list", data: models() }));
  app.get("/v1/models/:id{.+}", (c) => {
    const found = models().find(({ id }) => id === c.req.param("id"));
    if (!found) {
      throw new ApiError(404, `there is no model "${c.req.param("id")}"`, "model_not_found", "model");
    }
    return c.json(found);
  });

  const showAdapter = (adapter: ReturnType<typeof engine.adapters.get> & object) => ({
    ...{ id: adapter.id, object: "adapter", created: adapter.created, source: shownSource(adapter.source) },
    peft_type: engine.adapters.configOf(adapter).peftType,
  });
  app.get("/v1/adapters", (c) => c.json({ object: "list", data: engine.adapters.all.map(showAdapter) }));
  app.post("/v1/adapters", async (c) => {
    const { name, path } = readAdapterBody(await bodyOf(c, options.timeoutMs));
    if (name === modelId) {
      throw new ApiError(409, `"${name}" is the base model's id`, "adapter_exists", "name");
    }
    return c.json(showAdapter(await engine.adapters.add(name, options.adapterSource(path ?? name))), 201);
  });
  app.delete("/v1/adapters/:id{.+}", async (c) => {
    const id = c.req.param("id");
    await engine.removeAdapter(id);
    return c.json({ id, object: "adapter", deleted: true });
  });

  const responder = { engine, metrics, timeoutMs: options.timeoutMs, noteError };
  const isReady = async (_: Context, next: () => Promise<void>) => {
    if (lost) throw new ApiError(503, "the device was lost; the server is about to end", "device_lost");
    await next();
  };
  app.use("/v1/chat/completions", isReady);
  app.use("/v1/completions", isReady);
  app.post("/v1/chat/completions", async (c) => {
    const begin = performance.now();
    const body = readChatBody(await bodyOf(c, options.timeoutMs));
    return await respond(c, responder, body, CHAT, begin, () => engine.chat(body));
  });
  app.post("/v1/completions", async (c) => {
    const begin = performance.now();
    const body = readCompletionBody(await bodyOf(c, options.timeoutMs));
    return await respond(c, responder, body, TEXT, begin, () => engine.complete(body));
  });

  app.notFound((c) => {
    const error = new ApiError(404, `there is no ${c.req.method} ${c.req.path}`, "not_found");
    return c.json(error.body, error.status);
  });
  app.onError((error, c) => {
    noteError(error);
    const known = toApiError(error);
    if (known.status === 500) console.error(error);
    const headers: Record<string, string> = known.status === 429 ? { "retry-after": "1" } : {};
    return c.json(known.body, known.status as ErrorStatus, headers);
  });
  return app;
}

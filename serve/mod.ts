/**
 * `@peft/webgpu/serve`: a model and its adapters behind OpenAI's interface, as a web-standard handler. `./run serve` puts it
 * behind a port.
 *
 * ```ts ignore
 * const engine = new Engine(model, tokenizer, "smollm2", { maxRows: 16, maxWaiting: 64, maxNewTokens: 512, maxChoices: 8 });
 * Deno.serve(createApp(engine, options).fetch);
 * ```
 * @module
 */

export { ApiError, type ErrorBody, type ErrorStatus } from "./api_error.ts";
export { AdapterShelf, type ShelvedAdapter } from "./adapter_shelf.ts";
export { type App, type AppOptions, createApp } from "./app.ts";
export { Engine, type Limits, type StartedAnswer } from "./engine.ts";
export type { ChatBody, CommonBody, CompletionBody, MessageBody } from "./requests.ts";

/**
 * `serve`: a model and its adapters behind OpenAI's interface.
 * @module
 */

import { basename, isAbsolute, join, normalize, resolve } from "@std/path";
import { ApiError, createApp, Engine } from "@peft/webgpu/serve";
import { integer, number, text } from "../options/rules.ts";
import type { Values } from "../jobs/flags.ts";
import { type Command, UsageError } from "./command.ts";
import { INTERRUPTED } from "./interrupt.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { load, loadTokenizer } from "./loading.ts";

const { adapter: _, ...BASE_FLAGS } = MODEL_FLAGS;

const flags = {
  ...BASE_FLAGS,
  model: {
    rule: text,
    required: true,
    help:
      "Model folder in Hugging Face's layout, a .gguf file, a URL of either, or a hub id such as org/name",
  },
  adapters: {
    rule: text,
    help: "Folder of adapter folders: all are loaded, and clients may load others that come into it",
  },
  "served-model-name": {
    rule: text,
    help: "What clients call the base; default: the hub id, or the end of the path",
  },
  host: { rule: text, default: "127.0.0.1", help: "Address to listen on; 0.0.0.0 for every network" },
  port: { rule: integer(0, 65535), default: 8000, help: "Port to listen on; 0 for any that is free" },
  "api-key": {
    rule: text,
    help: "Bearer token that clients must send; default: the environment's PEFT_API_KEY, else none",
  },
  "allow-origin": {
    rule: text,
    help: "Origin of pages that may ask, such as https://example.org; * for all",
  },
  "max-rows": { rule: integer(1, 1024), default: 32, help: "Answers that are generated at once" },
  "max-waiting": {
    rule: integer(0, 1e6),
    default: 256,
    help: "Answers that wait; more are refused with 429",
  },
  "max-new-tokens": { rule: integer(1, 1e6), default: 1024, help: "Longest answer in tokens" },
  "max-choices": { rule: integer(1, 1024), default: 16, help: "Answers to one request: prompts times n" },
  "max-body": { rule: integer(1, 2 ** 31), default: 4 << 20, help: "Greatest size of a request in bytes" },
  "prompt-cache": {
    rule: integer(0, 1e6),
    default: 128,
    help: "Device memory in MiB that keeps prompts and answers, for prompts that begin alike",
  },
  timeout: { rule: number(0.001, 86400), default: 300, help: "Longest time for a request in seconds" },
} as const;

/** Where an adapter that a client names lies: within the folder of adapters, and nowhere else. */
function adapterSource(folder: string | undefined): (path: string) => string {
  return (path) => {
    if (folder === undefined) {
      throw new ApiError(
        400,
        "this server has no folder of adapters: start it with --adapters",
        "no_adapters",
        "path",
      );
    }
    const inside = normalize(path);
    if (isAbsolute(inside) || inside.split(/[\\/]/).includes("..") || path.includes("\0")) {
      throw new ApiError(
        400,
        "path: a folder within that of --adapters is required",
        "invalid_value",
        "path",
      );
    }
    return join(resolve(folder), inside); // absolute, so that what is not there is not looked for on the hub
  };
}

/** Adapter folders in a folder, by name. */
async function adaptersIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  const isAdapter = await Deno.stat(join(folder, "adapter_config.json")).then(() => true, () => false);
  if (isAdapter) {
    throw new UsageError(
      `Cannot run serve: --adapters must be a folder of adapter folders, received "${folder}", which is an adapter itself; its name is to be that of a folder in it`,
    );
  }
  try {
    for await (const { name } of Deno.readDir(folder)) {
      const config = await Deno.stat(join(folder, name, "adapter_config.json")).catch(() => null);
      if (config?.isFile) names.push(name);
    }
  } catch (error) {
    throw new UsageError(
      `Cannot run serve: --adapters must be a folder, received "${folder}" (${(error as Error).message})`,
    );
  }
  return names.sort();
}

/** The environment's key; none where the environment may not be read. */
function environmentKey(): string | null {
  try {
    return Deno.env.get("PEFT_API_KEY") || null;
  } catch {
    return null;
  }
}

/** The key that clients must send, or null. @throws {UsageError} for one that no client can send */
function apiKeyOf(given: string | undefined): string | null {
  const key = given ?? environmentKey();
  if (key === null || /^[\x21-\x7e]+$/.test(key)) return key;
  throw new UsageError(
    `Cannot run serve: the API key must be of letters, digits and signs without spaces, received ${
      key === "" ? "an empty one" : "another"
    }`,
  );
}

/** Loads the model and every adapter of the folder. */
async function openEngine(values: Values<typeof flags>): Promise<Engine> {
  const folder = values.adapters;
  const names = folder === undefined ? [] : await adaptersIn(folder); // a wrong folder is told before a model is loaded
  const { base, baseName } = await load("serve", values);
  const tokenizer = await loadTokenizer(baseName, values);
  const isPath = await Deno.stat(baseName).then(() => true, () => false);
  const modelId = values["served-model-name"] ?? (isPath ? basename(normalize(baseName), ".gguf") : baseName);
  if (names.includes(modelId)) {
    throw new UsageError(
      `Cannot run serve: names that tell models apart are required, received "${modelId}" for the base and for an adapter; name the base by --served-model-name`,
    );
  }
  const engine = new Engine(
    base,
    tokenizer,
    modelId,
    {
      maxRows: values["max-rows"],
      maxWaiting: values["max-waiting"],
      maxNewTokens: values["max-new-tokens"],
      maxChoices: values["max-choices"],
      promptCacheBytes: values["prompt-cache"] * 2 ** 20,
    },
  );
  for (const name of names) {
    try {
      await engine.adapters.add(name, join(resolve(folder!), name));
    } catch (error) {
      throw new UsageError(`Cannot run serve: adapter "${name}" of --adapters: ${(error as Error).message}`);
    }
  }
  return engine;
}

/** @throws {UsageError} for a port that is taken, or an address that is none of this machine's */
function listen(
  { host, port }: Values<typeof flags>,
  options: Deno.ServeTcpOptions,
  handler: Deno.ServeHandler,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve(options, handler);
  } catch (error) {
    throw new UsageError(`Cannot run serve: listening on ${host}, port ${port}: ${(error as Error).message}`);
  }
}

/** The command. */
export const serve: Command<typeof flags> = {
  name: "serve",
  summary: "Serve a model and its adapters behind OpenAI's interface",
  flags,
  permissions: ["--allow-read", "--allow-net", "--allow-env"],
  examples: [
    "./run serve --model HuggingFaceTB/SmolLM2-135M-Instruct --adapters out",
    "./run serve --model model.gguf --dtype auto --port 8080 --max-rows 16",
  ],
  async run(values) {
    const apiKey = apiKeyOf(values["api-key"]);
    const engine = await openEngine(values);
    const { promise: lost, reject } = Promise.withResolvers<never>();
    const app = createApp(engine, {
      apiKey,
      maxBodyBytes: values["max-body"],
      timeoutMs: values.timeout * 1000,
      allowOrigin: values["allow-origin"] ?? null,
      adapterSource: adapterSource(values.adapters),
      onLost: reject,
    });
    const server = listen(values, {
      hostname: values.host,
      port: values.port,
      onListen: ({ hostname, port }) => {
        const names = [engine.modelId, ...engine.adapters.all.map(({ id }) => id)];
        console.log(`models: ${names.join(", ")}`);
        console.log(
          `listening on http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}/v1${
            apiKey === null ? "" : ", with an API key"
          }`,
        );
      },
    }, app.fetch);
    let presses = 0;
    const end = () => {
      if (++presses > 1) Deno.exit(INTERRUPTED);
      console.error("answers that have begun are finished; press Ctrl-C again to end at once");
      server.shutdown();
    };
    const signals = Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const;
    for (const name of signals) Deno.addSignalListener(name, end);
    try {
      await Promise.race([server.finished, lost]);
    } finally {
      for (const name of signals) Deno.removeSignalListener(name, end);
      engine.dispose();
    }
  },
};

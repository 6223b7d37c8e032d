/**
 * Where a model's files are read from.
 * @module
 */

import { urlFolder } from "@peft/webgpu";
import type { FolderSource } from "@peft/webgpu/io";
import type { ModelSource } from "../protocol.ts";
import { folderWith, nameOf, refusePickles } from "./dropped_files.ts";
import { Refusal } from "./errors.ts";
import { fetchHubModel } from "./hub_files.ts";
import { checkWeightBytes, type FoundModel, type OpenContext } from "./open_context.ts";

/** The files of the built-in model: asking for others would only make the browser complain of them. */
const BUILT_IN = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** A `fetch` that reports the bytes of bodies as they arrive. */
function reportingFetch({ progress, signal }: OpenContext): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, { ...init, signal });
    if (!response.ok || !response.body) return response;
    const file = nameOf(new URL(response.url || String(input)).pathname);
    const length = Number(response.headers.get("Content-Length") ?? NaN);
    const total = Number.isFinite(length) && !response.headers.has("Content-Encoding") ? length : null;
    let done = 0;
    const counted = response.body.pipeThrough(
      new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(chunk, controller) {
          done += chunk.length;
          progress({ phase: "download", text: `Downloading ${file}`, file, done, total, unit: "bytes" });
          controller.enqueue(chunk);
        },
      }),
    );
    return new Response(counted, { status: response.status, headers: response.headers });
  };
}

function webAddress(text: string): URL {
  try {
    const url = new URL(text);
    if (url.protocol === "https:" || url.protocol === "http:") return url;
  } catch {
    // refused below
  }
  throw new Refusal(
    "bad-settings",
    "This is not a web address.",
    "It must begin with https:// and lead to a folder with a model's files, or to a .gguf file.",
    text,
  );
}

const WEIGHTS = /\.(safetensors|gguf)$/i;

function fromFiles(
  { name, files }: Extract<ModelSource, { kind: "files" }>,
  context: OpenContext,
): FoundModel {
  refusePickles(files, WEIGHTS);
  const weights = files.filter(({ path }) => WEIGHTS.test(path));
  checkWeightBytes(weights.reduce((sum, { file }) => sum + file.size, 0), context.memoryBudget, name);
  const found = { name, baseName: name, entryId: null };
  const folder = folderWith(files, "config.json", name);
  if (folder) return { ...found, input: folder };
  const ggufs = weights.filter(({ path }) => /\.gguf$/i.test(path));
  if (ggufs.length === 1) {
    const [{ path, file }] = ggufs;
    // a Blob of its own name: what messages call it
    return { ...found, input: file instanceof File ? file : new File([file], nameOf(path)) };
  }
  throw new Refusal(
    "bad-file",
    ggufs.length > 1
      ? "There are several .gguf files."
      : weights.length > 0
      ? "The model's config.json is missing."
      : "There is no model in these files.",
    ggufs.length > 1
      ? "Drop the one that you want to open."
      : "Drop the whole folder (config.json, model.safetensors, tokenizer.json), or one .gguf file.",
    files.slice(0, 12).map(({ path }) => path).join(", "),
  );
}

/** Finds the files of a model; those of the hub are downloaded. @throws {Refusal} */
export async function findModel(source: ModelSource, context: OpenContext): Promise<FoundModel> {
  switch (source.kind) {
    case "builtin": {
      const folder = urlFolder(new URL("model/", context.assetsUrl), { fetch: reportingFetch(context) });
      const opened = new Map<string, ReturnType<FolderSource["open"]>>(); // each is asked for once
      const open = (path: string) => opened.get(path) ?? opened.set(path, folder.open(path)).get(path)!;
      const input: FolderSource = {
        name: "built-in model",
        open: (path) => BUILT_IN.includes(path) ? open(path) : Promise.resolve(undefined),
        list: () => Promise.resolve(BUILT_IN),
      };
      return {
        input,
        name: "Built-in storyteller",
        baseName: "peft-webgpu/built-in-storyteller",
        entryId: null,
      };
    }
    case "url": {
      const url = webAddress(source.url);
      const name = nameOf(decodeURIComponent(url.pathname)) || url.host;
      const found = { name, baseName: source.url, entryId: null };
      if (/\.gguf$/i.test(url.pathname)) return { ...found, input: url };
      return { ...found, input: urlFolder(url, { fetch: reportingFetch(context) }) };
    }
    case "files":
      return fromFiles(source, context);
    case "hub":
      return await fetchHubModel(source, context);
  }
}

/**
 * Models of the hub, kept in the browser's storage.
 * @module
 */

import { HubError, storeHubModel } from "@peft/webgpu/io";
import type { ModelSource } from "../protocol.ts";
import { Refusal } from "./errors.ts";
import { checkWeightBytes, type FoundModel, type OpenContext } from "./open_context.ts";
import { bytesOf, writeJson } from "./storage.ts";

/** A folder's name for a model. */
const folderName = (repo: string, revision: string | undefined, file: string | undefined) =>
  [repo.replace("/", "--"), ...revision ? [revision.replaceAll("/", "--")] : [], ...file ? [file] : []]
    .join("@").replaceAll(/[^\w.@-]/g, "_");

/** A fetch that tells the reader when the hub asks to wait. */
function telling({ progress, signal }: OpenContext): typeof fetch {
  return async (input, init) => {
    const own = init?.signal ? AbortSignal.any([init.signal, signal]) : signal;
    const response = await fetch(input, { ...init, signal: own });
    if (response.status === 429) {
      const seconds = Number(response.headers.get("Retry-After") ?? NaN);
      const text = seconds > 0
        ? `The hub asks to wait ${Math.min(60, seconds)} seconds`
        : "The hub asks to wait a little";
      progress({ phase: "connect", text, file: null, done: 0, total: null, unit: "files" });
    }
    return response;
  };
}

/** Downloads what is missing of a model. @throws {HubError} @throws {Refusal} */
export async function fetchHubModel(
  { repo, revision, token, file }: Extract<ModelSource, { kind: "hub" }>,
  context: OpenContext,
): Promise<FoundModel> {
  const { storage, hubEndpoint, memoryBudget, progress, signal } = context;
  const id = repo.trim().replace(/^https?:\/\/[^/]+\//, "").replace(/\/+$/, "");
  const name = folderName(id, revision, file);
  const folder = storage.models.folder(name);
  const before = await bytesOf(folder);
  const { quota, usage } = await storage.facts();
  try {
    const stored = await storeHubModel(id, folder, {
      ...{ revision, token, hubUrl: hubEndpoint, signal, fetch: telling(context) },
      ggufFile: file,
      checkBytes: (bytes) => {
        checkWeightBytes(bytes, memoryBudget, id);
        const room = (quota ?? Infinity) - (usage ?? 0) + before;
        if (bytes <= room) return;
        throw new Refusal(
          "storage-full",
          `The model has ${(bytes / 1e6).toFixed(0)} MB, and the browser's storage has room for ${
            (room / 1e6).toFixed(0)
          } MB.`,
          "Delete models or runs that you no longer need under Storage, or choose a smaller model.",
        );
      },
      onProgress: ({ file, loadedBytes: done, totalBytes: total }) =>
        progress({ phase: "download", text: `Downloading ${file}`, file, done, total, unit: "bytes" }),
    });
    await writeJson(folder, "about.json", { name: id });
    return {
      input: stored.folder,
      ...stored.ggufFile !== null && { ggufFile: stored.ggufFile },
      ...{ name: file ? `${id} (${file})` : id, baseName: id },
      entryId: `models/${name}`,
    };
  } catch (error) {
    if (error instanceof RangeError && error.message.includes("ggufFile must name one")) {
      throw new Refusal(
        "bad-settings",
        "This model has several .gguf files.",
        "Type the name of the one that you want, such as one that ends in Q4_K_M.gguf.",
        error.message,
      );
    }
    if (error instanceof RangeError && error.message.includes("a hub id such as")) {
      throw new Refusal(
        "bad-settings",
        "This is not a model's name.",
        'It looks like "owner/model".',
        error.message,
      );
    }
    if (error instanceof HubError && /pickle/.test(error.message)) {
      throw new Refusal(
        "pickle",
        "This model has only pickle files, which can run programs and are never opened.",
        "Choose a model with .safetensors or .gguf files.",
        error.message,
      );
    }
    throw error;
  }
}

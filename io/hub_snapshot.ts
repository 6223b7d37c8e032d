/**
 * Downloading a model without loading it.
 *
 * @module
 */
import { type HubOptions, isOffline, listModelFiles, resolveModelFolder } from "./hub.ts";
import { isHubId } from "./hub_id.ts";
import { HubError } from "./hub_errors.ts";
import { quote } from "./relative_path.ts";

/**
 * Options of {@linkcode snapshotDownload}.
 *
 * @example
 * ```ts
 * import { snapshotDownload, type SnapshotOptions } from "@peft/webgpu/hub";
 *
 * const options: SnapshotOptions = { allowPatterns: ["*.json"], localFilesOnly: true };
 * console.log(await snapshotDownload("gpt2", options)); // the folder of the configuration and the tokenizer
 * ```
 */
export interface SnapshotOptions extends HubOptions {
  /**
   * Files whose names match one of these, with `*` for any text; default what this library reads: safetensors and JSON
   * files, texts, templates.
   */
  allowPatterns?: readonly string[];
}

/** Weights of other formats than safetensors, and what no model needs, are left out unless they are asked for. */
const READ_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.md", "tokenizer.model"];

function matcher(patterns: readonly string[]): (name: string) => boolean {
  const expressions = patterns.map((pattern) =>
    new RegExp(`^${pattern.split("*").map((part) => part.replaceAll(/[^\w/-]/g, "\\$&")).join(".*")}$`)
  );
  return (name) => expressions.some((expression) => expression.test(name));
}

/**
 * Downloads the files of a model into the cache that is shared with Python, as `snapshot_download` does; without
 * network, what the cache has.
 *
 * @param id "gpt2", "org/name".
 * @returns the folder of the files.
 * @throws {HubError} where the hub does not give them, and "not-found" where no file matches.
 * @example
 * ```ts
 * import { snapshotDownload } from "@peft/webgpu/hub";
 *
 * const folder = await snapshotDownload("HuggingFaceTB/SmolLM2-135M-Instruct");
 * ```
 */
export async function snapshotDownload(id: string, options: SnapshotOptions = {}): Promise<string> {
  const { allowPatterns, ...hub } = options;
  if (!isHubId(id)) {
    throw new TypeError(
      `Cannot download: a hub id such as "gpt2" or "org/name" is required, received ${quote(id)}`,
    );
  }
  const matches = matcher(allowPatterns ?? READ_PATTERNS);
  const names = await listModelFiles(id, hub);
  const files = names.filter(matches);
  if (files.length === 0 && (names.length > 0 || !isOffline(hub))) {
    const wanted = (allowPatterns ?? READ_PATTERNS).map(quote).join(", ");
    throw new HubError(
      "not-found",
      `Cannot download ${quote(id)}: a file like ${wanted} is required, received none`,
    );
  }
  return await resolveModelFolder(id, { ...hub, files });
}

/**
 * An adapter's configuration by folder or hub id.
 * @module
 */

import type { FolderInput } from "../../io/file_source.ts";
import { readAdapterConfig } from "./adapter_files.ts";
import { adapterFolder, type LoadAdapterOptions } from "./adapter_folder.ts";
import type { PeftConfig } from "../config.ts";

/** Reads the configuration of a local folder or a hub id. @throws {Error} if there is none */
export async function loadConfig(dirOrId: FolderInput, options: LoadAdapterOptions): Promise<PeftConfig> {
  return await readAdapterConfig(await adapterFolder(dirOrId, options));
}

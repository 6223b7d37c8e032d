/**
 * Fetches llama.cpp as the npm package node-llama-cpp ships it, prebuilt for this machine's CPU (85 MB unpacked), for the
 * tests whose names begin with "llama.cpp". It is kept outside the repository, in `$XDG_CACHE_HOME/peft-webgpu/`.
 * @module
 */

import { cacheFolder } from "./cache_folder.ts";

const VERSION = "3.22.1";
/** Packages with the prebuilt library, by system and processor. */
const PREBUILT: Readonly<Record<string, string>> = {
  "linux x86_64": "linux-x64",
  "linux aarch64": "linux-arm64",
  "darwin aarch64": "mac-arm64-metal",
  "darwin x86_64": "mac-x64",
  "windows x86_64": "win-x64",
};

/** What a command printed to stderr if it failed, else null. @throws {Deno.errors.NotFound} where there is no such command */
async function run(command: string, args: readonly string[], cwd?: string): Promise<string | null> {
  const { success, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  return success ? null : new TextDecoder().decode(stderr).trim();
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * A folder whose node_modules has node-llama-cpp, fetched with npm where it is not in the cache yet; null on a machine
 * without Node and npm, or of a kind that has no prebuilt library.
 * @param onDownload called before a download begins
 * @throws {Error} if the download fails
 */
export async function fetchLlamaCpp(onDownload?: () => void): Promise<string | null> {
  const prebuilt = PREBUILT[`${Deno.build.os} ${Deno.build.arch}`];
  if (prebuilt === undefined) return null;
  const parent = cacheFolder();
  const folder = `${parent}/llama.cpp-${VERSION}`;
  try {
    if (await run("node", ["--version"]) !== null) return null;
    if (await exists(folder)) return folder;
    await Deno.mkdir(parent, { recursive: true });
    const temporary = await Deno.makeTempDir({ dir: parent });
    try {
      await Deno.writeTextFile(`${temporary}/package.json`, '{ "private": true }\n');
      onDownload?.();
      const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/${prebuilt}@${VERSION}`];
      const flags = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"];
      const problem = await run("npm", ["install", ...flags, ...packages], temporary);
      if (problem !== null) {
        throw new Error(
          `Cannot fetch llama.cpp: npm must be able to install ${packages[0]}, received "${problem}"`,
        );
      }
      await Deno.rename(temporary, folder); // whole, or not there
    } finally {
      if (await exists(temporary)) await Deno.remove(temporary, { recursive: true });
    }
    return folder;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null; // no node, or no npm
    throw error;
  }
}

/**
 * Fetches with npm what the tests of the npm package run it in: Dawn for Node, TypeScript, esbuild and Vite (about 300 MB
 * unpacked), kept outside the repository in `$XDG_CACHE_HOME/peft-webgpu/`.
 * @module
 */

import { cacheFolder } from "./cache_folder.ts";

const PACKAGES = ["webgpu@0.6.2", "typescript@7.0.2", "esbuild@0.28.2", "vite@8.4.0"];
/** Names the folder: another list is another folder. */
const EDITION = 1;

/** What a command printed to stderr if it failed, else null. @throws {Deno.errors.NotFound} where there is no such command */
async function run(command: string, args: readonly string[], cwd: string): Promise<string | null> {
  const { success, stderr } = await new Deno.Command(command, { args: [...args], cwd, stdin: "null" })
    .output();
  return success ? null : new TextDecoder().decode(stderr).trim();
}

/** Flags of every `npm install`. */
export const INSTALL: readonly string[] = [
  "install",
  "--silent",
  "--ignore-scripts",
  "--no-audit",
  "--no-fund",
  "--prefer-offline",
];

/**
 * A folder whose node_modules has those packages, so that a project in a folder below finds them; null on a machine
 * without Node and npm.
 * @param onDownload called before a download begins
 * @throws {Error} if the download fails
 */
export async function fetchNpmTools(onDownload?: () => void): Promise<string | null> {
  const parent = cacheFolder();
  const folder = `${parent}/npm-tools-${EDITION}`;
  try {
    await Deno.mkdir(parent, { recursive: true });
    if (await run("node", ["--version"], parent) !== null) return null;
    if (await Deno.stat(folder).then(() => true, () => false)) return folder;
    const temporary = await Deno.makeTempDir({ dir: parent });
    try {
      await Deno.writeTextFile(`${temporary}/package.json`, '{ "private": true }\n');
      onDownload?.();
      const problem = await run("npm", [...INSTALL, ...PACKAGES], temporary);
      if (problem !== null) {
        throw new Error(
          `Cannot fetch tools: npm must be able to install ${PACKAGES[0]}, received "${problem}"`,
        );
      }
      await Deno.rename(temporary, folder); // whole, or not there
    } finally {
      await Deno.remove(temporary, { recursive: true }).catch(() => {});
    }
    return folder;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null; // no node, or no npm
    throw error;
  }
}

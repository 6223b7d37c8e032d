/**
 * Lists the files of a source tree.
 * @module
 */

/** Folders that hold no source of ours. */
const SKIPPED = new Set([".git", "node_modules", "dist", "out", "coverage", "fixtures", "__pycache__"]);

/**
 * Paths, relative to `root` with slashes and sorted, of the files whose name matches.
 * @param root folder to walk
 * @param pattern tested against the file's name
 * @param parts first folders (or root files) to walk; everything where absent; those that do not exist are skipped
 */
export async function listFiles(root: string, pattern: RegExp, parts?: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(folder === "" ? root : `${root}/${folder}`)) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (folder === "" && parts && !parts.includes(entry.name)) continue;
      if (entry.isDirectory && !SKIPPED.has(entry.name)) await walk(path);
      else if (entry.isFile && pattern.test(entry.name)) found.push(path);
    }
  };
  await walk("");
  return found.sort();
}

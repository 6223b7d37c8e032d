/**
 * Checks that every source file reads in one sitting. Run: `deno run --allow-read tools/check_sizes.ts`.
 * @module
 */
import { listFiles } from "./list_files.ts";

/** Most lines of one file: past this it is two things. */
export const MAX_LINES = 400;

/** Files longer than {@linkcode MAX_LINES}, each as `path: N lines`, sorted by path. */
export async function checkSizes(root: string): Promise<string[]> {
  const problems: string[] = [];
  for (const path of await listFiles(root, /\.(?:[cm]?[jt]s|[jt]sx|py|html|css)$/)) {
    const text = await Deno.readTextFile(`${root}/${path}`);
    const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
    if (lines > MAX_LINES) problems.push(`${path}: ${lines} lines, at most ${MAX_LINES}`);
  }
  return problems;
}

if (import.meta.main) {
  const problems = await checkSizes(Deno.args[0] ?? ".");
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? "sizes hold" : `${problems.length} files too long`);
  Deno.exit(problems.length === 0 ? 0 : 1);
}

/**
 * TypeScript that stands in comments and pages.
 * @module
 */

import { listFiles } from "../../tools/list_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Folders and files whose comments have examples. */
const FOLDERS = [
  "auto_peft.ts",
  "autograd",
  "cli",
  "distributed",
  "entries",
  "gpu",
  "io",
  "kernels",
  "model",
  "nn",
  "peft",
  "plan",
  "serve",
  "train",
  "tuning",
];

/** A block of a page, or of a comment. */
export interface Snippet {
  /** File and line. */
  readonly place: string;
  readonly code: string;
}

/** The TypeScript blocks of a text. */
export function blocksOf(text: string, file: string, fence: RegExp): Snippet[] {
  return [...text.matchAll(fence)].map((match) => ({
    place: `${file}:${text.slice(0, match.index).split("\n").length}`,
    code: match[1],
  }));
}

/** The examples of comments that are run. Those that need a browser or a hub say `ts ignore`. */
export async function snippetsOfComments(): Promise<Snippet[]> {
  const files = await listFiles(ROOT, /\.ts$/, FOLDERS);
  const blocks = await Promise.all(
    files.map(async (file) =>
      blocksOf(await Deno.readTextFile(`${ROOT}${file}`), file, /^ *\* ```ts\n([^]*?)^ *\* ```$/gm)
        .map(({ place, code }) => ({ place, code: code.replaceAll(/^ *\* ?/gm, "") }))
    ),
  );
  return blocks.flat();
}

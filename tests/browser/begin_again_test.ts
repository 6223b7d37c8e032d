/**
 * Calls of `inference.js` that begin again when a part of them is loaded: what pages of Chromium are shown, and what they leave.
 * @module
 */

import { assertEquals } from "@std/assert";
import * as all from "../../entries/all.ts";
import { FIRST } from "./begin_again_pages.js";
import { areaFiles, packageFiles } from "./bundles.ts";
import { runInPage } from "./chromium.ts";
import { makePageFolder } from "./page_folder.ts";

/** Each page has the bundle in a folder of its own, so that nothing of it is loaded. */
const script = `
import { FIRST } from "/begin_again_pages.js";
const at = (name) => new URL("/files/" + name, location.href);
export async function run() {
  const found = {};
  for (const [name, page] of Object.entries(FIRST)) {
    const load = (file) => import("/" + name + "/inference" + file + ".js");
    found[name] = await load("").then((lib) => page(lib, at, (file) => load("_" + file))).catch(String);
  }
  return found;
}`;

Deno.test("calls that begin again have changed nothing before, and show everything once", async () => {
  const { folder, at } = await makePageFolder();
  try {
    const chunks = await areaFiles("inference");
    const packages = [...await packageFiles()];
    const code = await Deno.readTextFile(new URL("begin_again_pages.js", import.meta.url));
    const files = Object.fromEntries([
      ["/begin_again_pages.js", code],
      ...Object.keys(FIRST).flatMap((name) => [
        ...chunks.map((file) => [`/${name}/${file.fileName}`, file.code]),
        ...packages.map(([file, text]) => [`/${name}/${file}`, text]),
      ]),
    ]) as Record<string, string>;
    const { value, messages } = await runInPage<Record<string, unknown>>(script, { files, folder });
    assertEquals(messages.filter((message) => !message.includes("status of 404")), []);
    for (const [name, page] of Object.entries(FIRST)) {
      assertEquals(value[name], await page(all, at, () => Promise.resolve(all)), name);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/**
 * The plain page of `examples/page`, with the bundle by area that it names.
 * @module
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { areaFiles, packageFiles } from "../browser/bundles.ts";
import { launchChromium } from "../browser/chromium.ts";

const root = new URL("../../", import.meta.url).pathname;
const TYPES: Readonly<Record<string, string>> = { html: "text/html", js: "text/javascript" };

Deno.test("the plain page with an import map loads a model by URL, trains it and continues a text before and after", async () => {
  const files = await areaFiles("training");
  const scripts = new Map([
    ...files.map(({ fileName, code }) => [fileName, code] as const),
    ...await packageFiles(),
  ]);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const path = new URL(request.url).pathname;
    const headers = { "content-type": TYPES[path.split(".").at(-1)!] ?? "application/octet-stream" };
    const script = scripts.get(path.replace("/dist/", ""));
    if (script !== undefined) return new Response(script, { headers });
    const file = path.startsWith("/model/")
      ? `${root}examples/demo${path}`
      : `${root}examples/page/index.html`;
    const bytes = path === "/" || path.startsWith("/model/")
      ? await Deno.readFile(file).catch(() => null)
      : null;
    const type = path === "/" ? { "content-type": "text/html" } : headers;
    return bytes ? new Response(bytes, { headers: type }) : new Response("not found", { status: 404 });
  });
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(`http://127.0.0.1:${server.addr.port}/`);
    await page.click("#start");
    await page.waitForFunction(
      () => {
        const text = (id: string) =>
          (globalThis as unknown as { document: Document }).document.getElementById(id)!.textContent;
        return text("after") !== "" || text("problem") !== "";
      },
      undefined,
      { timeout: 120_000 },
    );
    const text = async (id: string) => await page.textContent(`#${id}`) ?? "";
    assertEquals([await text("problem"), problems], ["", []]);
    const losses = (await text("loss")).split(" ").map(Number);
    assertEquals(losses.length, 3);
    assert(losses[2] < losses[0], losses.join());
    const [before, after] = [await text("before"), await text("after")];
    assert(before.startsWith("Once upon a time") && after.startsWith("Once upon a time"), before);
    assertNotEquals(before, after);
  } finally {
    await browser.close();
    await server.shutdown();
  }
});

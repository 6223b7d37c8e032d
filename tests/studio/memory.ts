/**
 * Memory of the studio's tab in Chromium over a long training of the built-in model: the heaps of the page and its worker,
 * and what the renderer's and the GPU's process hold. Too long for the suite, run by hand on Linux (it reads /proc).
 * Run: deno run -A tests/studio/memory.ts [--steps 500] [--every 50]
 * @module
 */
import { parseArgs } from "node:util";
import type { CDPSession, Page } from "playwright-core";
import { withStudio } from "./studio_page.ts";

const { values } = parseArgs({
  options: { steps: { type: "string", default: "500" }, every: { type: "string", default: "50" } },
});
const [steps, every] = [Number(values.steps), Number(values.every)];

/** The heap after a collection, in bytes. */
type Heap = () => Promise<number>;

/** The page's heap. */
async function pageHeap(page: Page): Promise<Heap> {
  const session = await page.context().newCDPSession(page);
  return async () => {
    await session.send("HeapProfiler.collectGarbage");
    return (await session.send("Runtime.getHeapUsage")).usedSize;
  };
}

/** The heap of the page's worker, whose messages Chromium wraps in those of its page. */
async function workerHeap(page: Page): Promise<Heap> {
  const session = await page.context().newCDPSession(page);
  const worker = new Promise<string>((resolve) =>
    session.on("Target.attachedToTarget", ({ sessionId, targetInfo }) => {
      if (targetInfo.type === "worker") resolve(sessionId);
    })
  );
  const answers = new Map<number, (result: { usedSize: number }) => void>();
  session.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result } = JSON.parse(message);
    answers.get(id)?.(result);
  });
  await session.send("Target.setAutoAttach", {
    ...{ autoAttach: true, waitForDebuggerOnStart: false, flatten: false },
  });
  const sessionId = await worker;
  let count = 0;
  const ask = async (method: string) => {
    const id = ++count;
    const answer = new Promise<{ usedSize: number }>((resolve) => answers.set(id, resolve));
    await session.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method }) });
    return await answer;
  };
  return async () => {
    await ask("HeapProfiler.collectGarbage");
    return (await ask("Runtime.getHeapUsage")).usedSize;
  };
}

/** Resident bytes of the largest process of a kind. */
async function resident(browser: CDPSession, kind: string): Promise<number> {
  const { processInfo } = await browser.send("SystemInfo.getProcessInfo");
  const sizes = await Promise.all(
    processInfo.filter(({ type }) => type === kind).map(async ({ id }) => {
      const status = await Deno.readTextFile(`/proc/${id}/status`);
      return 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)![1]);
    }),
  );
  return Math.max(...sizes);
}

/** The step that the page shows; Infinity at the end. */
async function stepOf(page: Page): Promise<number> {
  if (await page.locator("h1").innerText() === "It has learned") return Infinity;
  const shown = await page.locator(".now .fact .number").first().innerText({ timeout: 1000 }).catch(() => "");
  return parseInt(shown) || 0;
}

await withStudio({}, async ({ page, open, go, refused, messages }) => {
  page.setDefaultTimeout(60_000);
  const press = (name: string) => page.getByRole("button", { name, exact: true }).click();
  const fill = async (name: string, value: number) => {
    const field = page.getByRole("textbox", { name, exact: true });
    await field.fill(`${value}`);
    await field.blur();
  };
  await open();
  await page.getByRole("button", { name: "Try it with sample stories" }).click();
  await page.getByRole("heading", { name: "Ready to learn" }).waitFor();
  await go("Data");
  await page.getByText("More: length, held-out part").click();
  await fill("Longest example, in tokens", 16);
  await go("Method");
  await page.getByText("More: every setting").click();
  await fill("Steps", steps);
  await fill("Examples per batch", 1);
  for (const name of ["Steps between evaluations", "Steps between samples", "Steps between saves"]) {
    await fill(name, 2 * every);
  }
  await go("Train");
  await press("Start training");
  const browser = await page.context().browser()!.newBrowserCDPSession();
  const heaps = [await pageHeap(page), await workerHeap(page)];
  const start = performance.now();
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1).padStart(8);
  console.log("step  seconds  MB: page's heap, worker's heap, renderer, GPU process");
  for (let step = every; step <= steps; step += every) {
    while (await stepOf(page) < step) await page.waitForTimeout(50);
    const sizes = [
      ...await Promise.all(heaps.map((heap) => heap())),
      await resident(browser, "renderer"),
      await resident(browser, "GPU"),
    ];
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    console.log(`${step}`.padStart(4), seconds.padStart(7), ...sizes.map(megabytes));
  }
  if (refused.length + messages.length > 0) throw new Error([...refused, ...messages].join("\n"));
});

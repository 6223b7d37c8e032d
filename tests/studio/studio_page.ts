/**
 * The built studio in a page of headless Chromium, beside its own file server; every request to another origin is refused.
 * @module
 */
import axe from "axe-core";
import type { Page } from "playwright-core";
import { buildStudio, contentPolicy, DEFAULT_HUB, pagePolicies } from "../../tools/build_studio.ts";
import { fileServer } from "../../tools/serve_studio.ts";
import { launchChromium } from "../browser/chromium.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Where screenshots go, to be looked at, if the variable STUDIO_PICTURES is set: fifty take longer than what is tested. */
const PICTURES = Deno.env.has("STUDIO_PICTURES") ? `${ROOT}out/studio` : null;

/** Widths of phones, tablets and desks, in CSS pixels. */
const WIDTHS = [360, 820, 1280];
/** Longest that the page may take for a step, in milliseconds: a machine may have much else to do. */
const PATIENCE = 120_000;
const SCHEMES = ["light", "dark"] as const;

/** The studio as a test sees it. */
export interface StudioPage {
  readonly page: Page;
  /** Addresses of other origins that were asked for. */
  readonly refused: readonly string[];
  /** Errors and warnings of the console, and uncaught exceptions. */
  readonly messages: readonly string[];
  /** What axe-core found, and what is wider than the window. */
  readonly problems: readonly string[];
  /** Serves a text under a path from now on. */
  serve(path: string, text: string): void;
  /** Addresses of WebSockets that were opened. */
  readonly sockets: readonly string[];
  /** Opens the page anew at 1280 pixels. @param path of another page */
  open(path?: string): Promise<void>;
  /** Goes to a step by the road. */
  go(step: string): Promise<void>;
  /** Runs axe-core in both schemes, and looks at three widths in both for what is wider than the window. */
  inspect(name: string): Promise<void>;
}

/** What is wrong with the page as it stands. @param coloursAlone the other scheme has the same structure */
async function findProblems(page: Page, name: string, coloursAlone: boolean): Promise<string[]> {
  if (await page.evaluate("typeof axe") === "undefined") await page.evaluate(axe.source);
  const rules = coloursAlone ? `{ runOnly: ["color-contrast", "link-in-text-block"] }` : "";
  const { violations } = await page.evaluate(`axe.run(${rules})`) as axe.AxeResults;
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${name}: ${id}, ${help}: ${target} ${failureSummary}`)
  );
}

/**
 * Builds the studio and runs `body` in a page of it.
 * @param options `engine`: module of the worker; default the real one
 */
export async function withStudio(
  options: { engine?: string },
  body: (studio: StudioPage) => Promise<void>,
): Promise<void> {
  const output = await Deno.makeTempDir();
  await buildStudio({ ...options, output });
  const texts = new Map<string, string>();
  const policies = { policy: contentPolicy(DEFAULT_HUB), policies: pagePolicies(DEFAULT_HUB) };
  const files = fileServer(output, policies);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (texts.has(pathname)) return new Response(texts.get(pathname));
    // an address that nobody serves would be an error in the page's console
    return pathname === "/assets/problem" ? new Response(null, { status: 204 }) : await files(request);
  });
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const browser = await launchChromium();
  try {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 900 },
      reducedMotion: "reduce",
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const refused: string[] = [];
    const messages: string[] = [];
    const problems: string[] = [];
    const sockets: string[] = [];
    page.on("websocket", (socket) => void sockets.push(socket.url()));
    await context.route((url) => url.origin !== origin && url.protocol.startsWith("http"), async (route) => {
      refused.push(route.request().url());
      await route.abort();
    });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        messages.push(`${message.type()}: ${message.text()}`);
      }
    });
    page.on("pageerror", (error) => messages.push(`uncaught: ${error.message}`));
    if (PICTURES !== null) await Deno.mkdir(PICTURES, { recursive: true });
    await body({
      ...{ page, refused, messages, problems, sockets },
      serve: (path, text) => void texts.set(path, text),
      async open(path = "") {
        await page.setViewportSize({ width: 1280, height: 900 });
        await page.goto(`${origin}/${path}`);
      },
      async go(step) {
        await page.getByRole("navigation", { name: "Steps" }).getByRole("link", {
          name: new RegExp(`^${step}`),
        }).click();
      },
      async inspect(name) {
        for (const colorScheme of SCHEMES) {
          await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
          await page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
          );
          for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: 900 });
            if (PICTURES !== null) {
              await page.screenshot({
                path: `${PICTURES}/${name}_${width}_${colorScheme}.png`,
                fullPage: true,
              });
            }
            const extra = await page.evaluate("document.documentElement.scrollWidth - innerWidth") as number;
            if (extra > 0) problems.push(`${name}: ${extra} pixels wider than a window of ${width}`);
          }
          problems.push(...await findProblems(page, `${name}, ${colorScheme}`, colorScheme === "dark"));
        }
      },
    });
  } finally {
    await browser.close();
    await server.shutdown();
    await Deno.remove(output, { recursive: true });
  }
}

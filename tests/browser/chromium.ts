/**
 * Runs a script in a page of headless Chromium whose WebGPU is SwiftShader, beside a small file server.
 * @module
 */
import { type Browser, chromium } from "playwright-core";

const CANDIDATES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Path of an installed Chromium: `$CHROMIUM`, or the first known name on PATH. */
export async function findChromium(): Promise<string> {
  const chosen = Deno.env.get("CHROMIUM");
  if (chosen) return chosen;
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    for (const name of CANDIDATES) {
      const path = `${folder}/${name}`;
      if (await Deno.stat(path).then((info) => info.isFile, () => false)) return path;
    }
  }
  throw new Error(
    `Cannot run the browser test: Chromium is required, found none of ${CANDIDATES.join(", ")} on PATH; ` +
      "on Debian install the package chromium, or set CHROMIUM to the program's path",
  );
}

/** The file by which other programs' Vulkan finds Chromium's own SwiftShader; null where there is none. */
export async function swiftShaderDriver(): Promise<string | null> {
  const program = await Deno.realPath(await findChromium());
  for (const folder of [program.replace(/\/[^/]*$/, ""), "/usr/lib/chromium", "/opt/google/chrome"]) {
    const path = `${folder}/vk_swiftshader_icd.json`;
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  return null;
}

/** Starts headless Chromium whose WebGPU is SwiftShader. */
export async function launchChromium(): Promise<Browser> {
  return await chromium.launch({
    executablePath: await findChromium(),
    headless: true,
    args: [
      "--no-sandbox",
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** What a page did. */
export interface PageResult<T> {
  /** What the script's function returned, through JSON. */
  readonly value: T;
  /** Errors and warnings of the page's console, and uncaught exceptions. */
  readonly messages: readonly string[];
}

const TYPES: Record<string, string> = { html: "text/html", js: "text/javascript", json: "application/json" };

/** Answers a request from `files` (by path, such as `/a.js`), or from `folder` under `/files/`. */
export async function answerRequest(
  request: Request,
  files: Record<string, string>,
  folder: string,
): Promise<Response> {
  const path = decodeURIComponent(new URL(request.url).pathname);
  const type = path === "/" ? TYPES.html : TYPES[path.split(".").at(-1)!] ?? "application/octet-stream";
  const headers = { "content-type": type };
  if (path in files) return new Response(files[path], { headers });
  if (path.startsWith("/files/") && !path.includes("..")) {
    const bytes = await Deno.readFile(folder + path.slice("/files/".length)).catch(() => null);
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "") ?? [];
    if (bytes && from) {
      const part = bytes.slice(Number(from), Number(to) + 1);
      const range = `bytes ${from}-${Number(from) + part.length - 1}/${bytes.length}`;
      return new Response(part, { status: 206, headers: { ...headers, "content-range": range } });
    }
    if (bytes) return new Response(bytes, { headers });
  }
  return new Response("not found", { status: 404 });
}

/**
 * Runs `script`, an ES module that exports an async function `run`, in a page served from 127.0.0.1.
 * @param script source of the module; it may import the paths of `files`
 * @param options `files` to serve by path, and the `folder` (ending in a slash) that stands under `/files/`
 * @throws Error when the page cannot load, or with the message that `run` throws
 */
export async function runInPage<T>(
  script: string,
  options: { files?: Record<string, string>; folder?: string } = {},
): Promise<PageResult<T>> {
  const files = {
    "/": "<!doctype html><title>test</title><link rel=icon href='data:,'>",
    "/script.js": script,
    ...options.files,
  };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => answerRequest(request, files, options.folder ?? "/nowhere/"),
  );
  let browser: Browser | undefined;
  try {
    browser = await launchChromium();
    const page = await browser.newPage();
    const messages: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        messages.push(`${message.type()}: ${message.text()}`);
      }
    });
    page.on("pageerror", (error) => messages.push(`uncaught: ${error.message}`));
    await page.goto(`http://127.0.0.1:${server.addr.port}/`);
    const value = await page.evaluate('import("/script.js").then((module) => module.run())') as T;
    return { value, messages };
  } finally {
    await browser?.close();
    await server.shutdown();
  }
}

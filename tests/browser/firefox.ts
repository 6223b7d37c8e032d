/**
 * Runs a script in a page of headless Firefox, with WebGPU on whatever Vulkan driver the machine has. Firefox is driven by
 * nothing: the page tells the server what it did.
 * @module
 */

import { answerRequest, type PageResult } from "./chromium.ts";

const CANDIDATES = ["/usr/lib/firefox-esr/firefox-esr", "/usr/lib/firefox/firefox", "/usr/bin/firefox"];

/** Longest that a script may take, in milliseconds. */
const PATIENCE = 240_000;

/** WebGPU is behind a flag on Linux, and refused on drivers that are not hardware. */
const SETTINGS = `
user_pref("dom.webgpu.enabled", true);
user_pref("dom.webgpu.workers.enabled", true);
user_pref("gfx.webgpu.ignore-blocklist", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
`;

const PAGE = `<!doctype html><title>test</title><link rel=icon href='data:,'><script type="module">
const messages = [];
addEventListener("error", ({ message }) => messages.push("uncaught: " + message));
addEventListener("unhandledrejection", ({ reason }) => messages.push("uncaught: " + reason));
let told;
try {
  const { run } = await import("/script.js");
  told = { value: await run(), messages };
} catch (error) {
  told = { problem: error + "\\n" + error.stack };
}
await fetch("/told", { method: "POST", body: JSON.stringify(told) });
</script>`;

/** Path of an installed Firefox: `$FIREFOX`, or where Linux has it; null where there is none. */
export async function findFirefox(): Promise<string | null> {
  const chosen = Deno.env.get("FIREFOX");
  for (const path of chosen ? [chosen] : CANDIDATES) {
    if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  return null;
}

/**
 * Runs `script`, an ES module that exports an async function `run`, in a page served from 127.0.0.1.
 * @param firefox its path
 * @param options `files` to serve by path, and the `folder` (ending in a slash) that stands under `/files/`
 * @throws Error with the message that `run` throws, or when the page is silent for four minutes
 */
export async function runInFirefox<T>(
  firefox: string,
  script: string,
  options: { files?: Record<string, string>; folder?: string } = {},
): Promise<PageResult<T>> {
  const files = { "/": PAGE, "/script.js": script, ...options.files };
  const told = Promise.withResolvers<PageResult<T> & { problem?: string }>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    if (request.method !== "POST") return await answerRequest(request, files, options.folder ?? "/nowhere/");
    told.resolve(await request.json());
    return new Response(null, { status: 204 });
  });
  const profile = await Deno.makeTempDir();
  await Deno.writeTextFile(`${profile}/user.js`, SETTINGS);
  const url = `http://127.0.0.1:${server.addr.port}/`;
  const args = ["--headless", "--no-remote", "--profile", profile, url];
  const process = new Deno.Command(firefox, { args, stdout: "null", stderr: "null" }).spawn();
  const timer = setTimeout(
    () => told.reject(new Error("Firefox's page said nothing for four minutes")),
    PATIENCE,
  );
  try {
    const { problem, ...result } = await told.promise;
    if (problem !== undefined) throw new Error(problem);
    return result;
  } finally {
    clearTimeout(timer);
    process.kill("SIGTERM");
    await process.status;
    await server.shutdown();
    await Deno.remove(profile, { recursive: true });
  }
}

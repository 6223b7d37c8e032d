import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { resolveModelFolder } from "../../io/hub.ts";
import { assertFails, serveHub, walk, withHub } from "./fake_hub.ts";

Deno.test("resolveModelFolder() stops waiting for a server that stalls or never answers", async () => {
  await withHub(async (hub, options) => {
    hub.trick = (_, bytes) =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(bytes.slice(0, 5)),
        }),
      );
    const quick = {
      ...options,
      files: ["config.json"],
      timeouts: { stallMs: 30, connectMs: 40, retryMs: 1 },
    };
    await assertFails(resolveModelFolder("org/tiny", quick), "offline", "nothing arrived for 30 ms");
    const silent: typeof fetch = (_, init) =>
      new Promise((_, reject) => init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason)));
    await assertFails(
      resolveModelFolder("org/other", { ...quick, fetch: silent }),
      "offline",
      "no answer within 40 ms",
    );
  });
});

Deno.test("resolveModelFolder() takes a token with line breaks, and never shows one that no header can hold", async () => {
  await withHub(async (hub, options) => {
    await resolveModelFolder("org/tiny", { ...options, token: " hf_secret\r\n" });
    assert(hub.requests.length > 0 && hub.requests.every((r) => r.authorization === "Bearer hf_secret"));
    for (const token of ["hf_secret\u0000x", "hf_s\u00e9cret", "hf_secret \u20ac", "hf secret"]) {
      const error = await assertRejects(
        () => resolveModelFolder("org/tiny", { ...options, token, cacheDir: join(options.cacheDir, "new") }),
        RangeError,
        "Cannot use the hub's access token",
      );
      assert(!/s.?cret/.test(`${error.stack} ${Deno.inspect(error)}`));
    }
  });
});

Deno.test("resolveModelFolder() sends the token to the hub alone and never shows it", async () => {
  await withHub(async (hub, options) => {
    const other = serveHub();
    other.trick = undefined;
    const token = "hf_secret_token";
    hub.trick = (request) => Response.redirect(request.url.replace(hub.url, other.url), 302);
    await resolveModelFolder("org/tiny", { ...options, token });
    assert(hub.requests.length > 0 && hub.requests.every((r) => r.authorization === `Bearer ${token}`));
    assertEquals(other.requests.map((r) => r.authorization), [null, null]);
    const leaks = [...walk(options.cacheDir)].filter((path) => {
      const text = new TextDecoder().decode(Deno.readFileSync(path));
      return text.includes(token) || path.includes(token);
    });
    assertEquals(leaks, []);
    hub.api = () => new Response("no", { status: 403 });
    const error = await assertFails(
      resolveModelFolder("org/tiny", { ...options, token }),
      "unauthorized",
      "403",
    );
    assert(!`${error.stack} ${Deno.inspect(error)}`.includes(token));
    // plain http to another machine gets no token
    const seen: (string | null)[] = [];
    const plain: typeof fetch = (_, init) => {
      seen.push(new Headers(init?.headers).get("Authorization"));
      return Promise.resolve(new Response("no", { status: 404 }));
    };
    await assertFails(
      resolveModelFolder("org/tiny", { ...options, token, hubUrl: "http://hub.example", fetch: plain }),
      "not-found",
      "no such model",
    );
    assertEquals(seen, [null]);
    await other.stop();
  });
});

Deno.test("resolveModelFolder() refuses redirect loops, downgrades and private targets", async () => {
  const targets: Record<string, string> = {
    "http://cdn.example/x": "received http://cdn.example",
    "file:///etc/passwd": "received file://",
    "https://169.254.169.254/latest": "received https://169.254.169.254",
    "https://localhost/x": "received https://localhost",
    "https://[::1]/x": "received https://[::1]",
    "": "received none",
  };
  for (const [target, message] of Object.entries(targets)) {
    const redirecting: typeof fetch = () =>
      Promise.resolve(new Response(null, { status: 302, headers: { Location: target } }));
    const cacheDir = await Deno.makeTempDir();
    const options = {
      cacheDir,
      hubUrl: "https://hub.example",
      fetch: redirecting,
      token: "t",
      timeouts: { retryMs: 1 },
    };
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", message);
    await Deno.remove(cacheDir, { recursive: true });
  }
  await withHub(async (hub, options) => {
    hub.trick = (request) => Response.redirect(request.url, 302);
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", "more than 10 redirects");
    assertEquals(hub.hits.length, 11);
  });
});

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { buildStudio, contentPolicy, DEFAULT_HUB, pagePolicies } from "../../tools/build_studio.ts";
import { fileServer } from "../../tools/serve_studio.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FAKE_ENGINE = new URL("./fake_engine.ts", import.meta.url).pathname;

/** Builds into a folder of its own. */
async function withBuild(
  options: { hub?: string },
  body: (build: Awaited<ReturnType<typeof buildStudio>>) => Promise<void>,
): Promise<void> {
  const output = await Deno.makeTempDir();
  try {
    await body(await buildStudio({ engine: FAKE_ENGINE, output, ...options }));
  } finally {
    await Deno.remove(output, { recursive: true });
  }
}

Deno.test("buildStudio() makes a shell below 250 kB gzipped that names no origin but its own and the hub", async () => {
  await withBuild({}, async ({ output, files, page, style, join, gzip, problems }) => {
    assertEquals(problems, []);
    assert(gzip.page + gzip.style < 250_000, `${gzip.page + gzip.style} bytes`);
    const html = await Deno.readTextFile(`${output}/index.html`);
    assertEquals(html.includes("{{"), false);
    const texts = [
      html,
      ...await Promise.all([page, style].map((path) => Deno.readTextFile(`${output}/${path}`))),
    ];
    const named = new Set(texts.flatMap((text) => text.match(/\bhttps?:\/\/[\w.*-]+/g) ?? []));
    named.delete("http://www.w3.org"); // the namespaces of SVG and MathML
    assertEquals([...named].sort(), [
      "https://*.hf.co",
      "https://*.huggingface.co",
      "https://huggingface.co",
    ]);
    // Every file is asked for by a relative address, so that the folder works under any path.
    const addresses = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address);
    assert(addresses.length >= 5);
    for (const address of addresses) assert(files.has(address), `${address} is no file of the build`);
    for (const name of ["config.json", "model.safetensors", "tokenizer.json"]) {
      assertEquals(
        await Deno.readFile(`${output}/assets/model/${name}`),
        await Deno.readFile(`${ROOT}examples/demo/model/${name}`),
      );
    }
    // The page by which a tab joins is of files of its own, but for what both have.
    const own = await Deno.readTextFile(`${output}/join.html`);
    assertEquals(own.includes("{{"), false);
    for (const [, address] of own.matchAll(/(?:src|href)="([^"]*)"/g)) assert(files.has(address), address);
    assert(own.includes(join.page) && own.includes(join.style) && !own.includes(page));
    assert(files.has("assets/data/pirate.jsonl") && files.has("assets/data/pirate_held_out.jsonl"));
  });
});

Deno.test("buildStudio() states a policy that allows its own origin and the chosen hub, and no inline script", async () => {
  await withBuild({ hub: "https://hub.example.org:8443/models" }, async ({ output, page }) => {
    const html = await Deno.readTextFile(`${output}/index.html`);
    const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)!;
    const rules = new Map(
      policy.split("; ").map((rule) => {
        const [name, ...sources] = rule.split(" ");
        return [name, sources] as const;
      }),
    );
    assertEquals(rules.get("default-src"), ["'none'"]);
    assertEquals(rules.get("connect-src"), ["'self'", "blob:", "https://hub.example.org:8443"]);
    assertEquals(rules.get("script-src"), ["'self'", "'wasm-unsafe-eval'"]);
    const own = await Deno.readTextFile(`${output}/join.html`);
    assertStringIncludes(own, policy.replace("example.org:8443;", "example.org:8443 ws: wss:;"));
    assertEquals(rules.get("style-src"), ["'self'"]);
    assertEquals(/<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=/.test(html), false);
    assertStringIncludes(await Deno.readTextFile(`${output}/${page}`), "https://hub.example.org:8443");
  });
  await assertRejects(
    () => buildStudio({ hub: "models", output: "/nowhere", engine: FAKE_ENGINE }),
    TypeError,
    'the hub must be a web address, received "models"',
  );
});

Deno.test("fileServer() gives types, ranges and gzip, and nothing from outside its folder", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/index.html`, "<p>here</p>");
  await Deno.writeTextFile(`${folder}/engine-ABCDEFGH.js`, "x".repeat(1000));
  await Deno.writeFile(`${folder}/model.safetensors`, new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
  await Deno.writeTextFile(`${folder}/join.html`, "<p>join</p>");
  const answer = fileServer(folder, {
    policy: contentPolicy(DEFAULT_HUB),
    policies: pagePolicies(DEFAULT_HUB),
  });
  const ask = (path: string, init?: RequestInit) => answer(new Request(`http://127.0.0.1${path}`, init));
  const range = async (range: string) => {
    const response = await ask("/model.safetensors", { headers: { range } });
    const bytes = [...new Uint8Array(await response.arrayBuffer())];
    return [response.status, response.headers.get("content-range"), response.status === 206 ? bytes : null];
  };

  const page = await ask("/");
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(page.headers.get("cache-control"), "no-cache");
  assertStringIncludes(page.headers.get("content-security-policy")!, "default-src 'none'");
  assertEquals(await page.text(), "<p>here</p>");
  const connections = async (path: string) =>
    /connect-src [^;]*/.exec((await ask(path)).headers.get("content-security-policy")!)![0];
  assertEquals(await connections("/join.html"), `${await connections("/")} ws: wss:`);
  const script = await ask("/engine-ABCDEFGH.js", { headers: { "accept-encoding": "br, gzip" } });
  assertEquals(script.headers.get("content-type"), "text/javascript; charset=utf-8");
  assertStringIncludes(script.headers.get("cache-control")!, "immutable");
  assertEquals(script.headers.get("content-encoding"), "gzip");
  const unzipped = script.body!.pipeThrough(new DecompressionStream("gzip"));
  assertEquals(await new Response(unzipped).text(), "x".repeat(1000));

  assertEquals(await range("bytes=2-4"), [206, "bytes 2-4/10", [2, 3, 4]]);
  assertEquals(await range("bytes=7-"), [206, "bytes 7-9/10", [7, 8, 9]]);
  assertEquals(await range("bytes=-2"), [206, "bytes 8-9/10", [8, 9]]);
  assertEquals(await range("bytes=8-99"), [206, "bytes 8-9/10", [8, 9]]);
  assertEquals(await range("bytes=10-12"), [416, "bytes */10", null]);
  const head = await ask("/model.safetensors", { method: "HEAD" });
  assertEquals([head.status, head.headers.get("content-length"), await head.text()], [200, "10", ""]);
  assertEquals((await ask("/", { method: "POST" })).status, 405);
  assertEquals((await ask("/missing")).status, 404);
  assertEquals((await ask("/%2e%2e/%2e%2e/etc/passwd")).status, 404);
  assertEquals((await ask("/%E0%A4%A")).status, 404);
  assertEquals((await ask("/..%2F..%2Fetc/passwd")).status, 404);
  await Deno.remove(folder, { recursive: true });
});

/** Runs `./run studio` as a user does. */
function runStudio(args: string[]): Deno.ChildProcess {
  return new Deno.Command(`${ROOT}run`, {
    args: ["studio", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
}

async function outcome(child: Deno.ChildProcess): Promise<{ code: number; out: string; err: string }> {
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: (await child.status).code, out, err };
}

Deno.test("serve_studio.ts builds, prints the address, serves the page, and ends cleanly at Ctrl-C", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${ROOT}tools/serve_studio.ts`, "--port", "0"],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) break;
    said += value;
  }
  const [, address] = /^The studio is at (http:\/\/127\.0\.0\.1:\d+\/) /.exec(said)!;
  const html = await (await fetch(address)).text();
  const [, script] = /<script type="module" src="([^"]*)">/.exec(html)!;
  const served = await fetch(new URL(script, address));
  assertEquals([served.status, served.headers.get("content-type")], [200, "text/javascript; charset=utf-8"]);
  await served.body!.cancel();
  if (Deno.build.os !== "windows") {
    child.kill("SIGINT");
    const [{ code }, errors] = await Promise.all([child.status, new Response(child.stderr).text()]);
    assertEquals([code, errors], [0, ""]);
  }
  await reader.cancel();
});

Deno.test("./run studio explains itself, and says which flag or port is wrong", async () => {
  const help = await outcome(runStudio(["--help"]));
  assertEquals([help.code, help.err], [0, ""]);
  for (const flag of ["--port", "--host", "--hub"]) assertStringIncludes(help.out, flag);
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const wrong: [string[], string][] = [
    [["--prot", "1"], "Cannot run studio: Unknown option '--prot'; see ./run studio --help"],
    [["--port", "http"], 'Cannot run studio: --port must be an integer from 0 to 65535, received "http"'],
    [["--hub", "models"], 'Cannot run studio: --hub must be a web address, received "models"'],
    [
      ["--port", `${port}`],
      `Cannot serve the studio: port ${port} is in use; choose another one with --port, or 0 for any`,
    ],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await outcome(runStudio(args));
    assertEquals([code, out, err], [1, "", `${message}\n`]);
  }
});

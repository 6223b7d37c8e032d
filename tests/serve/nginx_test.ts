/**
 * deploy/nginx.conf with nginx itself, before two instances that say who they are.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import OpenAI from "openai";
import { freePort } from "../free_port.ts";
import { inFolder } from "../train/tiny_run.ts";
import { pause } from "./running_server.ts";

/** Path of nginx; null on a machine without it (Debian's package nginx-light). */
async function nginxPath(): Promise<string | null> {
  for (const path of ["/usr/sbin/nginx", "/usr/local/bin/nginx", "/opt/homebrew/bin/nginx"]) {
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  return null;
}
const NGINX = await nginxPath();

/** An instance that answers with its name. */
function instance(name: string, port = 0) {
  const server = Deno.serve({ port, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const body = request.method === "POST" ? await request.json() : {};
    if (!body.stream) return Response.json({ id: name, choices: [], path: pathname });
    const lines = async function* () {
      for (let i = 0; i < 5; i++) {
        yield new TextEncoder().encode(`data: ${JSON.stringify({ choices: [{ text: `${i}` }] })}\n\n`);
        await pause(200);
      }
    };
    const headers = { "content-type": "text/event-stream" };
    return new Response(ReadableStream.from(lines()), { headers });
  });
  return { name, port: server.addr.port, stop: () => server.shutdown() };
}

Deno.test({
  name:
    "nginx: requests of an adapter reach one instance, another one while that is down; streams pass unbuffered",
  ignore: NGINX === null,
  async fn() {
    await inFolder(async (folder) => {
      const instances = [instance("first"), instance("second")];
      const port = freePort();
      const site = (await Deno.readTextFile("deploy/nginx.conf"))
        .replace("127.0.0.1:8001", `127.0.0.1:${instances[0].port}`)
        .replace("127.0.0.1:8002", `127.0.0.1:${instances[1].port}`)
        .replaceAll("fail_timeout=5s", "fail_timeout=1s")
        .replace("listen 8000", `listen 127.0.0.1:${port}`);
      await Deno.writeTextFile(`${folder}/site.conf`, site);
      await Deno.writeTextFile(
        `${folder}/nginx.conf`,
        `daemon off; pid ${folder}/pid; error_log ${folder}/error.log; events {}
http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; include ${folder}/site.conf; }`,
      );
      const nginx = new Deno.Command(NGINX!, {
        args: ["-p", folder, "-e", `${folder}/error.log`, "-c", `${folder}/nginx.conf`],
      }).spawn();
      try {
        const url = `http://127.0.0.1:${port}`;
        for (let i = 0; i < 200; i++) {
          const up = await fetch(`${url}/health`).then(
            async (response) => (await response.text(), true),
            () => false,
          );
          if (up) break;
          await pause(25);
        }
        const byPath = async (adapter: string) => {
          const client = new OpenAI({ baseURL: `${url}/a/${adapter}/v1`, apiKey: "k", maxRetries: 0 });
          const answer = await client.completions.create({ model: adapter, prompt: "x" }) as unknown as {
            id: string;
            path: string;
          };
          assertEquals(answer.path, "/v1/completions");
          return answer.id;
        };
        const byHeader = async (adapter: string) => {
          const client = new OpenAI({
            baseURL: `${url}/v1`,
            apiKey: "k",
            maxRetries: 0,
            defaultHeaders: { "x-adapter": adapter },
          });
          return (await client.completions.create({ model: adapter, prompt: "x" })).id;
        };
        const names = Array.from({ length: 24 }, (_, i) => `adapter-${i}`);
        const places = new Map<string, string>();
        for (const name of names) places.set(name, await byPath(name));
        assertEquals(new Set(places.values()), new Set(["first", "second"]));
        for (const name of names) {
          assertEquals(await byHeader(name), places.get(name), name);
          assertEquals(await byPath(name), places.get(name), name);
        }

        const stream = await new OpenAI({ baseURL: `${url}/a/x/v1`, apiKey: "k" }).completions
          .create({ model: "x", prompt: "x", stream: true });
        const times: number[] = [];
        for await (const _ of stream) times.push(performance.now());
        assertEquals(times.length, 5);
        assert(times.at(-1)! - times[0] > 400, "events arrive as they are sent");

        const large = await fetch(`${url}/v1/completions`, { method: "POST", body: "x".repeat(5 << 20) });
        assertEquals(large.status, 413);
        await large.text();

        await instances[0].stop();
        for (const name of names) {
          assertEquals(await byPath(name), "second", `${name} while its instance is down`);
        }
        instances[0] = instance("first", instances[0].port);
        await pause(5500); // fail_timeout
        for (const name of names) {
          assertEquals(await byPath(name), places.get(name), `${name} when it is back`);
        }
      } finally {
        nginx.kill("SIGTERM");
        await nginx.status;
        for (const { stop } of instances) await stop();
      }
    });
  },
});

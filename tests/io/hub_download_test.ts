import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { resolveModelFolder } from "../../io/hub.ts";
import {
  assertFails,
  blobsIn,
  broken,
  CONFIG,
  encoder,
  FILES,
  gitSha1,
  repository,
  sha256,
  WEIGHTS,
  withHub,
} from "./fake_hub.ts";

Deno.test("resolveModelFolder() tries again after 408, 429 and 5xx, and gives up in the end", async () => {
  await withHub(async (hub, options) => {
    const statuses = [408, 429, 500, 503];
    hub.trick = () => {
      const status = statuses.shift();
      return status ? new Response("later", { status, headers: { "Retry-After": "0" } }) : undefined;
    };
    await resolveModelFolder("org/tiny", options);
    assertEquals(hub.hits.length, 6);
    hub.files.set("vocab.json", encoder.encode("{}"));
    hub.trick = () => new Response("later", { status: 503 });
    const error = await assertFails(
      resolveModelFolder("org/tiny", {
        ...options,
        files: ["vocab.json"],
        cacheDir: join(options.cacheDir, "new"),
      }),
      "status",
      "received 503",
    );
    assertEquals(error.status, 503);
    assertEquals(hub.hits.length, 6 + 5);
  });
});

Deno.test("resolveModelFolder() rejects wrong bytes of the right size, and leaves nothing of them", async () => {
  await withHub(async (hub, options) => {
    hub.trick = (_, bytes) => {
      const wrong = bytes.slice();
      wrong[7]! ^= 1;
      return new Response(wrong);
    };
    await assertFails(
      resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] }),
      "bad-answer",
      `Cannot download "model.safetensors": content with hash ${
        sha256(WEIGHTS)
      } is required, received other bytes`,
    );
    await assertFails(resolveModelFolder("org/tiny", options), "bad-answer", gitSha1(CONFIG));
    assertEquals(blobsIn(options.cacheDir), []);
  });
});

Deno.test("resolveModelFolder() rejects an error page with status 200, and a body that does not end", async () => {
  await withHub(async (hub, options) => {
    hub.trick = () => new Response("<html>busy</html>");
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "bad-answer",
      `Cannot download "config.json": ${CONFIG.length} bytes were announced, received 17`,
    );
    hub.trick = (_, bytes) => new Response(new Blob([bytes.slice(), new Uint8Array(10)]).stream());
    await assertFails(
      resolveModelFolder("org/tiny", options),
      "bad-answer",
      "bytes were announced, received more",
    );
    assertEquals(blobsIn(options.cacheDir), []);
  });
});

for (
  const [where, count] of [["at once", 0], ["after 1 byte", 1], ["half way", 150_000], [
    "before the last byte",
    299_999,
  ]] as const
) {
  Deno.test(`resolveModelFolder() continues a connection that drops ${where}`, async () => {
    await withHub(async (hub, options) => {
      let drops = 2;
      hub.trick = (request, bytes) => {
        if (drops-- <= 0) return undefined;
        const from = Number(/\d+/.exec(request.headers.get("Range") ?? "0")![0]);
        return from > 0
          ? broken(
            bytes.slice(from),
            0,
            "206 Partial Content",
            `Content-Range: bytes ${from}-299999/300000\r\n`,
          )
          : broken(bytes, count);
      };
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
      assertEquals(hub.hits.length, 3);
      if (count > 1) assertEquals(hub.hits.at(-1), `model.safetensors bytes=${count}-`);
      assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
    });
  });
}

Deno.test("resolveModelFolder() restarts when the answer to a Range does not continue the file", async () => {
  const answers: Record<string, (bytes: Uint8Array) => Response> = {
    "200 with the whole file": (bytes) => new Response(bytes.slice()),
    "206 shifted by one": (bytes) =>
      new Response(bytes.slice(150_001), {
        status: 206,
        headers: { "Content-Range": "bytes 150001-299999/300000" },
      }),
    "206 of another size": (bytes) =>
      new Response(bytes.slice(150_000), {
        status: 206,
        headers: { "Content-Range": "bytes 150000-299999/300001" },
      }),
    "206 without Content-Range": (bytes) => new Response(bytes.slice(150_000), { status: 206 }),
    "416": () => new Response("no", { status: 416 }),
  };
  for (const [name, answer] of Object.entries(answers)) {
    await withHub(async (hub, options) => {
      hub.trick = (_, bytes, hit) =>
        hit === 1 ? broken(bytes, 150_000) : hit === 2 ? answer(bytes) : undefined;
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS, name);
    });
  }
});

Deno.test("resolveModelFolder() gives up after 5 drops without a new byte, and the next call continues", async () => {
  await withHub(async (hub, options) => {
    const request = { ...options, files: ["model.safetensors"] };
    hub.trick = (_, bytes, hit) =>
      hit === 1 ? broken(bytes, 100_000) : broken(
        bytes.slice(100_000),
        0,
        "206 Partial Content",
        "Content-Range: bytes 100000-299999/300000\r\n",
      );
    await assertFails(resolveModelFolder("org/tiny", request), "offline", "Cannot");
    assertEquals(hub.hits.length, 6);
    const [partial] = blobsIn(options.cacheDir);
    assertMatch(partial!, /^[0-9a-f]{64}\.[0-9a-f]{8}\.incomplete$/);
    // the file of a process that is gone: continued, its bytes hashed again
    const path = join(repository(options.cacheDir), "blobs", partial!);
    const past = new Date(Date.now() - 60_000);
    await Deno.utime(path, past, past);
    hub.trick = undefined;
    hub.hits.length = 0;
    const folder = await resolveModelFolder("org/tiny", request);
    assertEquals(hub.hits, ["model.safetensors bytes=100000-"]);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
  });
});

Deno.test("resolveModelFolder() gives up on a file that is shorter than the hub announced", async () => {
  const short = WEIGHTS.slice(0, 200_000);
  const beyond: Record<string, () => Response> = {
    "416 without a size": () => new Response("no", { status: 416 }),
    "416 with the true size": () =>
      new Response("no", { status: 416, headers: { "Content-Range": "bytes */200000" } }),
    "206 without a byte": () =>
      new Response("", { status: 206, headers: { "Content-Range": "bytes 200000-199999/300000" } }),
    "the whole file again": () => new Response(short),
  };
  for (const [name, answer] of Object.entries(beyond)) {
    await withHub(async (hub, options) => {
      hub.trick = (request) => request.headers.has("Range") ? answer() : new Response(short);
      await assertFails(
        resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] }),
        "bad-answer",
        'Cannot download "model.safetensors": 300000 bytes were announced, received',
      );
      assert(hub.hits.length <= 12, `${name}: ${hub.hits.length} requests`);
      assertEquals(blobsIn(options.cacheDir), [], name);
    });
  }
});

Deno.test("resolveModelFolder() starts anew when the continued part is damaged or too long", async () => {
  for (const length of [100_000, 300_000, 400_000]) {
    await withHub(async (hub, options) => {
      const blobs = join(repository(options.cacheDir), "blobs");
      await Deno.mkdir(blobs, { recursive: true });
      const path = join(blobs, `${sha256(WEIGHTS)}.00000000.incomplete`);
      await Deno.writeFile(path, new Uint8Array(length));
      const past = new Date(Date.now() - 60_000);
      await Deno.utime(path, past, past);
      const folder = await resolveModelFolder("org/tiny", { ...options, files: ["model.safetensors"] });
      assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
      assertEquals(hub.hits.at(-1), "model.safetensors");
      assertEquals(blobsIn(options.cacheDir), [sha256(WEIGHTS)]);
    });
  }
});

Deno.test("resolveModelFolder() fetches a damaged blob again", async () => {
  await withHub(async (hub, options) => {
    const folder = await resolveModelFolder("org/tiny", options);
    const blob = join(repository(options.cacheDir), "blobs", sha256(WEIGHTS));
    await Deno.truncate(blob, 10); // a wrong size is always seen
    await resolveModelFolder("org/tiny", options);
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    const wrong = WEIGHTS.slice();
    wrong[0]! ^= 1;
    await Deno.writeFile(blob, wrong); // wrong bytes with verify
    await resolveModelFolder("org/tiny", { ...options, verify: true });
    assertEquals(await Deno.readFile(join(folder, "model.safetensors")), WEIGHTS);
    assertEquals(hub.hits, [...FILES, "model.safetensors", "model.safetensors"]);
  });
});

Deno.test("resolveModelFolder() lets two callers fetch one model at a time", async () => {
  await withHub(async (_, options) => {
    const [a, b] = await Promise.all([
      resolveModelFolder("org/tiny", options),
      resolveModelFolder("org/tiny", options),
    ]);
    assertEquals(a, b);
    assertEquals(await Deno.readFile(join(a!, "model.safetensors")), WEIGHTS);
    assertEquals(blobsIn(options.cacheDir), [gitSha1(CONFIG), sha256(WEIGHTS)].sort());
  });
});

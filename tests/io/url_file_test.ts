/**
 * One file behind a URL, and everything that its server may do.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { openFile } from "../../io/open_file.ts";
import { urlFile } from "../../io/url_file.ts";
import { broken } from "./fake_hub.ts";

const BYTES = Uint8Array.from({ length: 300_000 }, (_, i) => i * 31 + (i >> 8));

type Answer = (
  request: Request,
  range: { from: number; to: number } | null,
  hit: number,
) => Response | undefined;

/** A server of one file that answers ranges, except where `answer` says otherwise. */
async function served(answer: Answer, body: (url: string, ranges: string[]) => Promise<void>): Promise<void> {
  const ranges: string[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const header = request.headers.get("Range");
    ranges.push(`${request.method} ${header ?? ""}`.trim());
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(header ?? "") ?? [];
    const range = header === null ? null : { from: Number(from), to: Number(to) };
    const special = answer(request, range, ranges.length);
    if (special) return special;
    if (!range) return new Response(BYTES.slice());
    return new Response(BYTES.slice(range.from, range.to + 1), {
      status: 206,
      headers: {
        "Content-Range": `bytes ${range.from}-${Math.min(range.to, BYTES.length - 1)}/${BYTES.length}`,
        ETag: '"one"',
      },
    });
  });
  try {
    await body(`http://127.0.0.1:${server.addr.port}/file`, ranges);
  } finally {
    await server.shutdown();
  }
}

Deno.test("urlFile() asks for the ranges that are read and nothing else", async () => {
  await served(() => undefined, async (url, ranges) => {
    const file = await openFile(url);
    assertEquals([file.size, file.name], [BYTES.length, url]);
    assertEquals(await file.read(150_000, 70_000), BYTES.slice(150_000, 220_000));
    const room = new Uint8Array(80_000);
    const read = await file.read(7, 70_000, room);
    assertEquals([read, read.buffer], [BYTES.slice(7, 70_007), room.buffer]);
    assertEquals(ranges, ["GET bytes=0-65535", "GET bytes=150000-219999", "GET bytes=7-70006"]);
    // What is small comes from a block; the first one is there already.
    ranges.length = 0;
    for (
      const [from, to] of [[5, 10], [65_000, 65_536], [65_000, 65_600], [100_000, 130_000], [
        299_990,
        300_000,
      ]]
    ) {
      assertEquals(await file.read(from, to - from), BYTES.slice(from, to));
    }
    assertEquals(await file.read(300_000, 0), new Uint8Array(0));
    assertEquals(ranges, ["GET bytes=65000-130535", "GET bytes=299990-299999"]);
    await assertRejects(() => file.read(299_999, 2), RangeError, "must be inside its 300000 bytes");
    await file.close();
    assertEquals((await openFile(new URL(url))).size, BYTES.length);
  });
});

Deno.test("urlFile() takes the whole file once where the server answers no ranges, and the size from HEAD where a page is not shown it", async () => {
  await served(() => new Response(BYTES.slice()), async (url, ranges) => {
    const file = await urlFile(url);
    assertEquals(await file.read(250_000, 1000), BYTES.slice(250_000, 251_000));
    assertEquals([file.size, ranges.length], [BYTES.length, 1]);
  });
  const hidden: Answer = (request, range) =>
    request.method === "HEAD"
      ? new Response(null, { headers: { "Content-Length": String(BYTES.length) } })
      : new Response(BYTES.slice(range!.from, range!.to + 1), { status: 206 });
  await served(hidden, async (url, ranges) => {
    const file = await urlFile(url);
    assertEquals(await file.read(5, 70_000), BYTES.slice(5, 70_005));
    assertEquals([file.size, ranges], [BYTES.length, ["GET bytes=0-65535", "HEAD", "GET bytes=5-70004"]]);
  });
  await served(
    (request, range) => request.method === "HEAD" ? new Response(null) : hidden(request, range, 0),
    (url) =>
      assertRejects(() => urlFile(url), Error, "a server that tells the file's size is required").then(
        () => {},
      ),
  );
  await served(() => new Response(null, { status: 416 }), async (url) => {
    assertEquals((await urlFile(url)).size, 0);
  });
});

Deno.test("urlFile() asks again after a broken connection, and gives up after four tries", async () => {
  const cut: Answer = (_, range, hit) =>
    range!.from > 0 && hit < 4
      ? broken(
        BYTES.slice(range!.from, range!.to + 1),
        100,
        "206 Partial Content",
        `Content-Range: bytes ${range!.from}-${range!.to}/300000\r\nETag: "one"\r\n`,
      )
      : undefined;
  await served(cut, async (url, ranges) => {
    const file = await urlFile(url);
    assertEquals(await file.read(100_000, 5000), BYTES.slice(100_000, 105_000));
    assertEquals(ranges.length, 4);
  });
  await served(
    (_, range) => range!.from > 0 ? new Response("down", { status: 503 }) : undefined,
    async (url, ranges) => {
      const file = await urlFile(url);
      await assertRejects(
        () => file.read(100_000, 5000),
        Error,
        `Cannot read "${url}": status 200 or 206 is required, received 503, 4 times in turn`,
      );
      assertEquals(ranges.length, 5);
    },
  );
});

Deno.test("urlFile() refuses a missing file, and one that changed while it was open", async () => {
  await served(() => new Response("none", { status: 404 }), async (url, ranges) => {
    await assertRejects(
      () => urlFile(url),
      Error,
      `Cannot fetch "${url}": status 200 or 206 is required, received 404`,
    );
    assertEquals(ranges.length, 1);
  });
  const changes: Record<string, Answer> = {
    "another ETag": (_, range) =>
      range!.from > 0
        ? new Response(BYTES.slice(range!.from, range!.to + 1), {
          status: 206,
          headers: { "Content-Range": `bytes ${range!.from}-${range!.to}/300000`, ETag: '"two"' },
        })
        : undefined,
    "another size": (_, range) =>
      range!.from > 0
        ? new Response(BYTES.slice(range!.from, range!.to + 1), {
          status: 206,
          headers: { "Content-Range": `bytes ${range!.from}-${range!.to}/300001`, ETag: '"one"' },
        })
        : undefined,
    "no range any more": (_, range) => range!.from > 0 ? new Response(BYTES.slice()) : undefined,
  };
  for (const [kind, answer] of Object.entries(changes)) {
    await served(answer, async (url) => {
      const file = await urlFile(url);
      const error = await assertRejects(
        () => file.read(100_000, 10),
        Error,
        "the file has changed since it was opened",
      );
      assert(error.message.includes(url), kind);
    });
  }
  await assertRejects(
    () => urlFile("http://127.0.0.1:1/file"),
    Error,
    'Cannot read "http://127.0.0.1:1/file": ',
  );
});

/**
 * What the server refuses, in the official client's words, while it serves on; clients that leave, read slowly or wait.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "openai";
import { Tensor } from "@peft/webgpu/tensor";
import { ApiError } from "@peft/webgpu/serve";
import { pause, type Running, until, withServer } from "./running_server.ts";

const ASKED = { model: "base", prompt: "Once upon a time", temperature: 0, max_tokens: 8 };

Deno.test("bad requests get the status and message that the client turns into its exceptions; the server serves on", async () => {
  await withServer(async ({ client, url, alone }) => {
    const expected = await alone(ASKED.prompt, null, 8);
    const chat = { model: "base", messages: [{ role: "user", content: "Hi" }] };
    const post = async (path: string, body: unknown) => {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const response = await fetch(`${url}${path}`, { method: "POST", body: text });
      return { status: response.status, ...(await response.json()).error };
    };
    for (
      const [path, body, status, code, message] of [
        ["completions", "{", 400, "invalid_json", "the body must be JSON"],
        ["completions", "[1]", 400, "invalid_value", "the body"],
        [
          "completions",
          { ...ASKED, model: "strange" },
          404,
          "model_not_found",
          `no model or adapter "strange"`,
        ],
        ["completions", { ...ASKED, model: "" }, 400, "invalid_value", "model"],
        ["completions", { prompt: "a" }, 400, "invalid_value", "model: it is required"],
        ["completions", { ...ASKED, prompt: "" }, 400, "invalid_value", "at least one token"],
        ["completions", { ...ASKED, prompt: [1e6] }, 400, "invalid_value", "token ids from 0 to"],
        ["completions", { ...ASKED, prompt: [] }, 400, "invalid_value", "prompt"],
        ["completions", { ...ASKED, max_tokens: 0 }, 400, "invalid_value", "max_tokens"],
        ["completions", { ...ASKED, max_tokens: 101 }, 400, "invalid_value", "at most 100"],
        [
          "completions",
          { ...ASKED, prompt: "a ".repeat(3000) },
          400,
          "context_length_exceeded",
          "maximum context length is",
        ],
        ["completions", { ...ASKED, temperature: -1 }, 400, "invalid_value", "temperature"],
        ["completions", { ...ASKED, n: 9 }, 400, "too_many_choices", "at most 8 answers"],
        ["completions", { ...ASKED, stop: "" }, 400, "invalid_value", "stop"],
        ["completions", { ...ASKED, suffix: "x" }, 400, "unsupported_parameter", "suffix"],
        [
          "completions",
          { ...ASKED, frequency_penalty: 1 },
          400,
          "unsupported_parameter",
          "frequency_penalty",
        ],
        ["completions", { ...ASKED, prompt: "x".repeat(1 << 20) }, 413, "body_too_large", "1048576 bytes"],
        ["chat/completions", { ...chat, messages: [] }, 400, "invalid_value", "at least one message"],
        [
          "chat/completions",
          { ...chat, messages: [{ role: "king" }] },
          400,
          "invalid_value",
          "messages.0.role",
        ],
        ["chat/completions", { ...chat, top_logprobs: 2 }, 400, "invalid_value", "logprobs must be true"],
        ["chat/completions", { ...chat, tool_choice: "required" }, 400, "invalid_value", "none or auto"],
        [
          "chat/completions",
          { ...chat, response_format: { type: "json_object" } },
          400,
          "unsupported_parameter",
          "response_format",
        ],
        [
          "chat/completions",
          { ...chat, messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] },
          400,
          "invalid_value",
          "parts of type text",
        ],
        ["nothing", {}, 404, "not_found", "there is no POST /v1/nothing"],
        ["adapters", { name: "x", path: "../../etc" }, 400, "outside", "within"],
      ] as const
    ) {
      const found = await post(`/v1/${path}`, body);
      assertEquals([found.status, found.code], [status, code], found.message);
      assert(found.message.includes(message), found.message);
    }
    assertEquals((await fetch(`${url}/v1/completions`)).status, 404);
    await assertRejects(
      () => client.completions.create({ ...ASKED, model: "strange" }),
      OpenAI.NotFoundError,
      "strange",
    );
    await assertRejects(
      () => client.completions.create({ ...ASKED, temperature: 3 }),
      OpenAI.BadRequestError,
      "temperature",
    );
    // What asks for nothing is taken.
    const plain = { ...ASKED, frequency_penalty: 0, logit_bias: {}, user: "me", echo: false };
    assertEquals((await client.completions.create(plain)).choices[0].text, expected);
  }, {
    adapterSource: (path) => {
      if (path.includes("..")) {
        throw new ApiError(400, "path: a folder within the adapters' is required", "outside");
      }
      return path;
    },
  });
});

Deno.test("an API key is asked of everything below /v1; health and metrics are open", async () => {
  await withServer(async ({ client, url, engine }) => {
    assertEquals((await client.completions.create(ASKED)).choices.length, 1);
    for (const apiKey of ["wrong", "secre", "secrett"]) {
      const other = client.withOptions({ apiKey });
      await assertRejects(
        () => other.completions.create(ASKED),
        OpenAI.AuthenticationError,
        "a valid API key is required",
      );
      await assertRejects(() => other.models.list(), OpenAI.AuthenticationError);
    }
    assertEquals((await fetch(`${url}/v1/models`)).status, 401);
    assertEquals((await fetch(`${url}/v1/models`, { headers: { authorization: "secret" } })).status, 401);
    assertEquals(await (await fetch(`${url}/health`)).json(), { status: "ok" });
    await until(() => engine.running === 0, "all is done");
    const text = await (await fetch(`${url}/metrics`)).text();
    for (
      const line of [
        `peft_answers_total{model="base",reason="length"} 1`,
        `peft_generation_tokens_total{model="base"} 8`,
        `peft_requests_total{route="/v1/completions",status="200"} 1`,
        `peft_requests_total{route="/v1/completions",status="401"} 3`,
        "peft_time_to_first_token_seconds_count 1",
        "peft_answers_running 0",
        "peft_adapters 2",
      ]
    ) assert(text.includes(`\n${line}\n`), `${line} in\n${text}`);
  }, { apiKey: "secret" });
});

Deno.test("a client that leaves frees its row at once, in a stream and without one; one that reads slowly holds nobody up", async () => {
  await withServer(async ({ client, engine, alone, url }) => {
    const long = { ...ASKED, max_tokens: 100, temperature: 1, seed: 3 };
    const expected = await alone(ASKED.prompt, "two", 60);
    const other = client.completions.create({ ...ASKED, model: "two", max_tokens: 60 });
    const slow = await fetch(`${url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ ...long, model: "one", stream: true }),
    }); // its body is read at the end
    const streaming = await client.completions.create({ ...long, stream: true });
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
    const body = JSON.stringify(long);
    await connection.write(new TextEncoder().encode(
      `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    ));
    await until(() => engine.running === 4, "all four generate");
    for await (const _ of streaming) break; // leaves the stream
    connection.close();
    await until(() => engine.running <= 2, "the two that left are gone");
    assertEquals((await other).choices[0].text, expected);
    await until(() => engine.running === 0, "the slow one is computed to its end");
    const text = await slow.text();
    assert(text.endsWith("data: [DONE]\n\n"), text.slice(-100));
    const reasons = await (await fetch(`${url}/metrics`)).text();
    assert(reasons.includes(`peft_answers_total{model="base",reason="cancelled"} 2`), reasons);
  });
});

Deno.test("a request that takes too long ends with a timeout, in a stream and without one", async () => {
  await withServer(async ({ client, engine }: Running) => {
    const long = { ...ASKED, max_tokens: 100 };
    const timeout = await assertRejects(
      () => client.completions.create(long),
      OpenAI.APIError,
      "longer than this server allows",
    );
    assertEquals((timeout as InstanceType<typeof OpenAI.APIError>).status, 408);
    const stream = await client.completions.create({ ...long, stream: true });
    await assertRejects(
      async () => {
        for await (const _ of stream);
      },
      OpenAI.APIError,
      "longer than this server allows",
    );
    await until(() => engine.running === 0, "the rows are free");
  }, { timeoutMs: 30 });
});

Deno.test("more requests than may wait are refused with 429 and a time to come back; those that wait are answered", async () => {
  await withServer(
    async ({ client, url, engine, alone }) => {
      const expected = await alone(ASKED.prompt, null, 30);
      const asked = { ...ASKED, max_tokens: 30 };
      const running = [0, 1, 2].map(() => client.completions.create(asked));
      await until(() => engine.running + engine.waiting === 3, "two generate and one waits");
      const refused = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(asked) });
      assertEquals([refused.status, refused.headers.get("retry-after")], [429, "1"]);
      assertEquals((await refused.json()).error.code, "server_busy");
      await assertRejects(
        () => client.completions.create({ ...asked, n: 2 }),
        OpenAI.RateLimitError,
        "the server is busy",
      );
      for (const one of running) assertEquals((await one).choices[0].text, expected);
      await pause(20);
      assertEquals((await client.completions.create(asked)).choices[0].text, expected);
    },
    {},
    { maxRows: 2, maxWaiting: 1 },
  );
});

Deno.test("a page of an allowed origin may ask; numbers that are not finite end one answer alone", async () => {
  await withServer(async ({ client, url, model, alone }) => {
    const headers = { origin: "https://page.example", "access-control-request-method": "POST" };
    const preflight = await fetch(`${url}/v1/completions`, { method: "OPTIONS", headers });
    assertEquals([preflight.status, preflight.headers.get("access-control-allow-origin")], [
      204,
      "https://page.example",
    ]);
    await preflight.body?.cancel();
    const expected = await alone(ASKED.prompt, null, 8);
    const { lastLogits } = model;
    model.lastLogits = (inputs) => {
      const logits = lastLogits.call(model, inputs);
      const ids = inputs.inputIds as number[][];
      const at = Array.isArray(ids) ? ids.findIndex((row) => row.at(-1) === 5) : -1;
      if (at >= 0) {
        const { vocabSize } = model.facts;
        using broken = Tensor.from(new Float32Array(vocabSize).fill(NaN), { device: model.device });
        model.device.copy(broken.view, logits.window(at * vocabSize * 4, vocabSize * 4));
      }
      return logits;
    };
    const { error } = console;
    console.error = () => {};
    try {
      const [fine, broken] = await Promise.allSettled([
        client.completions.create(ASKED),
        client.completions.create({ ...ASKED, prompt: [5] }),
      ]);
      assert(
        broken.status === "rejected" && broken.reason instanceof OpenAI.InternalServerError,
        String(broken),
      );
      assert(fine.status === "fulfilled" && fine.value.choices[0].text === expected);
    } finally {
      console.error = error;
    }
  }, { allowOrigin: "https://page.example", apiKey: "k" });
});

Deno.test("a body that is slow, breaks off, or is longer than any prompt ends its own request alone, soon and with a reason", async () => {
  await withServer(async ({ url, engine, client, tokenizer }) => {
    const port = Number(new URL(url).port);
    for (const head of ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]) {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(new TextEncoder().encode(`POST /v1/completions HTTP/1.1\r\nHost: x\r\n${head}`));
      const bytes = new Uint8Array(4096);
      const text = new TextDecoder().decode(bytes.subarray(0, await connection.read(bytes) ?? 0));
      assert(text.startsWith("HTTP/1.1 408") && text.includes("longer to arrive"), text);
    }
    const said: unknown[] = [];
    const { error } = console;
    console.error = (...words) => said.push(words);
    try {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(
        new TextEncoder().encode("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"),
      );
      await pause(50);
      connection.close();
      await pause(100);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.BadResource)) throw cause; // closed above, and by `using`
    } finally {
      console.error = error;
    }
    assertEquals(said, [], "a client's fault is none of the server's");

    let tokenized = 0;
    const { encode, applyChatTemplate } = tokenizer;
    tokenizer.encode = (...given) => (tokenized++, encode(...given));
    tokenizer.applyChatTemplate = ((messages, options) => {
      if (options?.tokenize !== false) tokenized++;
      return applyChatTemplate(messages, options);
    }) as typeof applyChatTemplate;
    const content = "a ".repeat(100_000);
    for (
      const [path, body, code] of [
        ["completions", { ...ASKED, prompt: content }, "context_length_exceeded"],
        ["completions", { ...ASKED, prompt: new Array(9).fill("a") }, "too_many_choices"],
        [
          "chat/completions",
          { model: "base", messages: [{ role: "user", content }] },
          "context_length_exceeded",
        ],
      ] as const
    ) {
      const response = await fetch(`${url}/v1/${path}`, { method: "POST", body: JSON.stringify(body) });
      assertEquals([response.status, (await response.json()).error.code], [400, code]);
    }
    assertEquals(tokenized, 0, "none of them is tokenized");
    await until(() => engine.running === 0, "nothing runs");
    assertEquals((await client.completions.create(ASKED)).usage!.completion_tokens, 8);
    assert(tokenized > 0);
  }, { timeoutMs: 1000 });
});

Deno.test("a long text is refused by its start alone, and one of few tokens is answered", async () => {
  await withServer(async ({ client, tokenizer, engine: { maxPositions } }) => {
    const words = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.decode([id]));
    const longest = words.filter((word) => /^ [a-z]+$/.test(word)).sort((a, b) => b.length - a.length)[0];
    const encoded: number[] = [];
    const { encode } = tokenizer;
    tokenizer.encode = (text, ...rest) => (encoded.push(text.length), encode(text, ...rest));
    const refused = await assertRejects(
      () => client.completions.create({ ...ASKED, prompt: "a b ".repeat(3 * maxPositions) }),
      OpenAI.BadRequestError,
    );
    assertEquals(refused.code, "context_length_exceeded");
    assertEquals(encoded, [8 * maxPositions], "the rest is never looked at");
    const prompt = longest.repeat(Math.ceil(9 * maxPositions / longest.length));
    const { usage } = await client.completions.create({ ...ASKED, prompt, max_tokens: 2 });
    assertEquals(usage!.prompt_tokens, prompt.length / longest.length);
    assertEquals(encoded.slice(1), [8 * maxPositions, prompt.length]);
  });
});

Deno.test("a prompt may fill the context but for what is asked for, and not more", async () => {
  await withServer(async ({ client, tokenizer, engine: { maxPositions } }) => {
    const [word] = tokenizer.encode(" a");
    const ask = (length: number, max_tokens?: number) =>
      client.completions.create({ ...ASKED, prompt: new Array(length).fill(word), max_tokens });
    assertEquals((await ask(maxPositions - 2, 2)).usage!.total_tokens, maxPositions);
    assertEquals((await ask(maxPositions - 1)).usage!.completion_tokens, 1);
    for (const [length, count] of [[maxPositions - 2, 3], [maxPositions, undefined]] as const) {
      const refused = await assertRejects(() => ask(length, count), OpenAI.BadRequestError);
      assertEquals(refused.code, "context_length_exceeded");
    }
  });
});

Deno.test("what can never be answered is 400 and not 429; seeds and penalties at their ends hold; template variables arrive", async () => {
  await withServer(
    async ({ client, url, tokenizer }) => {
      const refused = await assertRejects(
        () => client.completions.create({ ...ASKED, n: 4 }),
        OpenAI.BadRequestError,
        "at most 3 answers",
      );
      assertEquals(refused.code, "too_many_choices");
      const post = async (path: string, body: object) =>
        await (await fetch(`${url}/v1/${path}`, { method: "POST", body: JSON.stringify(body) })).json();
      assertEquals(
        (await post("completions", { ...ASKED, repetition_penalty: 1e-300 })).error.param,
        "repetition_penalty",
      );
      for (const stop of ["", [""], new Array(17).fill("a")]) {
        const { error } = await post("completions", { ...ASKED, stop });
        assertEquals(
          error.message.split(": ")[1],
          "a text or up to 16 texts are required, none of them empty",
        );
      }
      const sampled = { ...ASKED, temperature: 2, max_tokens: 30 };
      const { choices } = await post("completions", { ...sampled, n: 3, seed: Number.MAX_SAFE_INTEGER });
      assertEquals(
        new Set(choices.map(({ text }: { text: string }) => text)).size,
        3,
        JSON.stringify(choices),
      );
      tokenizer.chatTemplate = "{% if loud %}LOUD {% endif %}A:";
      const chat = { model: "base", messages: [{ role: "user", content: "Hi" }], max_tokens: 1 };
      const loud = await post("chat/completions", { ...chat, chat_template_kwargs: { loud: true } });
      assertEquals(loud.usage?.prompt_tokens, tokenizer.encode("LOUD A:").length, JSON.stringify(loud));
    },
    {},
    { maxRows: 2, maxWaiting: 1 },
  );
});

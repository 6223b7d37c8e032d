/**
 * The server, asked by the official client of OpenAI's interface.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "openai";
import {
  AutoModelForCausalLM,
  getPeftModel,
  type GPT2LMHeadModel,
  IA3Config,
  LoraConfig,
  PromptTuningConfig,
} from "@peft/webgpu";
import { MODEL, pause, until, withServer } from "./running_server.ts";

const TEXTS = [
  "Once upon a time",
  "The captain",
  "A cat sat on",
  "He said that the",
  "In the end",
  "They saw",
];
const CACHE = 2 ** 18;
const ADAPTERS = [null, "one", "two"] as const;

Deno.test("64 clients at once: each greedy answer is the one computed alone, each sampled one is repeated by its seed, nothing is left over", async () => {
  await withServer(
    async ({ client, engine, alone }) => {
      const expected = new Map<string, string>();
      for (const text of TEXTS) {
        for (const adapter of ADAPTERS) {
          expected.set(`${text} ${adapter}`, await alone(text, adapter, 12 + text.length));
        }
      }
      assert(new Set(expected.values()).size > 12, "adapters change answers");
      const sampled = new Map<string, string>();
      let answers = 0;
      const ask = async (i: number) => {
        const text = TEXTS[i % TEXTS.length];
        const adapter = ADAPTERS[Math.floor(i / 7) % 3];
        const common = { model: adapter ?? "base", prompt: text, max_tokens: 12 + text.length };
        if (i % 2 === 0) {
          const { choices: [{ text: found }] } = await client.completions.create({
            ...common,
            temperature: 0,
          });
          assertEquals(found, expected.get(`${text} ${adapter}`), `${text}, ${adapter}`);
        } else {
          const seed = i % 5;
          const stream = await client.completions.create({
            ...common,
            temperature: 0.9,
            top_p: 0.95,
            seed,
            stream: true,
          });
          let found = "";
          for await (const { choices: [choice] } of stream) found += choice.text;
          const key = `${text} ${adapter} ${seed}`;
          assertEquals(found, sampled.get(key) ?? found, key);
          sampled.set(key, found);
        }
        answers++;
      };
      const live = engine.deviceBytes;
      for (let round = 0; round < 3; round++) {
        await Promise.all(Array.from({ length: 64 }, (_, i) => ask(i + round)));
        await until(() => engine.running === 0, "the batch is empty");
        // Kept prompts alone, and what the pool rounds up: nothing grows with the rounds.
        assert(engine.deviceBytes - live <= CACHE * 1.25, `${engine.deviceBytes - live} bytes more`);
      }
      assertEquals(answers, 192);
    },
    {},
    { promptCacheBytes: CACHE },
  );
});

Deno.test("a conversation: in one piece, as a stream, with usage, log-probabilities, several answers, tools as the template renders them", async () => {
  await withServer(async ({ client, alone, tokenizer }) => {
    const messages = [{ role: "system" as const, content: "Be kind" }, {
      role: "user" as const,
      content: [{ type: "text" as const, text: "Tell me" }, { type: "text" as const, text: " more" }],
    }];
    const rendered = "S: Be kind\nU: Tell me more\nA:";
    const wanted = await alone(rendered, "one", 15);
    const asked = { model: "one", messages, temperature: 0, max_tokens: 15 };
    const whole = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2 });
    assertEquals(whole.object, "chat.completion");
    assertEquals(whole.model, "one");
    const [{ message, finish_reason, logprobs }] = whole.choices;
    assertEquals([message.role, message.content, finish_reason], ["assistant", wanted, "length"]);
    assertEquals(whole.usage, {
      prompt_tokens: tokenizer.encode(rendered).length,
      completion_tokens: 15,
      total_tokens: tokenizer.encode(rendered).length + 15,
    });
    assertEquals(logprobs!.content!.map(({ token }) => token).join(""), wanted);
    for (const { token, logprob, bytes, top_logprobs } of logprobs!.content!) {
      assertEquals(top_logprobs.length, 2);
      assertAllClose([logprob], [top_logprobs[0].logprob], { atol: 0, rtol: 0 }); // greedy: the most likely one
      assert(logprob < 0 && top_logprobs[0].logprob >= top_logprobs[1].logprob);
      assertEquals(new TextDecoder().decode(Uint8Array.from(bytes!)), token);
    }

    const chunks: OpenAI.ChatCompletionChunk[] = [];
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    assertEquals(chunks[0].choices[0].delta, { role: "assistant", content: "" });
    assertEquals(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join(""), wanted);
    assert(chunks.length > 5, "the text comes piece by piece");
    assertEquals(chunks.at(-2)!.choices[0].finish_reason, "length");
    assertEquals(chunks.at(-1)!.usage, whole.usage);
    assertEquals(new Set(chunks.map(({ id }) => id)).size, 1);

    const several = { ...asked, temperature: 1, n: 3, seed: 5 };
    const first = await client.chat.completions.create(several);
    const texts = first.choices.map(({ message }) => message.content);
    assertEquals(new Set(texts).size, 3);
    const again = await client.chat.completions.create({ ...several, stream: true });
    const streamed = ["", "", ""];
    for await (const { choices } of again) {
      for (const { index, delta } of choices) streamed[index] += delta.content ?? "";
    }
    assertEquals(streamed, texts);

    const tools = [{ type: "function" as const, function: { name: "weather", parameters: {} } }];
    const user = [{ role: "user" as const, content: "Hi" }];
    const called = await client.chat.completions.create({ ...asked, messages: user, tools });
    assertEquals(called.choices[0].message.content, await alone("T:weather U: Hi\nA:", "one", 15));
    const silent = await client.chat.completions.create({
      ...asked,
      messages: user,
      tools,
      tool_choice: "none",
    });
    assertEquals(silent.choices[0].message.content, await alone("U: Hi\nA:", "one", 15));
  });
});

Deno.test("stop texts end an answer and are not part of it, however tokens cut them; prompts may be several, or ids", async () => {
  await withServer(async ({ client, alone, tokenizer, engine }) => {
    const text = TEXTS[0];
    const whole = await alone(text, null, 40);
    for (const at of [9, 14, 21]) {
      const stop = whole.slice(at, at + 4);
      const expected = whole.slice(0, whole.indexOf(stop));
      const asked = {
        model: "base",
        prompt: text,
        temperature: 0,
        max_tokens: 40,
        stop: [stop, "never to be found"],
      };
      const { choices: [choice], usage } = await client.completions.create(asked);
      assertEquals([choice.text, choice.finish_reason], [expected, "stop"]);
      assert(usage!.completion_tokens < 40);
      let streamed = "";
      for await (const { choices: [part] } of await client.completions.create({ ...asked, stream: true })) {
        streamed += part.text;
      }
      assertEquals(streamed, expected);
    }
    await until(() => engine.running === 0, "rows that a text ended leave");
    const prompts = TEXTS.slice(0, 3);
    const wanted = await Promise.all(prompts.map((one) => alone(one, "two", 9)));
    const asked = { model: "two", temperature: 0, max_tokens: 9, logprobs: 1 };
    const texts = await client.completions.create({ ...asked, prompt: prompts });
    assertEquals(texts.choices.map((choice) => choice.text), wanted);
    const [{ logprobs }] = texts.choices;
    assertEquals(logprobs!.tokens!.join(""), wanted[0]);
    assertEquals(logprobs!.text_offset![2], logprobs!.tokens!.slice(0, 2).join("").length);
    const ids = await client.completions.create({
      ...asked,
      prompt: prompts.map((one) => tokenizer.encode(one)),
    });
    assertEquals(ids.choices.map((choice) => choice.text), wanted);
  });
});

Deno.test("adapters come and go while others generate; one that is dropped finishes what it began", async () => {
  await withServer(async ({ client, engine, url, folder, alone }) => {
    const ids = async () => (await client.models.list()).data.map(({ id }) => id);
    assertEquals(await ids(), ["base", "one", "two"]);
    assertEquals((await client.models.retrieve("two")).id, "two");
    const expected = await alone(TEXTS[0], "one", 60);
    const other = await alone(TEXTS[1], "two", 60);
    const ask = (model: string, prompt: string) =>
      client.completions.create({ model, prompt, temperature: 0, max_tokens: 60 }).then((
        { choices: [{ text }] },
      ) => text);
    const running = [ask("one", TEXTS[0]), ask("two", TEXTS[1])];
    await until(() => engine.running === 2, "both generate");
    const live = engine.deviceBytes;
    const dropped = fetch(`${url}/v1/adapters/one`, { method: "DELETE" });
    await pause(5);
    await assertRejects(() => ask("one", TEXTS[0]), OpenAI.NotFoundError, `no model or adapter "one"`);
    const added = await fetch(`${url}/v1/adapters`, {
      method: "POST",
      body: JSON.stringify({ name: "v1.2/new one", path: "one" }),
    });
    assertEquals([added.status, (await added.json()).peft_type], [201, "LORA"]);
    assertEquals(await ask("v1.2/new one", TEXTS[0]), expected);
    assertEquals(await Promise.all(running), [expected, other]);
    assertEquals(await (await dropped).json(), { id: "one", object: "adapter", deleted: true });
    assertEquals(await ids(), ["base", "two", "v1.2/new one"]);
    for (const list of ["models", "adapters"]) {
      const text = await (await fetch(`${url}/v1/${list}`)).text();
      assert(!text.includes(folder) && text.includes(`"two"`), `no path of this machine is shown: ${text}`);
    }
    await until(() => engine.running === 0, "all is done");
    assert(engine.deviceBytes <= live, "a dropped adapter's memory is free");

    // A folder of another base, one that is none, a name that is taken, and unknown ones.
    await Deno.mkdir(`${folder}/wide`);
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      await Deno.copyFile(`tests/fixtures/lora/c_attn/${file}`, `${folder}/wide/${file}`);
    }
    for (
      const [body, status, message] of [
        [{ name: "wide" }, 400, "Cannot load adapter"],
        [{ name: "none" }, 400, "none"],
        [{ name: "two" }, 409, "is loaded already"],
        [{ name: "base" }, 409, "base model's id"],
        [{ path: "one" }, 400, "name"],
      ] as const
    ) {
      const response = await fetch(`${url}/v1/adapters`, { method: "POST", body: JSON.stringify(body) });
      const { error } = await response.json();
      assertEquals(response.status, status, JSON.stringify(error));
      assert(error.message.includes(message), error.message);
    }
    const gone = await fetch(`${url}/v1/adapters/one`, { method: "DELETE" });
    assertEquals([gone.status, (await gone.json()).error.code], [404, "adapter_not_found"]);
    assertEquals(await ask("two", TEXTS[1]), other, "the server serves on");
  });
});

Deno.test("the first adapter comes and the last one goes while the base answers; one that cannot be served leaves nothing behind", async () => {
  await withServer(async ({ client, engine, model, url, folder, alone }) => {
    const asked = { model: "base", prompt: "Once upon a time", temperature: 0, max_tokens: 100 };
    const expected = {
      base: await alone(asked.prompt, null, 100),
      one: await alone(asked.prompt, "one", 20),
    };
    for (
      const [name, config] of [["virtual", new PromptTuningConfig({ numVirtualTokens: 3 })], [
        "scaled",
        new IA3Config({ targetModules: ["c_attn"], feedforwardModules: [] }),
      ], ["dora", new LoraConfig({ r: 2, targetModules: ["c_attn"], useDora: true })]] as const
    ) {
      const base = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(MODEL, {
        device: model.device,
      });
      const peft = getPeftModel(base, config, name);
      await peft.savePretrained(folder);
      peft.dispose();
    }
    const add = async (name: string) => {
      const response = await fetch(`${url}/v1/adapters`, { method: "POST", body: JSON.stringify({ name }) });
      return { status: response.status, text: await response.text() };
    };
    const drop = async (name: string) => {
      const response = await fetch(`${url}/v1/adapters/${name}`, { method: "DELETE" });
      assertEquals(response.status, 200, await response.text());
    };
    await drop("one");
    await drop("two");
    for (const name of ["one", "scaled"]) {
      let text = "";
      let pieces = 0;
      for await (const { choices: [choice] } of await client.completions.create({ ...asked, stream: true })) {
        text += choice.text;
        if (++pieces === 2) assertEquals((await add(name)).status, 201);
        if (pieces === 30) await drop(name);
      }
      assertEquals(text, expected.base, `while ${name} came and went`);
    }
    for (const name of ["virtual", "dora"]) {
      const { status, text } = await add(name);
      assertEquals(status, 400, text);
      assert(text.includes(`Cannot serve adapter \\"${name}\\"`), text);
      assertEquals((await client.completions.create(asked)).choices[0].text, expected.base);
    }
    assertEquals((await add("one")).status, 201);
    const other = await client.completions.create({ ...asked, model: "one", max_tokens: 20 });
    assertEquals(other.choices[0].text, expected.one);
    await until(() => engine.running === 0, "all rows are free");
  });
});

Deno.test("a stream's log-probabilities and their places are those of the whole answer, while text is held back for a stop", async () => {
  await withServer(async ({ client }) => {
    const asked = { model: "base", prompt: "Once upon a time", temperature: 0, max_tokens: 20, logprobs: 1 };
    const free = (await client.completions.create(asked)).choices[0];
    const stop = `${free.text.slice(3, 15)}\0`; // is begun, and never found
    const whole = (await client.completions.create({ ...asked, stop })).choices[0];
    assertEquals(whole, free);
    let text = "";
    const offsets: number[] = [];
    const probabilities: unknown[] = [];
    for await (
      const { choices: [choice] } of await client.completions.create({ ...asked, stop, stream: true })
    ) {
      text += choice.text;
      offsets.push(...choice.logprobs?.text_offset ?? []);
      probabilities.push(...choice.logprobs?.token_logprobs ?? []);
    }
    assertEquals(text, whole.text);
    assertEquals(offsets, whole.logprobs!.text_offset);
    assertEquals(probabilities, whole.logprobs!.token_logprobs);
  });
});

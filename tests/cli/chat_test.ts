/**
 * `./run chat`: history, streaming, adapters, and its lines.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type GenerateOptions,
  getPeftModel,
  LoraConfig,
} from "@peft/webgpu";
import { KVCache } from "@peft/webgpu/model";
import { ChatAdapters } from "../../cli/chat/chat_adapters.ts";
import { UsageError } from "../../cli/command.ts";
import { Conversation } from "../../cli/chat/conversation.ts";
import { LineReader } from "../../cli/chat/lines.ts";
import { smolLM2Path } from "../reference/smollm2.ts";
import { writeChatModel } from "./chat_model.ts";

const root = new URL("../../", import.meta.url).pathname;
const folder = await writeChatModel();
const tokenizer = await AutoTokenizer.fromPretrained(folder);
const { signal } = new AbortController();

async function runChat(args: string[], input: string) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, "chat", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

/** A model that answers with given texts, and keeps the prompts that it was given. */
function fakeModel(answers: string[]) {
  const prompts: string[] = [];
  const generate = ([ids]: number[][], { streamer, signal }: GenerateOptions) => {
    prompts.push(tokenizer.decode(ids));
    streamer!.begin?.([ids]);
    for (const id of tokenizer.encode(answers.shift()!)) {
      streamer!.put([id]);
      signal!.throwIfAborted();
    }
    streamer!.put([tokenizer.eosTokenId!]);
    streamer!.end();
    return Promise.resolve([]);
  };
  return { model: { generate } as unknown as CausalLM, prompts };
}

const options = { system: undefined, maxNewTokens: 8, maxPositions: 1000, generate: {} };

Deno.test("Conversation.answer() streams, and puts earlier messages and answers into the prompt", async () => {
  const { model, prompts } = fakeModel(["the sea", "a ship", "a cat"]);
  const conversation = new Conversation(tokenizer, { ...options, system: "once" });
  const pieces: string[] = [];
  const ask = (text: string) =>
    conversation.answer(model, text, (piece) => pieces.push(piece), assert, signal);
  await ask("one");
  assert(pieces.length > 1);
  assertEquals(pieces.join(""), "the sea"); // no prompt, no end token
  await ask("two");
  const first = "system: once<|endoftext|>user: one<|endoftext|>assistant:";
  assertEquals(prompts, [
    first,
    `${first} the sea<|endoftext|>user: two<|endoftext|>assistant:`,
  ]);
  conversation.reset();
  await ask("one");
  assertEquals(prompts[2], first);
});

Deno.test("Conversation.answer() forgets the oldest messages of a long conversation, and refuses a message that is too long", async () => {
  const { model, prompts } = fakeModel(["sea", "ship", "cat"]);
  const maxPositions = 36;
  const conversation = new Conversation(tokenizer, { ...options, maxPositions });
  const notes: string[] = [];
  const ask = (text: string) =>
    conversation.answer(model, text, () => {}, (note) => notes.push(note), signal);
  await ask("one ".repeat(10));
  await ask("two ".repeat(10));
  assertEquals(notes, [
    "the conversation is longer than the model's 36 tokens: its oldest 2 messages are forgotten",
  ]);
  assert(!prompts[1].includes("one") && prompts[1].includes("two"), prompts[1]);
  const before = conversation.messages;
  await assertRejects(
    () => ask("word ".repeat(100)),
    UsageError,
    "Cannot answer: a message of at most 35 tokens with its template is required, received ",
  );
  assertEquals(conversation.messages, before);
});

Deno.test("Conversation.answer() keeps what there is of an answer that was ended", async () => {
  const { model } = fakeModel(["the sea and the ship"]);
  const conversation = new Conversation(tokenizer, options);
  const controller = new AbortController();
  const error = await assertRejects(() =>
    conversation.answer(model, "one", () => controller.abort(), assert, controller.signal)
  );
  assertEquals(error, controller.signal.reason);
  const [question, answer] = conversation.messages;
  assertEquals(question.content, "one");
  assert("the sea and the ship".startsWith(answer.content as string), `${answer.content}`);
});

Deno.test("Conversation.answer() with a kept cache computes new messages alone, and gives the same answers through /adapter and /reset", async () => {
  const output = await Deno.makeTempDir();
  const base = await AutoModelForCausalLM.fromPretrained(folder);
  const config = new LoraConfig({ r: 4, loraAlpha: 64, targetModules: ["c_attn"], initLoraWeights: false });
  const peft = getPeftModel(await AutoModelForCausalLM.fromPretrained(folder), config);
  await peft.savePretrained(`${output}/sea`);
  peft.dispose();
  const adapters = new ChatAdapters(base, base, undefined);
  const prompts: number[] = [];
  const { lastLogits } = base;
  base.lastLogits = (inputs) => {
    if (Array.isArray(inputs.inputIds)) prompts.push(inputs.inputIds[0].length); // on the device: a chosen token
    return lastLogits.call(base, inputs);
  };
  using pastKeyValues = new KVCache(base, base.device, 1, 0);
  const small = { ...options, maxPositions: 128 }; // the last questions make it forget the first ones
  const kept = new Conversation(tokenizer, { ...small, generate: { pastKeyValues } });
  const plain = new Conversation(tokenizer, small);
  const answers = new Set<string>();
  const notes: string[] = [];
  /** Asks both; returns the tokens of the prompt that each computed. */
  const ask = async (text: string): Promise<number[]> => {
    prompts.length = 0;
    const texts: string[] = [];
    for (const conversation of [plain, kept]) {
      let answer = "";
      await conversation.answer(
        adapters.model,
        text,
        (piece) => answer += piece,
        (note) => notes.push(note),
        signal,
      );
      texts.push(answer);
    }
    assertEquals(texts[1], texts[0]);
    answers.add(texts[0]);
    return [...prompts];
  };
  const sizes = [await ask("one two three"), await ask("four"), await ask("five six")];
  assertEquals(sizes[0][1], sizes[0][0]);
  const added = tokenizer.applyChatTemplate([{ role: "user", content: "five six" }], {
    addGenerationPrompt: true,
  }).length;
  assert(sizes[2][0] > 3 * added, `${sizes}`);
  // The answer itself is computed again only where its text has other tokens than the model chose.
  assert(sizes[2][1] <= added + options.maxNewTokens + 2, `${sizes}: ${added} tokens are new`);
  assertEquals(sizes[2][0] - sizes[2][1], sizes[1][0], "at least the whole prompt before is kept");
  await adapters.choose(`${output}/sea`);
  const [all, other] = await ask("four");
  assertEquals(other, all, "another adapter computes everything again");
  await adapters.choose("none");
  await ask("four");
  await ask("one two three four five six");
  assert(notes.length > 0 && notes.every((note) => note.endsWith("are forgotten")), `${notes}`);
  for (const conversation of [plain, kept]) conversation.reset();
  await ask("one two three");
  assert(answers.size >= 3, [...answers].join());
  base.dispose();
  await Deno.remove(output, { recursive: true });
});

Deno.test("ChatAdapters.choose() loads, switches and keeps the adapter that acted where another cannot be loaded", async () => {
  const output = await Deno.makeTempDir();
  const base = await AutoModelForCausalLM.fromPretrained(folder);
  const config = new LoraConfig({ r: 2, targetModules: ["c_attn"], initLoraWeights: false });
  for (const [seed, name] of ["sea", "land"].entries()) {
    const model = await AutoModelForCausalLM.fromPretrained(folder);
    const peft = getPeftModel(model, config, "default", { seed });
    await peft.savePretrained(`${output}/${name}`);
    peft.dispose();
  }
  const adapters = new ChatAdapters(base, base, undefined);
  const next = async () => {
    using logits = adapters.model.forward({ inputIds: [[1, 2, 3]] }).logits;
    return [...await logits.data()];
  };
  const plain = await next();
  assertEquals(await adapters.choose(`${output}/sea`), `adapter: ${output}/sea`);
  const sea = await next();
  assertEquals(
    await adapters.choose(`${output}/land`),
    `adapter: ${output}/land; also loaded: ${output}/sea`,
  );
  const land = await next();
  await assertRejects(() => adapters.choose(`${output}/nowhere`), Error, "Cannot find");
  assertEquals(await next(), land);
  await adapters.choose("none");
  assertEquals(await next(), plain);
  await adapters.choose("sea"); // by the last part of its folder
  assertEquals(await next(), sea);
  assert(sea[0] !== plain[0] && land[0] !== sea[0]);
  base.dispose();
  await Deno.remove(output, { recursive: true });
});

Deno.test("LineReader.next() returns lines however the bytes are cut", async () => {
  const bytes = new TextEncoder().encode("one\r\n\nträge\nlast");
  for (const size of [1, 3, 100]) {
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const reader = new LineReader(stream);
    const lines: (string | null)[] = [];
    for (let line = await reader.next(); line !== null; line = await reader.next()) lines.push(line);
    assertEquals(lines, ["one", "", "träge", "last"]);
  }
});

Deno.test("./run chat answers each line of its input, and goes on after a mistake", async () => {
  const { code, stdout, stderr } = await runChat(
    ["--model", folder, "--max-new-tokens", "4"],
    "Ahoy\n\n/fly\n/adapter\n/adapter ./no/such/folder\n/reset\nAhoy\n/exit\nnever read",
  );
  assertEquals(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) => line.trim() !== "");
  assertEquals(lines.length, 2, stdout);
  assertEquals(lines[0], lines[1]); // the conversation was reset
  assertMatch(stderr, /error: Cannot run "\/fly": \/adapter, \/reset, \/exit and \/help are known/);
  assertMatch(stderr, /adapter: none/);
  assertMatch(stderr, /error: Cannot find .*\.\/no\/such\/folder/);
});

Deno.test("./run chat refuses a model without a chat template", async () => {
  const { code, stderr } = await runChat(["--model", `${root}examples/demo/model`], "Ahoy\n");
  assertEquals(code, 1);
  assertMatch(stderr, /^error: Cannot run chat: a model with a chat template is required, received /m);
});

Deno.test("./run chat ends with 130 at Ctrl-C while it waits for a line, and in the middle of an answer", async () => {
  const args = ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, "chat"];
  for (const tokens of ["1", "90"]) {
    const child = new Deno.Command(Deno.execPath(), {
      args: [...args, "--model", folder, "--max-new-tokens", tokens],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("Ahoy\n"));
    const reader = child.stdout.getReader();
    await reader.read(); // the answer has begun; the short one is over soon
    if (tokens === "1") await new Promise((done) => setTimeout(done, 500));
    child.kill("SIGINT");
    assertEquals((await child.status).code, 130);
    await writer.abort().catch(() => {});
    await reader.cancel();
  }
});

const path = await smolLM2Path();
Deno.test({
  name: "SmolLM2 in ./run chat answers, and understands the second question by the first",
  ignore: path === null,
  async fn() {
    const { code, stdout, stderr } = await runChat(
      ["--model", path!, "--max-new-tokens", "24"],
      "What is the capital of France?\nAnd of Italy?\n",
    );
    assertEquals(code, 0, stderr);
    assertEquals(stdout, "The capital of France is Paris.\nThe capital of Italy is Rome.\n");
  },
});

Deno.test({
  name: "SmolLM2 answers a third message with the tokens of the two before in its cache",
  ignore: path === null,
  async fn() {
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(path!, { dtype: "float16" });
    const own = await AutoTokenizer.fromPretrained(path!);
    using pastKeyValues = new KVCache(model, model.device, 1, 0);
    const generate = { pastKeyValues, eosTokenId: own.eosTokenId };
    const conversation = new Conversation(own, { ...options, maxNewTokens: 12, generate });
    const positions: number[] = [];
    const { lastLogits } = model;
    model.lastLogits = (inputs) => {
      if (Array.isArray(inputs.inputIds)) positions.push(inputs.inputIds[0].length);
      return lastLogits.call(model, inputs);
    };
    const questions = ["What is the capital of France?", "And of Italy?", "And of Spain?"];
    for (const question of questions) await conversation.answer(model, question, () => {}, assert, signal);
    // The end of the answer before (not yet computed) and its line end, the question and its template.
    const [first, second, third] = positions;
    assert(first > 30 && second <= 18 && third <= 18, `${positions}`);
    assertEquals(conversation.messages.at(-1)!.content, "The capital of Spain is Madrid.");
    model.dispose();
  },
});

Deno.test({
  name: "SmolLM2 is known to info, generate and finetune by its .gguf path, and to generate by the adapter's",
  ignore: path === null,
  async fn() {
    const output = await Deno.makeTempDir();
    await Deno.writeTextFile(`${output}/data.jsonl`, '{"prompt": "Hello", "completion": " there"}\n');
    const command = async (...args: string[]) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, ...args],
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout);
    };
    assertMatch(
      await command("info", "--model", path!),
      /Llama, 30 layers, 9 heads \(3 of keys and values\)/,
    );
    const prompt = ["--prompt", "The capital of France is", "--max-new-tokens", "1"];
    assertEquals(await command("generate", "--model", path!, ...prompt), "The capital of France is Paris\n");
    const small = ["--max-steps", "1", "--batch-size", "1", "--lr", "1e-6", "--output", `${output}/adapter`];
    await command("finetune", "--model", path!, "--data", `${output}/data.jsonl`, ...small);
    assertEquals(
      await command("generate", "--adapter", `${output}/adapter`, ...prompt),
      "The capital of France is Paris\n",
    );
    await Deno.remove(output, { recursive: true });
  },
});

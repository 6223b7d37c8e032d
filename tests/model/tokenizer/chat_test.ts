/**
 * Conversations against transformers: text, ids, and the assistant's tokens.
 * @module
 */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { AutoTokenizer, type ChatMessage, ChatTemplateError } from "../../../model/mod.ts";
import { memoryFolder } from "../../../io/open_file.ts";

const root = new URL("../../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;

interface Expected {
  templates: Record<string, string>;
  conversations: Record<string, ChatMessage[]>;
  tools: unknown[];
  cases: {
    template: string;
    conversation: string;
    prompt: boolean;
    tools: boolean;
    text?: string;
    error?: string;
    ids?: number[];
    mask?: number[];
  }[];
}
const expected: Expected = JSON.parse(await Deno.readTextFile(`${root}tests/fixtures/chat/expected.json`));

Deno.test("applyChatTemplate() gives transformers' text, ids and masks of the assistant's tokens", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  let [masks, errors] = [0, 0];
  for (const { template, conversation, prompt, tools, text, error, ids, mask } of expected.cases) {
    const label = `${template}, ${conversation}, prompt ${prompt}, tools ${tools}`;
    const options = {
      chatTemplate: expected.templates[template],
      addGenerationPrompt: prompt,
      ...(tools ? { tools: expected.tools } : {}),
    };
    const messages = expected.conversations[conversation];
    if (error !== undefined) {
      errors++;
      const thrown = assertThrows(() => tokenizer.applyChatTemplate(messages, options), ChatTemplateError);
      if (error.startsWith("roles must") && conversation === "order") {
        assertStringIncludes((thrown as Error).message, error);
      }
      continue;
    }
    assertEquals(tokenizer.applyChatTemplate(messages, { ...options, tokenize: false }), text, label);
    assertEquals(tokenizer.applyChatTemplate(messages, options), ids, label);
    if (mask === undefined) continue;
    masks++;
    const encoded = tokenizer.applyChatTemplate(messages, { ...options, returnAssistantTokensMask: true });
    assertEquals(encoded, { inputIds: ids, assistantMasks: mask }, label);
  }
  assert(masks >= 24 && errors >= 1, `${masks} masks, ${errors} errors`);
});

Deno.test("applyChatTemplate() refuses what it cannot render, by name", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const one: ChatMessage[] = [{ role: "user", content: "Ahoy" }];
  const plain = expected.templates.plain;
  const cases: [() => unknown, string][] = [
    [() => tokenizer.applyChatTemplate(one), "the tokenizer has none; pass { chatTemplate }"],
    [
      () => tokenizer.applyChatTemplate(one, { chatTemplate: "{% for x in %}" }),
      "a valid Jinja template is required",
    ],
    [
      () => tokenizer.applyChatTemplate(one, { chatTemplate: "x".repeat(1_000_001) }),
      "at most 1000000 characters",
    ],
    [
      () => tokenizer.applyChatTemplate(one, { chatTemplate: "{{ messages[0].content.missing() }}" }),
      "Cannot apply the chat template",
    ],
    [
      () => tokenizer.applyChatTemplate(one, { chatTemplate: "{{ raise_exception('no user, please') }}" }),
      "Cannot apply the chat template: no user, please",
    ],
    [
      () => tokenizer.applyChatTemplate(one, { chatTemplate: plain, returnAssistantTokensMask: true }),
      "must have {% generation %} and {% endgeneration %}",
    ],
    [() => tokenizer.chatTemplate = 3 as never, "a text is required, received number"],
    [() => tokenizer.chatTemplate = "{% if %}", "a valid Jinja template is required"],
  ];
  for (const [run, message] of cases) assertThrows(run, ChatTemplateError, message);
  const wrong: [unknown, string][] = [
    ["Ahoy", "messages must be a list of objects with a role, received string"],
    [[{ content: "Ahoy" }], 'received {"content":"Ahoy"} as message 0'],
    [[one[0], null], "received null as message 1"],
  ];
  for (const [messages, message] of wrong) {
    const run = () => tokenizer.applyChatTemplate(messages as ChatMessage[], { chatTemplate: plain });
    assertThrows(run, TypeError, message);
  }
  assertThrows(
    () => tokenizer.applyChatTemplate(one, { add_generation_prompt: true } as never),
    TypeError,
    'unknown option "add_generation_prompt", did you mean "addGenerationPrompt"?',
  );
  assertThrows(
    () =>
      tokenizer.applyChatTemplate(one, {
        chatTemplate: plain,
        addGenerationPrompt: true,
        continueFinalMessage: true,
      }),
    TypeError,
    "received both",
  );
});

Deno.test("applyChatTemplate() with continueFinalMessage ends inside the last message", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  const messages = [{ role: "user", content: "Ahoy" }, { role: "assistant", content: "Ahoy, the captain " }];
  const text = tokenizer.applyChatTemplate(messages, {
    chatTemplate: expected.templates.plain,
    continueFinalMessage: true,
    tokenize: false,
  });
  assert(text.endsWith("<|assistant|>\nAhoy, the captain"), text);
});

Deno.test("a chat template is read from chat_template.jinja, else from tokenizer_config.json, and saved", async () => {
  const files = async (config: object, more: Record<string, string> = {}) => {
    const own = JSON.parse(await Deno.readTextFile(`${MODEL}/tokenizer_config.json`));
    const text = (value: string) => new TextEncoder().encode(value);
    return memoryFolder({
      "tokenizer.json": await Deno.readFile(`${MODEL}/tokenizer.json`),
      "tokenizer_config.json": text(JSON.stringify({ ...own, ...config })),
      ...Object.fromEntries(Object.entries(more).map(([name, value]) => [name, text(value)])),
    });
  };
  const one: ChatMessage[] = [{ role: "user", content: "Ahoy" }];
  const render = (t: Awaited<ReturnType<typeof AutoTokenizer.fromPretrained>>, options = {}) =>
    t.applyChatTemplate(one, { ...options, tokenize: false });

  const inConfig = await AutoTokenizer.fromPretrained(
    await files({ chat_template: "A{{ messages[0].content }}" }),
  );
  assertEquals(render(inConfig), "AAhoy");
  const both = await AutoTokenizer.fromPretrained(
    await files({ chat_template: "A" }, { "chat_template.jinja": "B{{ messages[0].content }}" }),
  );
  assertEquals(render(both), "BAhoy");
  const several = await AutoTokenizer.fromPretrained(
    await files({
      chat_template: [{ name: "default", template: "D" }, { name: "tool_use", template: "T" }, {
        name: "rag",
        template: "R",
      }],
    }),
  );
  assertEquals(
    [render(several), render(several, { tools: [{}] }), render(several, { chatTemplate: "rag" })],
    [
      "D",
      "T",
      "R",
    ],
  );
  const named = await AutoTokenizer.fromPretrained(
    await files({ chat_template: [{ name: "rag", template: "R" }] }),
  );
  assertThrows(() => render(named), ChatTemplateError, 'name one of "rag"');

  for (const tokenizer of [both, several]) {
    const folder = memoryFolder();
    await tokenizer.savePretrained(folder);
    const again = await AutoTokenizer.fromPretrained(folder);
    assertEquals(render(again), render(tokenizer));
    if (tokenizer === several) assertEquals(render(again, { chatTemplate: "rag" }), "R");
  }
  assertEquals(render(both, { chatTemplate: null as never }), render(both));
  both.chatTemplate = null;
  assertThrows(() => render(both), ChatTemplateError, "the tokenizer has none");
  several.chatTemplate = undefined as never; // in JavaScript, no template as well
  assertEquals(several.chatTemplate, null);
});

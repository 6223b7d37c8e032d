/**
 * Conversations as training data: which tokens are learned, and the forms of rows that are recognised.
 * @module
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AutoTokenizer, type Tokenizer } from "../../../model/mod.ts";
import { chatExample, type Message, TextDataset } from "../../../train/mod.ts";
import { TEMPLATE } from "../../cli/chat_model.ts";
import { smolLM2Path } from "../../reference/smollm2.ts";

async function chatTokenizer(template: string | null = TEMPLATE): Promise<Tokenizer> {
  const tokenizer = await AutoTokenizer.fromPretrained(
    new URL("../../../examples/demo/model", import.meta.url).pathname,
  );
  tokenizer.chatTemplate = template;
  return tokenizer;
}

/** Text of the tokens that are learned, runs of them with a bar between. */
function learned(
  tokenizer: Tokenizer,
  { inputIds, labels }: { inputIds: readonly number[]; labels?: readonly number[] },
) {
  const runs: number[][] = [];
  labels!.forEach((label, i) => {
    if (label === -100) return;
    assertEquals(label, inputIds[i]);
    if (i === 0 || labels![i - 1] === -100) runs.push([]);
    runs.at(-1)!.push(label);
  });
  return runs.map((ids) => tokenizer.decode(ids)).join("|");
}

const CONVERSATION: Message[] = [
  { role: "system", content: "once" },
  { role: "user", content: "who are you?" },
  { role: "assistant", content: "a pirate" },
  { role: "user", content: "where?" },
  { role: "assistant", content: "on the ship" },
];

Deno.test("chatExample() learns every answer with what ends it, and nothing else", async () => {
  const tokenizer = await chatTokenizer();
  const example = chatExample(tokenizer, CONVERSATION);
  assertEquals(
    tokenizer.decode(example.inputIds),
    "system: once<|endoftext|>user: who are you?<|endoftext|>assistant: a pirate<|endoftext|>" +
      "user: where?<|endoftext|>assistant: on the ship<|endoftext|>",
  );
  assertEquals(learned(tokenizer, example), " a pirate<|endoftext|>| on the ship<|endoftext|>");
  const last = chatExample(tokenizer, CONVERSATION, { learnedFrom: 3 });
  assertEquals(learned(tokenizer, last), " on the ship<|endoftext|>");
  const open = chatExample(tokenizer, CONVERSATION.slice(0, 4));
  assertEquals(learned(tokenizer, open), " a pirate<|endoftext|>", "a question at the end is read");
});

Deno.test("chatExample() leaves white space behind an answer unlearned, and refuses templates that it cannot follow", async () => {
  const tokenizer = await chatTokenizer(
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<|endoftext|>\\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
  );
  const example = chatExample(tokenizer, CONVERSATION);
  assertEquals(learned(tokenizer, example), "a pirate<|endoftext|>|on the ship<|endoftext|>");
  assertEquals(tokenizer.decode(example.inputIds).endsWith("on the ship<|endoftext|>"), true);

  assertThrows(
    () => chatExample(tokenizer, CONVERSATION.slice(0, 2)),
    TypeError,
    'Cannot train on a conversation: a message of the assistant is required, received "system", "user"',
  );
  const silent = await chatTokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}");
  assertThrows(
    () => chatExample(silent, [CONVERSATION[1], { role: "assistant", content: "" }]),
    TypeError,
    "the chat template must put an answer behind its generation prompt, received",
  );
  const moody = await chatTokenizer(
    "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}:{% endif %}",
  );
  assertThrows(() => chatExample(moody, CONVERSATION), TypeError, "behind its generation prompt");
});

/** Reads rows as a file. */
async function read(tokenizer: Tokenizer, name: string, text: string, blockSize = 64) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/${name}`, text);
    return await TextDataset.fromFile(`${folder}/${name}`, tokenizer, { blockSize });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const FORMS: Readonly<Record<string, { row: unknown; text: string; learned: string }>> = {
  "messages": {
    row: { messages: CONVERSATION.slice(1, 3) },
    text: "user: who are you?<|endoftext|>assistant: a pirate<|endoftext|>",
    learned: " a pirate<|endoftext|>",
  },
  "ShareGPT's conversations": {
    row: {
      system: "once",
      conversations: [{ from: "human", value: "who are you?" }, { from: "gpt", value: "a pirate" }],
    },
    text: "system: once<|endoftext|>user: who are you?<|endoftext|>assistant: a pirate<|endoftext|>",
    learned: " a pirate<|endoftext|>",
  },
  "prompt and completion as messages": {
    row: { prompt: CONVERSATION.slice(0, 4), completion: CONVERSATION.slice(4) },
    text: "system: once<|endoftext|>user: who are you?<|endoftext|>assistant: a pirate<|endoftext|>" +
      "user: where?<|endoftext|>assistant: on the ship<|endoftext|>",
    learned: " on the ship<|endoftext|>",
  },
  "Alpaca's instruction, input and output": {
    row: { instruction: "who", input: "are you?", output: "a pirate" },
    text: "user: who\n\nare you?<|endoftext|>assistant: a pirate<|endoftext|>",
    learned: " a pirate<|endoftext|>",
  },
  "question and answer": {
    row: { question: "where?", answer: "on the ship" },
    text: "user: where?<|endoftext|>assistant: on the ship<|endoftext|>",
    learned: " on the ship<|endoftext|>",
  },
};

for (const [name, { row, text, learned: wanted }] of Object.entries(FORMS)) {
  Deno.test(`TextDataset.fromFile() recognises ${name}, in .jsonl and .json`, async () => {
    const tokenizer = await chatTokenizer();
    const line = JSON.stringify(row);
    for (const [file, bytes] of [["a.jsonl", `${line}\n\n${line}\n`], ["a.json", `[${line},\n ${line}]`]]) {
      const dataset = await read(tokenizer, file, bytes);
      assertEquals(dataset.length, 2);
      assertEquals(tokenizer.decode([...dataset.at(1)!.inputIds]), text);
      assertEquals(learned(tokenizer, dataset.at(1)!), wanted);
    }
  });
}

Deno.test("TextDataset.fromFile() recognises token ids, cuts long rows, and names the row that it cannot use", async () => {
  const tokenizer = await chatTokenizer();
  const ids = {
    input_ids: [5, 6, 7, 8, 9, 10],
    labels: [-100, 6, 7, 8, 9, 10],
    attention_mask: [0, 1, 1, 1, 1, 1],
  };
  const dataset = await read(tokenizer, "ids.jsonl", JSON.stringify(ids), 4);
  assertEquals(dataset.at(0), {
    inputIds: [5, 6, 7, 8],
    labels: [-100, 6, 7, 8],
    attentionMask: [0, 1, 1, 1],
  });
  const cases: [unknown, string][] = [
    [{ input_ids: [1, 2.5] }, 'received other keys or other values: "input_ids"'],
    [
      { messages: [] },
      'a list of messages, each with "role" and "content", is required, received a conversation ("messages") without a message',
    ],
    [{ messages: [{ content: "x" }] }, '("messages") whose message 1 has no "role" but "content"'],
    [{ messages: "x" }, 'received a conversation ("messages") that is a string'],
    [
      { messages: [{ role: "user", content: "x" }, { rol: "assistant", content: "y" }] },
      'received a conversation ("messages") whose message 2 has the key "rol" in place of "role"',
    ],
    [{ messages: [{ role: "user", contnet: "x" }] }, 'message 1 has the key "contnet" in place of "content"'],
    [{ messages: [{ role: 3, content: "x" }] }, 'message 1 has a "role" that is a number'],
    [{ messages: ["x"] }, "message 1 is a string"],
    [{ conversations: [{ from: "human" }] }, '("conversations") whose message 1 has no "value" but "from"'],
    [{ conversations: [{ form: "human", value: "x" }] }, 'has the key "form" in place of "from"'],
    [
      { prompt: [{ role: "user", content: "x" }], completion: [{ rool: "assistant", content: "y" }] },
      'received a conversation ("completion") whose message 1 has the key "rool" in place of "role"',
    ],
    [{ messages: CONVERSATION.slice(0, 2) }, "a message of the assistant is required"],
    [{ messages: CONVERSATION }, "a label in the first 8 tokens is required, received none; raise blockSize"],
  ];
  for (const [row, message] of cases) {
    const text = `${JSON.stringify(ids)}\n${JSON.stringify(row)}`;
    const error = await assertRejects(() => read(tokenizer, "a.jsonl", text, 8), Error, message);
    assertEquals(/^Cannot read "[^"]+a\.jsonl", line 2: /.test(error.message), true, error.message);
  }
  const plain = { encode: (text: string) => tokenizer.encode(text), eosTokenId: 0 };
  await assertRejects(
    () => read(plain as unknown as Tokenizer, "a.jsonl", JSON.stringify({ messages: CONVERSATION })),
    TypeError,
    "line 1: a tokenizer with chat templates is required for conversations, received one without",
  );
});

const path = await smolLM2Path();
Deno.test({
  name: "SmolLM2's template: every answer and its <|im_end|> are learned",
  ignore: path === null,
  async fn() {
    const tokenizer = await AutoTokenizer.fromPretrained(path!);
    const example = chatExample(tokenizer, CONVERSATION);
    assertEquals(learned(tokenizer, example), "a pirate<|im_end|>|on the ship<|im_end|>");
  },
});

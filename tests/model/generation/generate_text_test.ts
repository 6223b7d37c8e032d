/**
 * Generation as it is first tried: from text, to text, ended by texts or a signal; options that do not exist.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AutoTokenizer,
  type GenerateOptions,
  GPT2Config,
  GPT2LMHeadModel,
  TextStreamer,
  type TextStreamerOptions,
} from "../../../model/mod.ts";
import { getPeftModel, LoraConfig, PromptTuningConfig } from "../../../peft/mod.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { warningsOf } from "../../peft/tiny_model.ts";

const device = await ownDevice();
const tokenizer = await AutoTokenizer.fromPretrained("gpt2");

/** A small model with GPT-2's vocabulary, which says the same few words, some of them parts of characters. */
function made(fields: ConstructorParameters<typeof GPT2Config>[0] = {}): GPT2LMHeadModel {
  const sizes = { vocabSize: 50257, nPositions: 64, nEmbd: 16, nLayer: 1, nHead: 2, initializerRange: 0.3 };
  return new GPT2LMHeadModel(new GPT2Config({ ...sizes, ...fields }), { device, seed: 4 });
}

const model = made();
const LONG: GenerateOptions = { tokenizer, maxNewTokens: 24, eosTokenId: null };

Deno.test("generate() continues a text, and texts of different length each as alone", async () => {
  const texts = ["Once upon a time", "Ahoy", "The captain of the ship said"];
  const ids = texts.map((text) => tokenizer.encode(text));
  const alone: number[][] = [];
  for (const row of ids) alone.push((await model.generate([row], LONG))[0]);
  assertEquals(await model.generate(texts[0], LONG), [alone[0]]);
  assertEquals(await model.generate({ text: texts[1] }, LONG), [alone[1]]);
  const together = await model.generate(texts, LONG);
  const longest = Math.max(...ids.map(({ length }) => length));
  texts.forEach((_, i) => assertEquals(together[i].slice(longest - ids[i].length), alone[i]));
  const refuse = (inputs: string | string[], options: GenerateOptions, message: string) =>
    assertRejects(() => model.generate(inputs, options), TypeError, message);
  await refuse("Once", {}, "Cannot generate from text: the option tokenizer is required");
  await refuse(["Once", ""], LONG, 'a text of at least one token is required, received ""');
  await assertRejects(() => model.generate({}, LONG), TypeError, "a text, rows of token ids or { inputIds }");
});

Deno.test("a model with adapters or virtual tokens continues a text as its ids", async () => {
  const configs = [new LoraConfig({ r: 2 }), new PromptTuningConfig({ numVirtualTokens: 2 })];
  for (const config of configs) {
    const peftModel = getPeftModel(made(), config);
    const ids = [tokenizer.encode("Ahoy there")];
    assertEquals(await peftModel.generate("Ahoy there", LONG), await peftModel.generate(ids, LONG));
    if (config instanceof LoraConfig) {
      const rows = peftModel.eval().generate("Ahoy", { ...LONG, adapterNames: ["default", "default"] });
      await assertRejects(() => rows, RangeError, "but got 2 and 1 respectively");
      const misspelt = { maxNewToken: 3 } as GenerateOptions;
      await assertRejects(() => peftModel.generate("Ahoy", misspelt), TypeError, 'mean "maxNewTokens"?');
    }
    peftModel.dispose();
  }
});

Deno.test("generate() refuses options that do not exist by the name that was meant; undefined is the default", async () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ max_new_tokens: 3 }, 'Cannot generate: unknown option "max_new_tokens", did you mean "maxNewTokens"?'],
    [{ temprature: 3 }, 'unknown option "temprature", did you mean "temperature"?'],
    [{ stop_strings: "a" }, 'unknown option "stop_strings", did you mean "stopStrings"?'],
    [{ nonsense: undefined }, 'unknown option "nonsense", the options are "doSample", "temperature"'],
    [{ adapterNames: ["a"] }, "adapterNames needs a PeftModel"],
  ];
  for (const [options, message] of cases) {
    await assertRejects(() => model.generate([[1, 2]], options as GenerateOptions), TypeError, message);
  }
  const names = [
    "doSample",
    "temperature",
    "topK",
    "topP",
    "repetitionPenalty",
    "maxNewTokens",
    "eosTokenId",
    "padTokenId",
    "seed",
    "streamer",
    "useCache",
    "numBeams",
    "lengthPenalty",
    "earlyStopping",
    "signal",
    "tokenizer",
    "stopStrings",
  ];
  const undefinedOptions = Object.fromEntries(names.map((name) => [name, undefined]));
  assertEquals(await model.generate([[1, 2]], undefinedOptions), await model.generate([[1, 2]]));
});

Deno.test("generate() ends after the token at which its signal is aborted, with the signal's reason, and frees all", async () => {
  const prompts = [[5, 6, 7], [8, 9, 10]];
  const live = device.memory.liveBytes;
  const reason = new Error("enough");
  for (const options of [{}, { useCache: false }]) {
    const controller = new AbortController();
    let count = 0;
    const streamer = {
      put: () => void (++count === 3 && controller.abort(reason)),
      end: () => assert(false, "it does not end well"),
    };
    const running = model.generate(prompts, { ...LONG, ...options, streamer, signal: controller.signal });
    assertEquals(await assertRejects(() => running, Error), reason);
    assertEquals(count, 3);
    assertEquals(device.memory.liveBytes, live);
  }
  const before = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => model.generate(prompts, { signal: before })), reason);
  const controller = new AbortController();
  const beams = model.generate(prompts, { ...LONG, numBeams: 2, signal: controller.signal });
  controller.abort(reason);
  assertEquals(await assertRejects(() => beams), reason);
  assertEquals(device.memory.liveBytes, live);
  const ids = await model.generate(prompts, { ...LONG, signal: new AbortController().signal });
  assertEquals(ids, await model.generate(prompts, LONG));
});

Deno.test("generate() with stopStrings ends each row with the token in which one of the texts ends", async () => {
  const prompts = [tokenizer.encode("Once upon"), tokenizer.encode("The captain")];
  assertEquals(prompts[0].length, prompts[1].length);
  const free = await model.generate(prompts, LONG);
  const start = prompts[0].length;
  const texts = free.map((row) => row.map((_, i) => tokenizer.decode(row.slice(0, i + 1))));
  // The end of the seventh new token's text of each row, from within the sixth one's on.
  const stops = texts.map((row) => row[start + 6].slice(-4));
  for (const useCache of [true, false]) {
    const options = { ...LONG, useCache, padTokenId: 11 };
    const rows = await model.generate(prompts, { ...options, stopStrings: stops });
    const ends = texts.map((row) =>
      row.findIndex((text, i) =>
        i >= start && stops.some((stop) => {
          const at = text.lastIndexOf(stop);
          return at >= 0 && at + stop.length > row[i - 1].replace(/\uFFFD+$/, "").length;
        })
      )
    );
    assert(ends.every((end) => end >= start && end <= start + 6), `${ends}`);
    const longest = Math.max(...ends) + 1;
    rows.forEach((row, i) => {
      assertEquals(row.slice(0, ends[i] + 1), free[i].slice(0, ends[i] + 1));
      assertEquals(row.slice(ends[i] + 1), new Array(longest - ends[i] - 1).fill(11));
    });
  }
  // A text that stands in the prompt alone ends nothing; one that begins there does.
  assertEquals((await model.generate([prompts[0]], { ...LONG, stopStrings: "Once" }))[0], free[0]);
  const across = "upon" + tokenizer.decode([free[0][start]]);
  const first = await model.generate([prompts[0]], { ...LONG, stopStrings: [across] });
  assertEquals(first[0], free[0].slice(0, start + 1));
  const refuse = (options: GenerateOptions, message: string) =>
    assertRejects(() => model.generate(prompts, options), Error, message);
  await refuse({ stopStrings: "a" }, "stopStrings needs the option tokenizer");
  await refuse(
    { ...LONG, stopStrings: ["a", ""] },
    "stopStrings must be one or more texts that are not empty",
  );
  await refuse({ stopStrings: "a", numBeams: 2 }, "stopStrings needs the option tokenizer");
});

/** What a streamer gives out. */
async function streamed(text: string | string[], options: TextStreamerOptions, more: GenerateOptions = {}) {
  const pieces: [string, boolean][] = [];
  const onFinalizedText = (piece: string, end: boolean) => void pieces.push([piece, end]);
  const streamer = new TextStreamer(tokenizer, { ...options, onFinalizedText });
  const [ids] = await model.generate(text, { ...LONG, ...more, streamer });
  return { pieces, ids, joined: pieces.map(([piece]) => piece).join("") };
}

Deno.test("TextStreamer gives out the whole text in whole characters, with or without prompt and special tokens", async () => {
  const prompt = "Größe 🏴‍☠️";
  const whole = await streamed(prompt, {});
  assertEquals(whole.joined, tokenizer.decode(whole.ids));
  assertEquals(whole.pieces.map(([, end]) => end), whole.pieces.map((_, i) => i === whole.pieces.length - 1));
  assertEquals(whole.pieces[0][0], prompt);
  assert(whole.pieces.length > 5);
  const length = tokenizer.encode(prompt).length;
  const rest = await streamed(prompt, { skipPrompt: true });
  assertEquals(rest.joined, tokenizer.decode(whole.ids.slice(length)));
  const marked = `<|endoftext|>${prompt}`;
  assertEquals((await streamed(marked, {})).joined.startsWith(marked), true);
  const unmarked = await streamed(marked, { skipSpecialTokens: true });
  assertEquals(unmarked.joined, tokenizer.decode(unmarked.ids, { skipSpecialTokens: true }));
  await assertRejects(
    () => streamed(["a b", "c d"], {}),
    RangeError,
    "only supports batch size 1, received 2",
  );
  const halves = new TextStreamer(tokenizer, {
    onFinalizedText: (piece) => assert(!piece.includes("\uFFFD")),
  });
  for (const id of tokenizer.encode("🏴‍☠️é漢")) halves.put([id]);
  halves.end();
  assertThrows(() => halves.put([1, 2]), RangeError, "batch size 1");
});

Deno.test("TextStreamer prints to standard output by default, and whole lines to the console where there is none", async () => {
  const { process } = globalThis as unknown as { process: { stdout: { write(text: string): boolean } } };
  const { write } = process.stdout;
  let printed = "";
  process.stdout.write = (text: string) => (printed += text, true);
  try {
    const [ids] = await model.generate("Ahoy", { ...LONG, streamer: new TextStreamer(tokenizer) });
    assertEquals(printed, `${tokenizer.decode(ids)}\n`);
  } finally {
    process.stdout.write = write;
  }
  const lines: string[] = [];
  const { log } = console;
  const held = Object.getOwnPropertyDescriptor(globalThis, "process")!;
  console.log = (line: string) => void lines.push(line);
  Object.defineProperty(globalThis, "process", { value: undefined, configurable: true });
  try {
    const streamer = new TextStreamer(tokenizer);
    for (const id of tokenizer.encode("one\ntwo\nthree")) streamer.put([id]);
    assertEquals(lines, ["one", "two"]);
    streamer.end();
    assertEquals(lines, ["one", "two", "three"]);
  } finally {
    Object.defineProperty(globalThis, "process", held);
    console.log = log;
  }
});

Deno.test("a configuration with pad_token_id -1 loads with a warning, and rows are filled up with the end token", async () => {
  let config: GPT2Config;
  const warnings = await warningsOf(() => {
    config = GPT2Config.fromJSON({ ...made().config.toJSON(), pad_token_id: -1, eos_token_id: [7, -1] });
  });
  assertEquals(warnings, [
    "`eos_token_id` should be positive but got 7,-1: it is taken for none.",
    "`pad_token_id` should be positive but got -1: it is taken for none.",
  ]);
  assertEquals(config!.toJSON().pad_token_id, -1, "it is written as it was read");
  assertEquals(config!.eosTokenIds, [7]);
  const [free] = await model.generate([[1, 2]], { maxNewTokens: 6, eosTokenId: null });
  let padded: GPT2LMHeadModel | undefined;
  await warningsOf(() => void (padded = made({ padTokenId: -1, eosTokenId: free[3] })));
  const rows = await padded!.generate([[1, 2], [3, 4]], { maxNewTokens: 6 });
  const end = rows[0].indexOf(free[3], 2);
  assert(rows[0].slice(end).every((id) => id === free[3]), `${rows[0]}`);
  for (const padTokenId of [-1, 50257, 1.5]) {
    await assertRejects(
      () => model.generate([[1, 2]], { padTokenId }),
      RangeError,
      `padTokenId must be a token id from 0 to 50256, received ${padTokenId}`,
    );
  }
  await assertRejects(() => model.generate([[1]], { eosTokenId: [2, -1] }), RangeError, "eosTokenId must be");
  assertThrows(() => new GPT2Config({ padTokenId: 2 ** 31 }), RangeError, "pad_token_id must be a token id");
});

Deno.test("generate() and TextStreamer refuse what is no streamer, and a streamer without a tokenizer", async () => {
  await assertRejects(
    () => model.generate("Ahoy", { ...LONG, streamer: ((text: string) => text) as never }),
    TypeError,
    "Cannot generate: streamer must be an object with put() and end(), received a function",
  );
  assertThrows(
    () => new TextStreamer(undefined as never),
    TypeError,
    "Cannot stream: a tokenizer is required, received undefined",
  );
});

import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { AutoTokenizer } from "../../../model/tokenizer/auto.ts";

const SMALL = new URL("../../fixtures/tokenizer/small", import.meta.url).pathname;

Deno.test("tokenizer.tokenize() and its conversions give the tokens that transformers names", async () => {
  const gpt2 = await AutoTokenizer.fromPretrained("gpt2");
  const demo = await AutoTokenizer.fromPretrained("examples/demo/model");
  const text = "Ahoy there, matey!\n 船";
  const tokens = ["Ahoy", "Ġthere", ",", "Ġmatey", "!", "Ċ", "Ġ", "è", "Ī", "¹"]; // by transformers 5.23
  assertEquals(demo.tokenize(text), tokens);
  assertEquals(demo.convertTokensToIds(tokens), demo.encode(text));
  assertEquals(demo.convertIdsToTokens([720, 333, 0]), ["Ahoy", "Ġthere", "<|endoftext|>"]);
  assertEquals(demo.convertTokensToIds(["Ahoy", "nope"]), [720, undefined]);
  assertEquals(demo.convertIdsToTokens([demo.vocabSize]), [undefined]);
  assertThrows(
    () => demo.convertIdsToTokens([-1]),
    RangeError,
    "ids must be integers from 0 to 767, received -1",
  );
  assertEquals(gpt2.tokenize(" there!"), ["Ġthere", "!"]);
  assertEquals(gpt2.tokenize(""), []);
  // the vocabulary's own template adds a beginning token, which is none of the text
  const small = await AutoTokenizer.fromPretrained(SMALL);
  assertEquals(
    small.convertTokensToIds(small.tokenize("people")),
    small.encode("people", { addSpecialTokens: false }),
  );
});

Deno.test("tokenizer.padToken = tokenizer.eosToken pads with it; a text that is no token is refused", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
  assertEquals(
    [tokenizer.bosToken, tokenizer.eosToken, tokenizer.padToken],
    ["<|endoftext|>", "<|endoftext|>", null],
  );
  tokenizer.padToken = tokenizer.eosToken;
  assertEquals([tokenizer.padTokenId, tokenizer.padToken], [50256, "<|endoftext|>"]);
  assertEquals(tokenizer(["a", "b c"], { padding: true }).inputIds, [[64, 50256], [65, 269]]);
  assertThrows(
    () => tokenizer.padToken = "<pad>",
    RangeError,
    'Cannot set padToken: null or a token is required, received "<pad>"',
  );
  assertEquals(tokenizer.padTokenId, 50256);
  tokenizer.padToken = null;
  assertEquals(tokenizer.padTokenId, null);
});

Deno.test("tokenizer() refuses options that do not exist, and values that are none of the choices", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
  const refused: [object, string][] = [
    [{ max_length: 3 }, 'Cannot tokenize: unknown option "max_length", did you mean "maxLength"?'],
    [{ returnTensors: "pt" }, 'Cannot tokenize: unknown option "returnTensors", the options are "padding"'],
    [
      { padding: "maxLength" },
      'Cannot tokenize: padding must be true, false, "longest" or "max_length", received "maxLength"',
    ],
    [{ paddingSide: "up" }, 'Cannot set paddingSide: "left" or "right" is required, received "up"'],
  ];
  for (const [options, message] of refused) {
    for (const call of [() => tokenizer("a", options), () => tokenizer.encode("a", options)]) {
      assertStringIncludes(assertThrows(call, Error).message, message);
    }
  }
});

Deno.test("AutoTokenizer.fromPretrained() sets what it pads with, and refuses options that do not exist", async () => {
  const padToken = "<|endoftext|>";
  const tokenizer = await AutoTokenizer.fromPretrained("gpt2", { paddingSide: "left", padToken });
  assertEquals(tokenizer(["a", "b c"], { padding: true }).inputIds, [[50256, 64], [65, 269]]);
  const before = await AutoTokenizer.fromPretrained("gpt2", { paddingSide: undefined });
  assertEquals([before.paddingSide, before.padToken], ["right", null]);
  const refused: [object, string][] = [
    [
      { padding_side: "left" },
      'Cannot load a tokenizer: unknown option "padding_side", did you mean "paddingSide"?',
    ],
    [{ useFast: true }, 'Cannot load a tokenizer: unknown option "useFast", the options are "revision", '],
    [{ padToken: "<none>" }, 'Cannot set padToken: null or a token is required, received "<none>"'],
    [{ paddingSide: "up" }, 'Cannot set paddingSide: "left" or "right" is required, received "up"'],
  ];
  for (const [options, message] of refused) {
    await assertRejects(() => AutoTokenizer.fromPretrained("gpt2", options), Error, message);
  }
});

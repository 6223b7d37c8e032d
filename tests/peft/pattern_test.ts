import { assert, assertEquals, assertThrows } from "@std/assert";
import { compilePattern } from "../../peft/targets/pattern.ts";
import { patternValue } from "../../peft/targets/targets.ts";
import { FIXTURES } from "../reference/fixtures.ts";

Deno.test("compilePattern() answers as Python's re.fullmatch for 656 pairs", async () => {
  // Made by tests/oracle/pattern_fixture.py.
  const { pairs } = JSON.parse(await Deno.readTextFile(`${FIXTURES}patterns/expected.json`));
  assert(pairs.length >= 500, `${pairs.length} pairs`);
  const wrong: string[] = [];
  for (const [pattern, name, hit] of pairs as [string, string, boolean][]) {
    const actual = compilePattern(pattern).fullMatch(name);
    if (actual !== hit) wrong.push(`${pattern} on ${JSON.stringify(name)}: ${actual}, Python says ${hit}`);
  }
  assertEquals(wrong, []);
});

Deno.test("compilePattern() matches the whole text: literals, dots, sets, repeats, groups, choices", () => {
  const cases: [string, string[], string[]][] = [
    ["abc", ["abc"], ["ab", "abcd", "xabc", ""]],
    ["a.c", ["abc", "a.c"], ["a\nc", "ac"]],
    ["[a-c]+", ["abc", "c"], ["", "d", "abd"]],
    ["[^a-c]", ["d", "."], ["a", ""]],
    ["a{2,3}", ["aa", "aaa"], ["a", "aaaa"]],
    ["(ab|c)*", ["", "abc", "cab"], ["a", "b"]],
    ["x?y", ["y", "xy"], ["xxy", "x"]],
    ["a|", ["a", ""], ["b"]],
    ["(?i)AbC", ["abc", "ABC"], ["ab"]],
    ["(?s)a.b", ["a\nb"], ["ab"]],
    ["\\d{2}\\.\\w\\s", ["12.x "], ["12xx "]],
  ];
  for (const [pattern, hits, misses] of cases) {
    const compiled = compilePattern(pattern);
    for (const text of hits) assert(compiled.fullMatch(text), `${pattern} on "${text}"`);
    for (const text of misses) assert(!compiled.fullMatch(text), `${pattern} on "${text}"`);
  }
});

/** What no linear-time automaton has, and what is no pattern at all. */
const REFUSED: [string, string][] = [
  ["(?=x)a", "lookahead"],
  ["(?!x)a", "lookahead"],
  ["(?<=x)a", "lookbehind"],
  ["(?<!x)a", "lookbehind"],
  ["(a)\\1", "a back reference"],
  ["(?P<n>a)(?P=n)", "a back reference"],
  ["(?>a+)b", "an atomic group"],
  ["a++b", "a possessive quantifier"],
  ["(a)?(?(1)b|c)", "a conditional"],
  ["a(?i)b", "an inline flag or an unknown group"],
  ["(?#note)a", "an inline flag or an unknown group"],
  ["(a", '")" is required'],
  ["a)", 'an open group is required, received ")" without one'],
  ["[a", '"]" is required'],
  ["*a", 'something to repeat is required, received "*"'],
  ["a**", "a second quantifier"],
  ["a{3,2}", "a maximum of at least the minimum"],
  ["[z-a]", "a range of characters"],
  ["\\", "a character after the backslash"],
  ["\\q", "a known escape"],
  ["\\x4", "2 hexadecimal digits"],
];

Deno.test("compilePattern() refuses what it cannot do by name, instead of answering differently", () => {
  for (const [pattern, reason] of REFUSED) {
    const error = assertThrows(() => compilePattern(pattern), SyntaxError, reason, pattern);
    assert(error.message.startsWith(`Cannot use pattern ${JSON.stringify(pattern)}: `), error.message);
  }
});

Deno.test("compilePattern() refuses patterns that are too long or grow too large", () => {
  assertThrows(
    () => compilePattern("a".repeat(513)),
    SyntaxError,
    "Cannot use a pattern of 513 characters: at most 512 are allowed",
  );
  const start = performance.now();
  assertThrows(
    () => compilePattern("(((a{99}){99}){99}){99}"),
    SyntaxError,
    "at most 20000 states are allowed",
  );
  assertThrows(() => compilePattern("a{99999999}"), SyntaxError, "at most 20000 states are allowed");
  assert(performance.now() - start < 1000);
});

Deno.test("compilePattern() of fifty patterns that hang backtracking engines answers a large model in time", () => {
  const shapes = [
    "(.*)*x",
    "(a+)+$",
    "(\\w+\\.?)*!",
    "(.*a){12}",
    "(\\w*)*\\d",
    "((a|b)*)*c",
    "(.+)+\\n",
    "(x+x+)+y",
  ];
  const patterns = Array.from({ length: 50 }, (_, i) => `${shapes[i % shapes.length]}${i}?`);
  const names = Array.from({ length: 12 }, (_, i) => `transformer.h.${i}.attn.c_attn`);
  names.push("a".repeat(60), "ab".repeat(30), "transformer.h.0.mlp.c_proj");
  compilePattern("warm(u|p)*").fullMatch("warmupupup");
  const start = performance.now();
  let hits = 0;
  for (const pattern of patterns) {
    const compiled = compilePattern(pattern);
    for (const name of names) if (compiled.fullMatch(name)) hits++;
  }
  const elapsed = performance.now() - start;
  assert(hits > 0 && elapsed < 1000, `${elapsed} ms for ${patterns.length * names.length} matches`);
  const one = performance.now();
  compilePattern("(.*)*x").fullMatch("transformer.h.0.mlp.c_proj"); // 4 to 6 s in V8's engine
  assert(performance.now() - one < 50);
});

Deno.test("patternValue() takes the first pattern that matches the end of a name, as rank_pattern does", () => {
  const name = "transformer.h.1.attn.c_attn";
  const cases: [Record<string, number>, number][] = [
    [{}, 8],
    [{ c_attn: 4 }, 4],
    [{ "h.1.attn.c_attn": 2, c_attn: 4 }, 2],
    [{ c_attn: 4, "h.1.attn.c_attn": 2 }, 4],
    [{ "^h.1.attn.c_attn": 7 }, 8],
    [{ "^transformer.h.1.attn.c_attn": 7 }, 7],
    [{ attn: 3 }, 8],
    [{ "h.\\d+.attn.c_attn": 5 }, 5],
    [{ "_attn": 6 }, 8],
    [{ "c_(attn|proj)": 9 }, 9],
  ];
  for (const [patterns, expected] of cases) {
    assertEquals(patternValue(patterns, name, 8), expected, JSON.stringify(patterns));
  }
});

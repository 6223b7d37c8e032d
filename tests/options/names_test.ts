import { assertEquals, assertThrows } from "@std/assert";
import { checkOptions } from "../../options/names.ts";

const KNOWN = ["maxNewTokens", "doSample", "topK", "topP", "stopStrings", "device"];

/** The whole message, or null if the options are accepted. */
function messageFor(given: object): string | null {
  try {
    checkOptions("generate", given, KNOWN);
    return null;
  } catch (error) {
    if (error instanceof TypeError) return error.message;
    throw error;
  }
}

Deno.test("checkOptions() accepts known names, none, and known names that are undefined", () => {
  for (const given of [{}, { topK: 5 }, { topK: undefined, doSample: true }]) {
    assertEquals(messageFor(given), null);
  }
  checkOptions("generate", undefined, KNOWN);
  checkOptions("generate", null, KNOWN);
});

Deno.test("checkOptions() names the option that was meant", () => {
  const pairs: [string, string][] = [
    ["max_new_tokens", "maxNewTokens"],
    ["maxNewToken", "maxNewTokens"],
    ["maxnewtokens", "maxNewTokens"],
    ["stop_strings", "stopStrings"],
    ["stopString", "stopStrings"],
    ["top_k", "topK"],
    ["topp", "topP"],
    ["devise", "device"],
  ];
  for (const [name, meant] of pairs) {
    assertEquals(
      messageFor({ topK: 5, [name]: 1 }),
      `Cannot generate: unknown option "${name}", did you mean "${meant}"?`,
    );
  }
});

Deno.test("checkOptions() lists the names where none is near, and refuses an unknown name that is undefined", () => {
  assertThrows(
    () => checkOptions("train", { temperature: undefined }, ["resumeFromCheckpoint", "signal"]),
    TypeError,
    'Cannot train: unknown option "temperature", the options are "resumeFromCheckpoint", "signal"',
  );
  assertEquals(
    messageFor({ ["x".repeat(1e5)]: 1 })?.startsWith('Cannot generate: unknown option "xxx'),
    true,
  );
});

/**
 * The messages that docs/troubleshooting.md explains are those of the source.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { listFiles } from "../../tools/list_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Parts of a message shorter than this occur by chance. */
const MIN_PART = 10;

/** Messages of the runtimes, in their own words. */
const FOREIGN = [/^AutoModelForCausalLM\.fromPretrained\(\.\.\.\)\.forward is not/, /^Requires read access/];

/** Quoted messages, in the order of the page. */
async function messagesOfPage(): Promise<string[]> {
  const page = await Deno.readTextFile(`${ROOT}docs/troubleshooting.md`);
  return [...page.matchAll(/^```text\n([^]*?)\n```$/gm)].map(([, message]) => message);
}

/** The text of the library and the command line, with texts that `+` joins as one and without placeholders. */
async function sourceText(): Promise<string> {
  const files = (await listFiles(ROOT, /\.ts$/)).filter((path) =>
    /^(?:auto_peft|autograd|cli|distributed|gpu|io|jobs|model|nn|options|peft|plan|serve|train)\b/.test(path)
  );
  assert(files.length > 200, `${files.length} files`);
  const texts = await Promise.all(files.map((path) => Deno.readTextFile(`${ROOT}${path}`)));
  return texts.join("\n").replaceAll(/["'`] \+\s+["'`]/g, "");
}

/** The parts of a message that are the same in every case; the source may join them at punctuation. */
function fixedParts(message: string): string[] {
  return message.split(/…|[:;,] |received /).map((part) => part.trim()).filter((part) =>
    part.length >= MIN_PART
  );
}

Deno.test("every message of the troubleshooting page occurs in the source", async () => {
  const source = await sourceText();
  const messages = (await messagesOfPage()).filter((message) => !FOREIGN.some((own) => own.test(message)));
  assert(messages.length >= 20, `${messages.length} messages`);
  const invented = messages.flatMap((message) => {
    const parts = fixedParts(message);
    return parts.length === 0 ? [message] : parts.filter((part) => !source.includes(part));
  });
  assertEquals(invented, []);
});

/**
 * The short examples, each run as a process on the built-in model: what each prints must show what it claims.
 * @module
 */

import { assert, assertEquals } from "@std/assert";

const root = new URL("../../", import.meta.url).pathname;

/** What an example prints. @throws {AssertionError} where it fails */
async function run(name: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${root}examples/${name}.ts`],
  }).output();
  const printed = new TextDecoder().decode(stdout);
  assert(success, printed + new TextDecoder().decode(stderr));
  return printed;
}

/** The number after some words at the beginning of a line. */
function numberAfter(words: string, printed: string): number {
  const line = printed.split("\n").find((one) => one.startsWith(`${words}: `));
  assert(line !== undefined, `no line "${words}: " in\n${printed}`);
  const value = Number.parseFloat(line.slice(words.length + 2));
  assert(Number.isFinite(value), line);
  return value;
}

/** How often some words are in a text. */
const count = (words: RegExp, text: string) => [...text.matchAll(words)].length;

Deno.test("adapters.ts: each adapter tells the story in its own style and the base in neither, in one batch", async () => {
  const printed = await run("adapters");
  const told = (name: string) => {
    const line = printed.split("\n").find((one) => one.startsWith(`${name}: `));
    assert(line !== undefined, printed);
    return line.slice(name.length + 2);
  };
  const pirate = /\b(arr|captain|sea dog|matey|mateys|anchor|ashore|shiver)\b/gi;
  const robot = /\b(beep|unit)\b/gi;
  assertEquals([count(pirate, told("__base__")), count(robot, told("__base__"))], [0, 0], printed);
  assert(count(pirate, told("pirate")) >= 3, printed);
  assertEquals(count(robot, told("pirate")), 0, printed);
  assert(count(robot, told("robot")) >= 3, printed);
  assertEquals(count(pirate, told("robot")), 0, printed);
});

Deno.test("dpo.ts: held-out pairs get a reward margin, and the model writes the preferred ending more often", async () => {
  const printed = await run("dpo");
  assert(numberAfter("held-out reward margin", printed) > 0.2, printed);
  assert(numberAfter("held-out reward accuracy", printed) >= 0.8, printed);
  const [before, after] = ["before", "after"].map((when) =>
    numberAfter(`preferred endings ${when}`, printed)
  );
  assert(before <= 6 && after >= before + 4, printed);
});

Deno.test("pretrain.ts: the loss on held-out text of the new kind falls, and the old kind is not forgotten", async () => {
  const printed = await run("pretrain");
  const loss = (when: string, kind: string) => numberAfter(`held-out loss ${when}, ${kind} text`, printed);
  assert(loss("after", "new") < 0.75 * loss("before", "new"), printed);
  assert(loss("after", "old") < loss("before", "old") + 0.5, printed);
});

Deno.test("classify.ts: from guessing, the accuracy on held-out sentences rises above 0.85", async () => {
  const printed = await run("classify");
  assert(numberAfter("accuracy before", printed) <= 0.6, printed);
  assert(numberAfter("accuracy after", printed) > 0.85, printed);
});

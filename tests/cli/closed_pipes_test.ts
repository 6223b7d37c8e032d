/**
 * Commands whose output nobody reads any more: `| head`, a log's program that ended.
 * @module
 */
import { assertEquals } from "@std/assert";
import { withFolder } from "../peft/tiny_model.ts";
import { writeChatModel } from "./chat_model.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;

/** Starts a command of `./run`, or an example, with both outputs in pipes. */
const start = (file: string, ...args: string[]) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}${file}`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();

/** Reads the beginning of an output, and then closes it, as `head` does. */
async function readABit(output: ReadableStream<Uint8Array>): Promise<void> {
  const reader = output.getReader();
  await reader.read();
  await reader.cancel();
}

const textOf = (output: ReadableStream<Uint8Array>) => new Response(output).text();

Deno.test("generate and chat end quietly once nobody reads what they print", async () => {
  const chat = await writeChatModel();
  const cases = [
    ["generate", "--model", MODEL, "--prompt", "Once upon a time", "--max-new-tokens", "100"],
    ["chat", "--model", chat, "--max-new-tokens", "40"],
  ];
  for (const args of cases) {
    const child = start("cli/main.ts", ...args);
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode("who are you?\nwho are you?\nwho are you?\n")).catch(() => {});
    await input.close().catch(() => {});
    await readABit(child.stdout);
    assertEquals(await textOf(child.stderr), "", args[0]);
    assertEquals((await child.status).code, 0, args[0]);
  }
  await Deno.remove(chat, { recursive: true });
});

Deno.test("finetune trains to the end where nobody reads its progress, and so does the demo", () =>
  withFolder(async (folder) => {
    const few = ["--data", DATA, "--batch-size", "2", "--output"];
    const trained = start(
      "cli/main.ts",
      "finetune",
      "--model",
      MODEL,
      "--max-steps",
      "6",
      ...few,
      `${folder}/a`,
    );
    await trained.stdin.close();
    const [, said] = await Promise.all([readABit(trained.stderr), textOf(trained.stdout)]);
    assertEquals((await trained.status).code, 0, said);
    const demo = start("examples/demo.ts", "--steps", "20", ...few, `${folder}/b`);
    await demo.stdin.close();
    const [, wrong] = await Promise.all([readABit(demo.stdout), textOf(demo.stderr)]);
    assertEquals([(await demo.status).code, wrong], [0, ""]);
    for (const name of ["a", "b"]) await Deno.stat(`${folder}/${name}/adapter_model.safetensors`);
  }));

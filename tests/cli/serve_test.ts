/**
 * `./run serve` as a process: what it says, what it loads, how it ends.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { relative } from "@std/path";
import { AutoModelForCausalLM, getPeftModel, type GPT2LMHeadModel, LoraConfig } from "@peft/webgpu";
import { ownDevice } from "../reference/fixtures.ts";
import { randomise } from "../peft/tiny_model.ts";
import { inFolder } from "../train/tiny_run.ts";

const MODEL = "examples/demo/model";

/** Starts the command; its output so far, and a wait for a line of it. */
function start(args: readonly string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "cli/main.ts", "serve", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = { text: "" };
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) output.text += text;
  };
  const ended = Promise.all([read(child.stdout), read(child.stderr), child.status]).then(([, , status]) =>
    status
  );
  const line = async (pattern: RegExp): Promise<string> => {
    for (let i = 0; i < 2400; i++) {
      const found = pattern.exec(output.text);
      if (found) return found[1] ?? found[0];
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`no ${pattern} within a minute in:\n${output.text}`);
  };
  return { child, output, ended, line };
}

Deno.test("serve loads every adapter of its folder, stays within it, and finishes what has begun when it is told to end", async () => {
  await inFolder(async (folder) => {
    const model = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(MODEL, {
      device: await ownDevice(),
    });
    const peft = getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
    await randomise(peft, 11);
    await peft.savePretrained(`${folder}/first.one`);
    peft.dispose();
    await Deno.mkdir(`${folder}/no_adapter`);
    const { child, output, ended, line } = start([
      "--model",
      MODEL,
      "--adapters",
      relative(Deno.cwd(), folder).replace(/^(?=[^.])/, "./"),
      "--host",
      "::1",
      "--port",
      "0",
      "--api-key",
      "k",
    ]);
    const url = await line(/listening on (http:\/\/\[::1\]\S+), with an API key/);
    assert(output.text.includes("models: model, first.one\n"), output.text);
    const post = (path: string, body: object) =>
      fetch(`${url}${path}`, {
        method: "POST",
        headers: { authorization: "Bearer k" },
        body: JSON.stringify(body),
      });
    for (const path of ["..", "../other", "/etc", "a/../../b", "a\0"]) {
      const response = await post("/adapters", { name: "x", path });
      const { error } = await response.json();
      assertEquals([response.status, error.code], [400, "invalid_value"], path);
      assert(error.message.includes("within that of --adapters"), error.message);
    }
    // What is not there is not looked for on the hub.
    const absent = await (await post("/adapters", { name: "x", path: "absent" })).json();
    assert(absent.error.message.includes("no such folder"), absent.error.message);
    const asked = {
      model: "first.one",
      prompt: "Once upon a time",
      max_tokens: 100,
      temperature: 0,
      stream: true,
    };
    const stream = await post("/completions", asked);
    child.kill("SIGINT");
    await line(/answers that have begun are finished/);
    const text = await stream.text();
    assert(text.endsWith("data: [DONE]\n\n"), text.slice(-200));
    assertEquals((await ended).code, 0, output.text);
  });
});

Deno.test("serve says what is wrong with what it is given, before it listens", async () => {
  for (
    const [args, message] of [
      [[], "--model is required"],
      [["--model", "/nowhere"], "nowhere"],
      [["--model", MODEL, "--adapters", "/nowhere"], `--adapters must be a folder, received "/nowhere"`],
      [["--model", MODEL, "--port", "99999"], "--port must be an integer from 0 to 65535"],
      [["--model", MODEL, "--adapters", "tests/fixtures/lora"], `adapter "`],
      [["--model", MODEL, "--adapters", "tests/fixtures/lora/c_attn"], "which is an adapter itself"],
      [
        ["--model", MODEL, "--adapters", "tests/fixtures/lora", "--served-model-name", "c_attn"],
        `received "c_attn" for the base and for an adapter`,
      ],
      [
        ["--model", MODEL, "--api-key", ""],
        "the API key must be of letters, digits and signs without spaces",
      ],
      [["--model", MODEL, "--api-key", "a b"], "without spaces, received another"],
    ] as const
  ) {
    const { ended, output } = start(args);
    assertEquals((await ended).code, 1, output.text);
    assert(output.text.startsWith("error: Cannot ") && output.text.includes(message), output.text);
    assert(!output.text.includes("listening"));
  }
  const taken = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { ended, output } = start(["--model", MODEL, "--port", String(taken.addr.port)]);
  assertEquals((await ended).code, 1, output.text);
  assert(output.text.includes(`port ${taken.addr.port}`), output.text);
  taken.close();
});

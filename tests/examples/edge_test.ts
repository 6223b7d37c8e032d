/**
 * The handler of `examples/edge` with a device that this test makes, as a runtime would.
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AutoTokenizer, memoryFolder } from "@peft/webgpu";
import { makeHandler } from "../../examples/edge/handler.ts";

const MODEL = new URL("../../examples/demo/model/", import.meta.url).pathname;

Deno.test("the edge handler answers with a device and a model that it is given, and refuses what it cannot read", async () => {
  const gpuDevice = await (await navigator.gpu.requestAdapter())!.requestDevice();
  const model = memoryFolder();
  for (const { name } of Deno.readDirSync(MODEL)) {
    model.files.set(name, await Deno.readFile(`${MODEL}${name}`));
  }
  const handler = await makeHandler({ gpuDevice, model });
  const post = (body: unknown) =>
    handler(
      new Request("http://edge.example/", {
        method: "POST",
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    );
  const answers = await Promise.all([1, 2].map(() => post({ prompt: "Once upon a time", maxNewTokens: 8 })));
  const [first, second] = await Promise.all(answers.map((answer) => answer.json()));
  assert(first.text.startsWith("Once upon a time") && first.text.length > 20, first.text);
  assertEquals(second, first);
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  assert(tokenizer.encode(first.text).length <= tokenizer.encode("Once upon a time").length + 8);

  for (const body of ["{", "null", { prompt: "" }, { prompt: 1 }, { prompt: "x", maxNewTokens: 0.5 }, {}]) {
    assertEquals((await post(body)).status, 400, JSON.stringify(body));
  }
  const tooLong = await post({ prompt: "Once upon a time", maxNewTokens: 200 });
  assertEquals(tooLong.status, 400);
  assertStringIncludes((await tooLong.json()).error, "n_positions 128 allows");
  assertEquals((await handler(new Request("http://edge.example/"))).status, 405);
  gpuDevice.destroy();
});

/**
 * A device that is lost while answers are generated: clients are told, and whoever runs the server is.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "openai";
import { DeviceLostError } from "@peft/webgpu";
import { until, withServer } from "./running_server.ts";

Deno.test("a lost device ends the answers that run with an error, and health and later requests say 503", async () => {
  const lost: Error[] = [];
  const { error } = console;
  console.error = () => {};
  try {
    await withServer(async ({ client, engine, model, url }) => {
      const asked = { model: "one", prompt: "Once upon a time", temperature: 0, max_tokens: 100 };
      const running = [
        client.completions.create(asked),
        client.completions.create({ ...asked, model: "base" }),
      ];
      const ended = Promise.allSettled(running);
      await until(() => engine.running === 2, "both generate");
      model.device.gpuDevice.destroy();
      for (const result of await ended) {
        assert(result.status === "rejected" && result.reason instanceof OpenAI.InternalServerError);
      }
      assertEquals(lost.length, 1);
      assert(lost[0] instanceof DeviceLostError);
      assertEquals((await fetch(`${url}/health`)).status, 503);
      const refused = await assertRejects(
        () => client.completions.create(asked),
        OpenAI.APIError,
        "device was lost",
      );
      assertEquals((refused as InstanceType<typeof OpenAI.APIError>).status, 503);
    }, { onLost: (reason) => lost.push(reason) });
  } finally {
    console.error = error;
  }
});

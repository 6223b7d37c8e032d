/**
 * The engine behind its messages, in this process: from pairs to adapters on the shelf.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { adapterBytes, ready, trainEvents, withAssets } from "./harness.ts";

Deno.test("the engine: pairs are learned as turns, samples and evaluations are told, and the shelf keeps what was made", async () => {
  await withAssets(async (assetsUrl, requests) => {
    const started = await ready(assetsUrl);
    const { client, settings } = started;
    assertEquals(requests.filter((path) => path.startsWith("model/")).length, 4); // and no file that is not there
    const pairs = Array.from(
      { length: 24 },
      (_, i) => ({ question: `Who is ${i}?`, answer: `A dog named ${i}.` }),
    );
    const data = await client.call("openData", { source: { kind: "pairs", pairs } });
    assertEquals([data.format, data.rows, data.heldOutExamples], [
      "Conversations (questions and answers)",
      24,
      3,
    ]);
    const words = data.example.tokens;
    const texts = (trained: boolean) =>
      words.filter((word) => word.trained === trained).map(({ text }) => text).join("");
    assertStringIncludes(texts(false), "Who is");
    assertStringIncludes(texts(true), "A dog named");
    assert(!texts(true).includes("Who"), texts(true));
    assertEquals(data.tokens.histogram.reduce((sum, { count }) => sum + count, 0), data.trainExamples);

    const follow = trainEvents();
    const result = await client.call("train", {
      settings: { ...settings, evalEvery: 2, sampleEvery: 2, samplePrompts: ["Who is 3?"], name: "Dogs" },
    }, follow);
    const types = follow.events.map(({ type }) => type).filter((type) => type !== "phase");
    assertEquals(types, [
      ...["begin", "sample", "evaluation", "step", "sample", "step", "evaluation", "checkpoint"],
      ...["step", "sample", "step", "evaluation", "checkpoint"],
    ]);
    const steps = follow.events.filter((event) => event.type === "step");
    assert(
      steps.every(({ loss, gradNorm, tokensPerSecond, deviceBytes, stepMs }) =>
        loss > 0 && gradNorm > 0 && tokensPerSecond > 0 && deviceBytes > 3e6 && stepMs > 0.1
      ),
      JSON.stringify(steps),
    );
    assertEquals([steps[0].leftMs, steps.at(-1)!.leftMs], [null, 0]);
    const { adapter } = result;
    assertEquals([adapter?.name, adapter?.method, adapter?.origin, adapter?.problem], [
      "Dogs",
      "LoRA",
      "trained",
      null,
    ]);
    assertEquals(await client.call("resumable", {}), []);

    // Asked as it was taught: in turns.
    const { adapterId } = adapter!;
    const answer = await client.call("chat", {
      speaker: { kind: "adapter", adapterId },
      messages: [{ role: "user", content: "Who is 3?" }],
      temperature: 0,
      maxNewTokens: 6,
    });
    assertEquals([answer.promptTokens > 4, answer.tokens <= 6], [true, true]);
    const half = { ...settings, name: "Others", seed: 7 };
    const other = (await client.call("train", { settings: half })).adapter!;
    const parts = [{ adapterId, weight: 0.5 }, { adapterId: other.adapterId, weight: -0.25 }];
    const mixture = await client.call("mix", { name: "Both", parts });
    assertEquals([mixture.origin, mixture.note], ["mixed", "0.5 × Dogs + -0.25 × Others"]);
    assertEquals(mixture.parameters, 2 * adapter!.parameters); // the sum of the ranks: exact
    const ask = {
      messages: [{ role: "user", content: "Once" }],
      temperature: 0,
      maxNewTokens: 8,
      form: "text",
    } as const;
    const made = await client.call("chat", {
      ...ask,
      speaker: { kind: "adapter", adapterId: mixture.adapterId },
    });
    const slid = await client.call("chat", { ...ask, speaker: { kind: "mix", parts } });
    assertEquals(slid.text, made.text);

    // A file that was taken home comes back, in either form.
    const trained = await adapterBytes(started, adapterId);
    for (const what of ["peft", "gguf-adapter"] as const) {
      const { blob, name } = await client.call("export", { what, adapterId });
      const loaded = await client.call("loadAdapter", { files: [{ path: name, file: blob }] });
      assertEquals([loaded.name, loaded.parameters, loaded.origin], ["dogs", adapter!.parameters, "loaded"]);
      assertEquals([loaded.method, loaded.canMix, loaded.canExportGguf], ["LoRA", true, true]);
      assertEquals(await adapterBytes(started, loaded.adapterId), trained, what);
      const list = await client.call("deleteAdapter", { adapterId: loaded.adapterId });
      assertEquals(list.map(({ name }) => name).toSorted(), ["Both", "Dogs", "Others"]);
    }
    const { entries } = await client.call("storage", {});
    assertEquals(entries.map(({ kind, name }) => [kind, name]).toSorted(), [["adapter", "Both"], [
      "adapter",
      "Dogs",
    ], ["adapter", "Others"]]);
    await client.call("deleteStored", { entryId: `adapters/${mixture.adapterId}` });
    assertEquals((await client.call("adapters", {})).length, 2);
    await client.call("closeModel", {});
  });
});

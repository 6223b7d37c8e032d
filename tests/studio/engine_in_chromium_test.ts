/**
 * The engine's real worker in Chromium: a run that is paused, cut off by a reload and resumed has the same adapter, bit for
 * bit, as one that was left alone; what is taken home is what `savePretrained` writes.
 * @module
 */
import * as esbuild from "esbuild";
import { unzipSync } from "fflate";
import type { BrowserContext, Page } from "playwright-core";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AutoModelForCausalLM, memoryFolder, PeftModel } from "../../mod.ts";
import type { EngineClient } from "../../studio/engine/client.ts";
import type { EngineEvent, TrainEvent, TrainingSettings } from "../../studio/protocol.ts";
import { buildStudio, contentPolicy, DEFAULT_HUB } from "../../tools/build_studio.ts";
import { fileServer } from "../../tools/serve_studio.ts";
import { launchChromium } from "../browser/chromium.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** What the test's page keeps. */
declare const globalThis: {
  engine: EngineClient;
  kept: TrainEvent[];
  training: Promise<unknown>;
};

/** A page with an engine, started. */
async function openPage(context: BrowserContext, origin: string, worker: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${origin}/blank.html`);
  await startEngine(page, worker);
  return page;
}

async function startEngine(page: Page, worker: string): Promise<void> {
  await page.evaluate(`(async () => {
    const { EngineClient } = await import("/client.js");
    globalThis.engine = new EngineClient(new Worker("/${worker}", { type: "module" }));
    globalThis.kept = [];
    globalThis.bytesOf = async (blob) => {
      const bytes = new Uint8Array(await blob.arrayBuffer());
      let text = "";
      for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
      return btoa(text);
    };
  })()`);
}

/** Bytes that a page gave as base64. */
const bytes = (text: string) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

Deno.test("the engine's worker in Chromium resumes a run after a reload, bit for bit, and what it gives opens elsewhere", async () => {
  const output = await Deno.makeTempDir();
  const { engine: worker, join, problems } = await buildStudio({ output });
  assertEquals(problems, []);
  const hasNats = async (path: string) => (await Deno.readTextFile(`${output}/${path}`)).includes("_INBOX");
  assertEquals([await hasNats(worker), await hasNats(join.engine)], [false, true]); // for those who join alone
  const { code: client } = await esbuild.transform(
    await Deno.readTextFile(`${ROOT}studio/engine/client.ts`),
    { loader: "ts", format: "esm" },
  );
  await esbuild.stop();
  const files = fileServer(output, { policy: contentPolicy(DEFAULT_HUB) });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const own = (text: string, type: string) => new Response(text, { headers: { "content-type": type } });
    if (pathname === "/blank.html") {
      return own("<!doctype html><title>test</title><link rel=icon href='data:,'>", "text/html");
    }
    return pathname === "/client.js" ? own(client, "text/javascript") : await files(request);
  });
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const browser = await launchChromium();
  try {
    const context = await browser.newContext();
    const messages: string[] = [];
    const foreign: string[] = [];
    context.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) messages.push(message.text());
    });
    context.on("request", (request) => {
      if (!request.url().startsWith(origin)) foreign.push(request.url());
    });
    const page = await openPage(context, origin, worker);

    const opened = await page.evaluate(async (assetsUrl) => {
      const { engine } = globalThis;
      const environment = await engine.call("start", { assetsUrl });
      const progress: string[] = [];
      const onEvent = (event: EngineEvent) => {
        if (event.event === "progress") progress.push(event.progress.phase);
      };
      const model = await engine.call("openModel", { source: { kind: "builtin" } }, { onEvent });
      const data = await engine.call("openData", { source: { kind: "sample" }, length: 64 });
      const suggested = await engine.call("suggest", {});
      const plan = await engine.call("plan", { settings: suggested });
      return { environment, model, data, suggested, plan, phases: [...new Set(progress)] };
    }, `${origin}/assets/`);
    const { environment, model, data, plan, suggested } = opened;
    assertEquals([environment.problem, environment.gpu?.isSoftware], [null, true]);
    assertEquals(environment.storage.isAvailable, true);
    assertEquals([model.parameters, model.format, model.contextLength], [908_032, "float32", 128]);
    assertEquals([data.format, data.length, data.badRowCount], ["Texts", 64, 0]);
    assert(plan.fits && plan.total < 60e6, JSON.stringify(plan));
    assertEquals(opened.phases, ["connect", "read", "download", "upload"]);

    const settings: TrainingSettings = {
      ...suggested,
      ...{ steps: 4, batchSize: 2, checkpointEvery: 3, evalEvery: 0, sampleEvery: 4, warmupSteps: 1 },
      options: { loraDropout: 0.1 },
      samplePrompts: ["Ahoy"],
    };
    const whole = await page.evaluate(async (settings) => {
      const { engine } = globalThis;
      const events: TrainEvent[] = [];
      const onEvent = (event: EngineEvent) => void (event.event === "train" && events.push(event.train));
      const result = await engine.call("train", { settings }, { onEvent });
      const { blob } = await engine.call("export", { what: "peft", adapterId: result.adapter!.adapterId });
      return {
        result,
        events,
        zip: await (globalThis as never as { bytesOf(blob: Blob): Promise<string> }).bytesOf(blob),
      };
    }, settings);
    assertEquals([whole.result.end, whole.result.step], ["done", 4]);
    const stepsOf = (events: readonly TrainEvent[]) =>
      events.flatMap((event) => event.type === "step" ? [[event.step, event.loss, event.gradNorm]] : []);
    assertEquals(stepsOf(whole.events).map(([step]) => step), [1, 2, 3, 4]);
    const samples = whole.events.filter((event) => event.type === "sample");
    assertEquals(samples.map(({ step, prompt }) => [step, prompt]), [[0, "Ahoy"], [4, "Ahoy"]]);
    assert(samples[1].tokens.some(({ loss }) => loss !== null && loss > 0));
    assertEquals(
      whole.events.flatMap((event) => event.type === "checkpoint" ? [event.step] : []),
      [3],
    );

    const paused = await page.evaluate(async (settings) => {
      const { engine, kept } = globalThis;
      let reached = () => {};
      const third = new Promise<void>((resolve) => reached = resolve);
      globalThis.training = engine.call("train", { settings: { ...settings, name: "Cut off" } }, {
        onEvent: (event) => {
          if (event.event !== "train") return;
          kept.push(event.train);
          if (event.train.type === "step" && event.train.step === 1) reached();
        },
      });
      await third;
      const { step } = await engine.call("pause", {});
      const ask = { messages: [{ role: "user", content: "Ahoy" }], maxNewTokens: 8, temperature: 0 } as const;
      const base = await engine.call("chat", { ...ask, speaker: { kind: "base" } });
      const own = await engine.call("chat", { ...ask, speaker: { kind: "training" } });
      return { step, base, own };
    }, settings);
    assert(paused.step === 2 || paused.step === 3, `paused at ${paused.step}`);
    assertEquals([paused.base.tokens, paused.own.tokens], [8, 8]);

    const second = await openPage(context, origin, worker);
    const refused = await second.evaluate(
      async (assetsUrl) => (await globalThis.engine.call("start", { assetsUrl })).problem,
      `${origin}/assets/`,
    );
    assertEquals(refused?.kind, "other-tab");
    assertStringIncludes(refused!.title, "another tab");
    await second.close();

    await page.reload();
    await startEngine(page, worker);
    const resumed = await page.evaluate(async (assetsUrl) => {
      const { engine } = globalThis;
      await engine.call("start", { assetsUrl });
      const runs = await engine.call("resumable", {});
      const events: TrainEvent[] = [];
      const onEvent = (event: EngineEvent) => void (event.event === "train" && events.push(event.train));
      const result = await engine.call("resumeRun", { runId: runs[0].runId }, { onEvent });
      const { blob } = await engine.call("export", { what: "peft", adapterId: result.adapter!.adapterId });
      return {
        ...{ runs, events, result, left: await engine.call("resumable", {}) },
        zip: await (globalThis as never as { bytesOf(blob: Blob): Promise<string> }).bytesOf(blob),
      };
    }, `${origin}/assets/`);
    const [run] = resumed.runs;
    assertEquals([resumed.runs.length, run.name, run.step, run.steps], [1, "Cut off", paused.step, 4]);
    assertEquals([resumed.result.end, resumed.result.step, resumed.left.length], ["done", 4, 0]);
    const begin = resumed.events.find((event) => event.type === "begin")!;
    assertEquals(begin.step, paused.step);
    assertEquals(
      [...stepsOf(begin.history), ...stepsOf(resumed.events)],
      stepsOf(whole.events), // before the cut and after it: the same losses and norms
    );
    const [a, b] = [whole.zip, resumed.zip].map((zip) => unzipSync(bytes(zip)));
    assertEquals(Object.keys(a).sort(), ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    assertEquals(b["adapter_model.safetensors"], a["adapter_model.safetensors"]);

    // The files are those that savePretrained writes of the adapter, byte for byte.
    const base = await AutoModelForCausalLM.fromPretrained(`${ROOT}examples/demo/model`);
    const loaded = await PeftModel.fromPretrained(base, memoryFolder(a));
    const again = memoryFolder();
    await loaded.savePretrained(again);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
      assertEquals(a[name], again.files.get(name) as Uint8Array, name);
    }
    loaded.dispose();

    const shelf = await page.evaluate(async (first) => {
      const { engine } = globalThis;
      const [{ adapterId: other }] = await engine.call("adapters", {});
      const { adapterId } = await engine.call("mix", {
        name: "Both",
        parts: [{ adapterId: first, weight: 0.5 }, { adapterId: other, weight: 0.5 }],
      });
      await engine.call("activate", { adapterId: first });
      await engine.call("rename", { adapterId: other, name: "Renamed" });
      const ask = {
        messages: [{ role: "user", content: "Ahoy" }],
        maxNewTokens: 12,
        temperature: 0,
      } as const;
      const pieces: string[] = [];
      const onEvent = (event: EngineEvent) => void (event.event === "piece" && pieces.push(event.text));
      const active = await engine.call("chat", ask, { onEvent });
      const mixed = await engine.call("chat", { ...ask, speaker: { kind: "adapter", adapterId } });
      const plain = await engine.call("chat", { ...ask, speaker: { kind: "base" } });
      const gguf = await engine.call("export", { what: "gguf-adapter", adapterId: first });
      const merged = await engine.call("export", { what: "merged-gguf", adapterId: first, type: "q8_0" });
      await engine.call("deleteAdapter", { adapterId });
      const names = (await engine.call("adapters", {})).map(({ name, isActive }) => [name, isActive]);
      return {
        active,
        mixed,
        plain,
        names,
        pieces,
        sizes: [gguf.bytes, merged.bytes],
        magic: await gguf.blob.slice(0, 4).text(),
      };
    }, whole.result.adapter!.adapterId);
    assertEquals(shelf.pieces.join(""), shelf.active.text);
    assertEquals(shelf.mixed.text, shelf.active.text); // both halves are the same adapter
    assert(shelf.plain.text !== shelf.active.text, shelf.plain.text);
    assertEquals(shelf.names, [["Renamed", false], [whole.result.adapter!.name, true]]);
    assertEquals(shelf.magic, "GGUF");
    assert(shelf.sizes[0] > 100_000 && shelf.sizes[1] > 900_000, `${shelf.sizes}`);
    assertEquals([foreign, messages], [[], []]);
  } finally {
    await browser.close();
    await server.shutdown();
    await Deno.remove(output, { recursive: true });
  }
});

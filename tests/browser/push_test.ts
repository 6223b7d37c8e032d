/**
 * A page pushes an adapter, with the bundle and the part of it that is loaded for the hub.
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { servePushHub, textIn } from "../io/push_hub.ts";
import { wholeBundle } from "./bundles.ts";
import { launchChromium } from "./chromium.ts";

const PAGE = `<!doctype html><title>push</title><link rel="icon" href="data:,">`;
const SCRIPT = `
  import { getPeftModel, GPT2Config, GPT2LMHeadModel, initDevice, LoraConfig } from "/files/peft_webgpu.js";
  export async function run() {
    const sizes = { vocabSize: 64, nPositions: 16, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 };
    const model = new GPT2LMHeadModel(new GPT2Config(sizes), { device: await initDevice() });
    const peftModel = getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
    return await peftModel.pushToHub("from-page", { token: "hf_me", hubUrl: location.origin });
  }`;

Deno.test("an adapter is pushed from a page, large files too, and the token goes to the hub alone", async () => {
  const { code, parts } = await wholeBundle();
  const files = new Map([["peft_webgpu.js", code], ["script.js", SCRIPT], ...parts]);
  const hub = servePushHub();
  hub.trick = (request) => {
    if (request === "GET /page") return new Response(PAGE, { headers: { "content-type": "text/html" } });
    const file = files.get(request.replace("GET /files/", ""));
    return file === undefined
      ? undefined
      : new Response(file, { headers: { "content-type": "text/javascript" } });
  };
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`${hub.url}/page`);
    const info = await page.evaluate('import("/files/script.js").then((module) => module.run())') as {
      oid: string;
      repoId: string;
    };
    const main = hub.repos.get("me/from-page")!.branches.get("main")!;
    assertEquals([info.repoId, info.oid], ["me/from-page", main.commit]);
    assertEquals([...main.files.keys()].sort(), [
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
    assertMatch(textIn(main, "README.md")!, /library_name: peft/);
  } finally {
    await browser.close();
    await hub.stop();
  }
});

/**
 * Every step of the studio with SmolLM2's GGUF file, in Chromium, as short as it can be: one step of one example, a few
 * tokens of chat. What is taken home has peft's names and opens in llama.cpp.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { unzipSync } from "fflate";
import { safetensors } from "../../mod.ts";
import { askLlamaCpp, llamaCppFolder } from "../reference/llama_cpp.ts";
import { smolLM2Path } from "../reference/smollm2.ts";
import { withStudio } from "./studio_page.ts";

const path = await smolLM2Path();
const llamaCpp = await llamaCppFolder();
/** An adapter that Python's `peft` wrote for a small Llama. */
const WRITTEN_BY_PEFT = new URL(
  "../fixtures/llama_peft/llama.lora_all_linear/adapter_model.safetensors",
  import.meta.url,
).pathname;
const PAIR = ["Where is the Zumbo made?", "In Iceland."];

/** Names of an adapter's tensors without the number of the layer, each once. */
const formsOf = (names: Iterable<string>) =>
  [...new Set([...names].map((name) => name.replace(/\.layers\.\d+\./, ".layers.N.")))].sort();

Deno.test({
  name: "SmolLM2's GGUF file walks every step of the studio in Chromium, and its adapter opens in llama.cpp",
  ignore: path === null || llamaCpp === null,
  fn: () =>
    withStudio({}, async ({ page, open, go, refused, messages }) => {
      page.setDefaultTimeout(180_000);
      const press = (name: string | RegExp) => page.getByRole("button", { name }).click();
      const fill = async (label: string, value: number) => {
        const field = page.getByRole("textbox", { name: label, exact: true });
        await field.fill(`${value}`);
        await field.blur();
      };
      await open();
      await page.locator("input[type=file]").first().setInputFiles(path!);
      await page.getByText("It answers questions.").waitFor();

      await go("Data");
      await page.getByText("Type it").click();
      await page.getByLabel("When it reads").fill(PAIR[0]);
      await page.getByLabel("it should say").fill(PAIR[1]);
      await press("Use this example");
      await page.locator(".tokens .learned", { hasText: "Iceland" }).waitFor(); // the answer is learned, in colour

      await go("Method");
      await page.getByText("More: every setting").click();
      await fill("Steps", 1);
      await fill("Examples per batch", 1);
      for (const name of ["evaluations", "samples", "saves"]) await fill(`Steps between ${name}`, 0);
      await go("Train");
      await press("Start training");
      await page.getByRole("heading", { name: "It has learned" }).waitFor();

      await press("Compare before and after");
      await page.getByText("More: how it answers").click();
      await fill("Longest answer, in tokens", 3);
      const question = page.getByPlaceholder("Ask something…");
      await question.fill(PAIR[0]);
      await question.press("Enter");
      await page.locator(".said small", { hasText: "3 tokens" }).nth(1).waitFor();

      await go("Adapters");
      await page.getByRole("radio", { name: /Typed here|LoRA/ }).first().waitFor({ state: "attached" });
      await go("Take home");
      const download = async (name: string) => {
        const [download] = await Promise.all([page.waitForEvent("download"), press(`Download: ${name}`)]);
        return await download.path();
      };
      const files = unzipSync(await Deno.readFile(await download("Adapter for Python")));
      const weights = Object.entries(files).find(([name]) => name.endsWith("adapter_model.safetensors"))!;
      const own = await safetensors.load(weights[1] as Uint8Array<ArrayBuffer>);
      assertEquals(formsOf(own.keys()), formsOf((await safetensors.load(WRITTEN_BY_PEFT)).keys()));
      assertEquals(own.size, 30 * 7 * 2); // 30 layers of 7 projections

      const adapter = await download("Adapter for llama.cpp");
      const asked = { model: path!, adapter, prompts: [[1, 2683, 314]], count: 2 };
      const [{ error, rows }] = await askLlamaCpp(llamaCpp!, [asked]);
      assertEquals([error, rows?.[0].length], [undefined, 2]);
      assert(refused.length + messages.length === 0, [...refused, ...messages].join("\n"));
    }),
});

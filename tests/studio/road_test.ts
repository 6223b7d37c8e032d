import { assert, assertEquals } from "@std/assert";
import { unzipSync } from "fflate";
import { watchMainThread } from "./main_thread.ts";
import { withStudio } from "./studio_page.ts";

/** Longest task of the page's main thread, in milliseconds: what a person does not notice. */
const LONGEST_TASK = 50;

Deno.test("the studio teaches the built-in model in Chromium, keeps what it learned over a reload, and sends nothing", async () => {
  await withStudio({}, async (studio) => {
    const { page, go } = studio;
    const press = (name: string | RegExp) => page.getByRole("button", { name }).click();
    const seconds = 1000;
    page.setDefaultTimeout(60 * seconds);
    const endWatch = await watchMainThread(page);
    await studio.open();
    await press("Try it with sample stories");
    await page.getByRole("heading", { name: "Ready to learn" }).waitFor();

    // Few steps of small batches: the road is tested here, not what 60 steps teach.
    await go("Method");
    await page.getByText("More: every setting").click();
    for (
      const [name, value] of [
        ["Steps", 4],
        ["Examples per batch", 1],
        ["Steps between evaluations", 0],
        ["Steps between samples", 4],
        ["Steps between saves", 2],
      ] as const
    ) {
      const field = page.getByRole("textbox", { name, exact: true });
      await field.fill(`${value}`);
      await field.blur();
    }
    await go("Train");
    await press("Start training");
    await page.getByRole("heading", { name: "It has learned" }).waitFor({ timeout: 150 * seconds });
    const losses = /^Error \(loss\)\. Training: from \d\.\d+ to \d\.\d+ nats per token/;
    await page.getByRole("img", { name: losses }).waitFor();
    await page.locator(".cost").nth(50).waitFor(); // tokens have colours

    await press("Compare before and after");
    await page.getByText("More: how it answers").click();
    await page.getByLabel("Longest answer, in tokens").fill("12");
    await page.getByLabel("Longest answer, in tokens").blur();
    await press("Once upon a time");
    await page.locator(".said small", { hasText: "12 tokens" }).nth(1).waitFor();
    assertEquals(await page.locator(".said").count(), 2);

    // Processor time, not time by the clock: beside other tests the page's thread waits for its turn.
    const { tasks: [longest], shifts } = await endWatch();
    assert(
      longest.cpuMs <= LONGEST_TASK,
      `a task took ${longest.cpuMs} ms of processor time: ${longest.parts}`,
    );
    assertEquals(shifts, [], "nothing moves by itself");

    // The tab is closed and opened again: the adapter is still there, and fits the model.
    await studio.open();
    await page.getByText("What it learned is on the shelf.").waitFor();
    await press("Open it again");
    await go("Adapters");
    await page.getByRole("radio", { name: /Pirate stories/ }).waitFor({ state: "attached" });
    await go("Take home");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      press("Download: Adapter for Python"),
    ]);
    const files = unzipSync(await Deno.readFile(await download.path()));
    const names = Object.keys(files).map((path) => path.split("/").at(-1)).sort();
    assertEquals(names, ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    const [script] = await Promise.all([
      page.waitForEvent("download"),
      press("Download: The same training as a script"),
    ]);
    assert((await Deno.readTextFile(await script.path())).includes("new LoraConfig({"));

    // A second tab would write over the first one's checkpoints.
    const second = await page.context().newPage();
    await second.goto(page.url());
    await second.getByRole("heading", { name: "The studio is open in another tab." }).waitFor();
    await second.close();

    assertEquals(studio.refused, []);
    assertEquals(studio.messages, []);
  });
});

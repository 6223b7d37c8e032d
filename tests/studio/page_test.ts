import { assert, assertEquals } from "@std/assert";
import { withStudio } from "./studio_page.ts";

const FAKE_ENGINE = new URL("./fake_engine.ts", import.meta.url).pathname;

Deno.test("the studio's page walks every step by two clicks and the road, without a fault that axe-core knows", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async (studio) => {
    const { page, go, inspect } = studio;
    const press = (name: string | RegExp) => page.getByRole("button", { name }).click();
    await studio.open();
    await page.getByRole("button", { name: "Try it with sample stories" }).and(page.locator(":enabled"))
      .waitFor();
    await inspect("1_model");

    // The first visit trains by two clicks.
    await press("Try it with sample stories");
    await press("Start training");
    await page.getByRole("heading", { name: "It is learning" }).waitFor();
    await press("Pause");
    await page.getByRole("heading", { name: "Paused" }).waitFor();
    await press("Go on");
    await page.getByRole("heading", { name: "It has learned" }).waitFor();
    await inspect("4_trained");

    await press("Compare before and after");
    await press("Once upon a time");
    await page.locator(".said", { hasText: "there be a sea dog, arr!" }).waitFor();
    assertEquals(await page.locator(".said").count(), 2);
    await inspect("5_compare");

    await go("Data");
    await page.getByRole("button", { name: "The next example" }).click();
    await page.getByText("2 of 108").waitFor();
    await page.getByText("Type it").click();
    await page.getByLabel("When it reads").fill("What is the warranty?");
    await page.getByLabel("it should say").fill("Five years.");
    await inspect("2_data");
    await press("Use this example");
    await page.getByText("Typed here").waitFor();

    await go("Method");
    await page.getByText("More: 2 other methods").click();
    await page.getByRole("radio", { name: /DoRA/ }).check();
    await page.getByText("More: every setting").click();
    await page.getByLabel("Examples per batch").fill("64");
    await page.waitForTimeout(600); // settings that suit the method arrive while it is typed
    await page.getByLabel("Examples per batch").blur();
    await page.getByText("This needs more memory").waitFor();
    await inspect("3_method");
    await page.getByLabel("Examples per batch").fill("many");
    await page.getByLabel("Examples per batch").blur();
    await page.getByText("A whole number").waitFor();
    await press("Do this");
    await page.getByText("This needs more memory").waitFor({ state: "detached" });
    assertEquals(await page.getByLabel("Examples per batch").inputValue(), "8");
    await page.getByText("A whole number").waitFor({ state: "detached" });

    await go("Train");
    await press("Train again");
    await page.getByRole("heading", { name: "It has learned" }).waitFor();
    await go("Adapters");
    await page.getByRole("slider", { name: "Pirate" }).first().fill("0.5");
    await page.getByRole("slider", { name: "Pirate" }).last().fill("0.75");
    await page.getByText("The mix", { exact: true }).click();
    await page.getByRole("textbox", { name: "The beginning of a text" }).fill("The captain");
    await page.keyboard.press("Enter");
    await page.locator(".voice", { hasText: "The mix" }).waitFor();
    await press("Keep the mix");
    await page.getByRole("heading", { name: "Mix", exact: true }).waitFor();
    await inspect("6_adapters");

    await go("Take home");
    await page.getByText("The whole model, with what it learned merged in").click();
    await inspect("7_home");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      press("Download: Adapter for Python"),
    ]);
    assertEquals(download.suggestedFilename(), "peft.bin");
    await page.getByText("Saved as peft.bin, 4 bytes").waitFor();

    assertEquals(studio.problems, []);
    assertEquals(studio.refused, []);
    assertEquals(studio.messages, []);
  });
});

Deno.test("the studio's page is walked by keyboard alone, and says where it is", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async ({ page, open }) => {
    await open();
    await page.getByRole("button", { name: "Try it with sample stories" }).and(page.locator(":enabled"))
      .waitFor();
    const focused = () => page.evaluate("document.activeElement.innerText") as Promise<string>;
    const tabTo = async (name: string) => {
      for (let presses = 0; presses < 30; presses++) {
        await page.keyboard.press("Tab");
        const outline = await page.evaluate(
          "getComputedStyle(document.activeElement).outlineStyle",
        );
        assert(outline !== "none", `no visible focus on ${await focused()}`);
        if ((await focused()).includes(name)) return;
      }
      throw new Error(`nothing is called "${name}" within 30 presses of Tab`);
    };
    await tabTo("Try it with sample stories");
    await page.keyboard.press("Enter");
    await page.locator("h1:focus", { hasText: "Ready to learn" }).waitFor(); // where a screen reader begins to read
    await tabTo("Start training");
    await page.keyboard.press("Enter");
    await page.locator("h1:focus", { hasText: "It is learning" }).waitFor(); // the button that had the focus is gone
    await page.getByRole("button", { name: "Pause" }).and(page.locator(":enabled")).waitFor();
    await tabTo("Pause");
    await page.keyboard.press("Enter");
    await page.locator("button:focus", { hasText: "Go on" }).waitFor();
    await page.keyboard.press("Enter");
    await page.locator("[aria-live]", { hasText: "The training is done." }).waitFor({ state: "attached" });
    assertEquals(await page.getByRole("progressbar").count(), 0);
  });
});

Deno.test("what keeps the studio from working is a plain page; what fails beside a step says what to do", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async (studio) => {
    const { page, inspect } = studio;
    for (const kind of ["no-webgpu", "other-tab"]) {
      studio.serve("/assets/problem", kind);
      await studio.open();
      await page.getByRole("heading", { name: `What a failure of the kind "${kind}" is called.` }).waitFor();
      await page.getByRole("button", { name: "Reload the page" }).waitFor();
      assertEquals(await page.getByRole("navigation", { name: "Steps" }).count(), 0);
    }
    await inspect("stop_other-tab");
    studio.serve("/assets/problem", "");
    await studio.open();
    const fetchModel = async (name: string) => {
      await page.getByLabel("Name of the model").fill(name);
      await page.getByRole("button", { name: "Fetch and open" }).click();
    };
    await fetchModel("fail/hub-login");
    await page.getByRole("alert").getByText("What the reader can do about it").waitFor();
    await inspect("error_hub-login");
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("alert").waitFor({ state: "detached" });
    await fetchModel("fail/out-of-memory");
    await page.getByRole("heading", { name: "What a failure" }).waitFor();
    await page.getByRole("button", { name: "Go back and choose less" }).click();
    await page.getByRole("heading", { name: "Choose a model to teach" }).waitFor();
    assertEquals(studio.problems, []);
    assertEquals(studio.refused, []);
  });
});

Deno.test("what is open in the studio stays open where another model or other data cannot be read", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async ({ page, open, go }) => {
    const button = (name: string) => page.getByRole("button", { name });
    const closeAlert = async () => {
      await page.getByRole("alert").waitFor();
      await button("Close").click();
      await page.getByRole("alert").waitFor({ state: "detached" });
    };
    await open();
    await button("Try it with sample stories").click();
    await page.getByRole("heading", { name: "Ready to learn" }).waitFor();

    await go("Data");
    await page.getByText("Open a file").click();
    await page.locator("input[type=file]").setInputFiles({
      ...{ name: "fail_bad-data.csv", mimeType: "text/csv", buffer: new TextEncoder().encode("x") as never },
    });
    await page.getByRole("alert").getByText('received "bad-data"').waitFor(); // why, without unfolding anything
    await closeAlert();
    await page.getByRole("heading", { name: "Pirate stories" }).waitFor();

    await go("Model");
    await page.getByText("Use another model").click();
    await page.getByLabel("Name of the model").fill("fail/bad-file");
    await button("Fetch and open").click();
    await closeAlert();
    await page.getByRole("heading", { name: "Built-in storyteller" }).waitFor();
    await go("Train");
    await button("Start training").and(page.locator(":enabled")).waitFor();
  });
});

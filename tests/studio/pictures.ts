/**
 * Takes the pictures of the studio that README and pages show, of a real training of the built-in model.
 * Run by hand, minutes without a GPU: deno run -A tests/studio/pictures.ts
 * @module
 */
import { withStudio } from "./studio_page.ts";

const FOLDER = new URL("../../docs/pictures/", import.meta.url).pathname;
const MINUTES = 60_000;

await Deno.mkdir(FOLDER, { recursive: true });
await withStudio({}, async ({ page, open, go }) => {
  page.setDefaultTimeout(15 * MINUTES);
  const press = (name: string) => page.getByRole("button", { name }).click();
  const take = async (name: string, height: number) => {
    await page.setViewportSize({ width: 1180, height });
    await page.mouse.move(0, 0);
    await page.screenshot({ path: `${FOLDER}studio_${name}.png`, animations: "disabled" });
  };
  await open();
  await press("Try it with sample stories");
  await page.getByRole("heading", { name: "Ready to learn" }).waitFor();
  await go("Data");
  await page.getByText("Pirate stories").first().waitFor();
  await take("data", 1000);
  await go("Train");
  await press("Start training");
  await page.getByRole("heading", { name: "It has learned" }).waitFor();
  await take("train", 1220);
  await press("Compare before and after");
  await press("Once upon a time");
  await page.locator(".said small", { hasText: "tokens" }).nth(1).waitFor();
  await take("compare", 900);
});

import { assertEquals } from "@std/assert";
import { checkSizes, MAX_LINES } from "../../tools/check_sizes.ts";

Deno.test("checkSizes() reports files past the limit and leaves fixtures and other files alone", async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${root}/fixtures`);
    const longest = "x\n".repeat(MAX_LINES);
    await Deno.writeTextFile(`${root}/fits.ts`, longest);
    await Deno.writeTextFile(`${root}/long.py`, longest + "y");
    await Deno.writeTextFile(`${root}/long.md`, longest + "y\n");
    await Deno.writeTextFile(`${root}/fixtures/long.ts`, longest + "y\n");
    assertEquals(await checkSizes(root), [`long.py: ${MAX_LINES + 1} lines, at most ${MAX_LINES}`]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

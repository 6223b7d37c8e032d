/**
 * Writes the demo's texts: `deno run -A examples/demo/write_texts.ts`. What the base model learns (`stories.txt`) is
 * made anew by `train_base.ts` and not kept; the pirate's stories for LoRA, and those held out, ship with the demo.
 * @module
 */

import { makeStories } from "./grammar.ts";

/** Seeds of the texts: held-out stories are not among those trained on. */
export const SEEDS = { base: 1, baseHeldOut: 2, pirate: 3, pirateHeldOut: 4 } as const;

if (import.meta.main) {
  const folder = new URL("./data/", import.meta.url);
  await Deno.mkdir(folder, { recursive: true });
  const write = (name: string, lines: string[]) =>
    Deno.writeTextFile(new URL(name, folder), lines.join("\n") + "\n");
  await write("pirate.txt", makeStories("pirate", 120, SEEDS.pirate));
  await write("pirate_held_out.txt", makeStories("pirate", 16, SEEDS.pirateHeldOut));
  await write("stories_held_out.txt", makeStories("plain", 16, SEEDS.baseHeldOut));
  await Deno.writeTextFile(
    Deno.args[0] ?? "/dev/null",
    makeStories("plain", 2000, SEEDS.base).join("\n") + "\n",
  );
}

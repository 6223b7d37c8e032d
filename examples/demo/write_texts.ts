/**
 * Writes the demo's texts: `deno run -A examples/demo/write_texts.ts [file for the tokenizer's texts]`. The base model's own stories are made again by
 * `train_base.ts`; the pirate's stories for LoRA, and those held out, ship with the demo.
 * @module
 */

import { makeTexts } from "./grammar.ts";

/** Seeds of the texts: held-out stories are not among those trained on. */
const SEEDS = { pirate: 3, pirateHeldOut: 4 } as const;

const folder = new URL("./data/", import.meta.url);
await Deno.mkdir(folder, { recursive: true });
for (
  const [name, stories] of [
    ["pirate.jsonl", makeTexts("pirate", 120, SEEDS.pirate)],
    ["pirate_held_out.jsonl", makeTexts("pirate", 16, SEEDS.pirateHeldOut)],
  ] as const
) {
  const lines = stories.map((text) => JSON.stringify({ text }) + "\n");
  await Deno.writeTextFile(new URL(name, folder), lines.join(""));
}

const [tokenizerTexts] = Deno.args; // what tests/oracle/demo_tokenizer.py reads
if (tokenizerTexts) {
  const counts = { plain: 300, facts: 60, pirate: 100 } as const;
  const texts = Object.entries(counts).flatMap(([style, count]) =>
    makeTexts(style as keyof typeof counts, count, 5)
  );
  await Deno.writeTextFile(tokenizerTexts, texts.join("\n") + "\n");
}

/**
 * The defaults that comments on public fields name are those of the tables.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { GPT2Config } from "../../model/mod.ts";
import { MethodConfig } from "../../peft/mod.ts";
import * as peft from "../../peft/mod.ts";
import { SFTConfig, TrainingArguments } from "../../train/mod.ts";
import { listFiles } from "../../tools/list_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** A comment, and the field below it. */
const FIELD = /\/\*\*((?:(?!\*\/)[^])*?)\*\/\s*(?:declare )?(\w+)!?:/g;
const DEFAULT = /\b[Dd]efault ("[^"]*"|-?\d[\d.e-]*\d|-?\d|true|false|null|\{\}|\[\])/;

/** Defaults by field that the comments in a file name. */
async function documented(path: string): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for (const [, comment, name] of (await Deno.readTextFile(`${ROOT}${path}`)).matchAll(FIELD)) {
    const value = DEFAULT.exec(comment.replaceAll(/\s*\*\s*/g, " "))?.[1];
    if (value !== undefined) found.set(name, JSON.parse(value));
  }
  return found;
}

Deno.test("comments on fields of configurations name the defaults of the tables", async () => {
  const tables = new Map<string, Record<string, { default: unknown }>>();
  for (const [name, value] of Object.entries(peft)) {
    if (typeof value !== "function" || !(value.prototype instanceof MethodConfig)) continue;
    tables.set(name, value.prototype.table.options);
  }
  assertEquals(tables.size, 16);
  const shared: Record<string, readonly string[]> = {
    "peft/config/peft_config.ts": [...tables.keys()],
    "peft/methods/lycoris.ts": ["LoHaConfig", "LoKrConfig"],
    "peft/virtual_tokens/virtual_token_options.ts": [
      "PrefixTuningConfig",
      "PromptTuningConfig",
      "PromptEncoderConfig",
    ],
  };
  let count = 0;
  for (const path of await listFiles(ROOT, /\.ts$/, ["peft"])) {
    const text = await Deno.readTextFile(`${ROOT}${path}`);
    const owners = shared[path] ??
      [...tables.keys()].filter((name) => text.includes(`export class ${name} `));
    if (owners.length === 0) continue;
    for (const [name, value] of await documented(path)) {
      for (const owner of owners) {
        const options = tables.get(owner)!;
        if (path in shared && !(name in options)) continue; // not every method has every shared field
        assertEquals(options[name]?.default, value, `${path}, ${owner}: ${name}`);
        count++;
      }
    }
  }
  assert(count > 100, `only ${count} comments name a default`);
});

Deno.test("comments on TrainingArguments name its defaults", async () => {
  const defaults = await documented("train/training_arguments.ts");
  const args = new TrainingArguments({ outputDir: "out" });
  assertEquals([...defaults.keys()].sort(), Object.keys(args).sort());
  for (const [name, value] of defaults) {
    if (name !== "outputDir") assertEquals(args[name as keyof TrainingArguments], value, name);
  }
});

Deno.test("comments on SFTConfig name its defaults", async () => {
  const defaults = await documented("train/sft/sft_config.ts");
  const config = new SFTConfig();
  const shared = new TrainingArguments();
  assertEquals([...defaults.keys()].sort(), Object.keys(config).filter((name) => !(name in shared)).sort());
  for (const [name, value] of defaults) assertEquals(config[name as keyof SFTConfig], value, name);
});

Deno.test("comments on GPT2Config name its defaults", async () => {
  const config = new GPT2Config();
  const defaults = await documented("model/gpt2/config.ts");
  assert(defaults.size >= 16, `only ${defaults.size} comments name a default`);
  for (const [name, value] of defaults) assertEquals(config[name as keyof GPT2Config], value, name);
});

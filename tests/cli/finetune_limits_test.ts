/**
 * `finetune`: flags that the model cannot follow are refused, or it says what it does instead.
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { AutoModelForCausalLM } from "@peft/webgpu";
import { type Command, parseFlags } from "../../cli/command.ts";
import { finetune } from "../../cli/training/finetune.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { withFolder } from "../peft/tiny_model.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;

/** Trains one step on a few rows; returns what was said. */
async function said(folder: string, ...args: string[]): Promise<string[]> {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(String(line));
  try {
    const few = ["--data", DATA, "--max-samples", "2", "--batch-size", "1", "--max-steps", "1"];
    const command = finetune as unknown as Command;
    await command.run(parseFlags(command, [...few, "--output", `${folder}/out`, ...args])!);
    return lines;
  } finally {
    console.log = log;
  }
}

Deno.test("finetune --method full refuses weights of fewer than 32 bits, which it would leave as they are", () =>
  withFolder(async (folder) => {
    const refused = async (...args: string[]) =>
      (await assertRejects(() => said(folder, "--method", "full", ...args), UsageError)).message;
    const wanted = "Cannot run finetune: --method full trains weights of 32 bits, received";
    assertEquals(
      await refused("--model", MODEL, "--quantization", "nf4"),
      `${wanted} --quantization nf4; leave it out, or train an adapter`,
    );
    assertEquals(
      await refused("--model", MODEL, "--dtype", "float16"),
      `${wanted} --dtype float16; leave it out, or train an adapter`,
    );
    const half = `${folder}/half`;
    const model = await AutoModelForCausalLM.fromPretrained(MODEL);
    await model.savePretrained(half, { dtype: "float16" });
    model.dispose();
    await Deno.copyFile(`${MODEL}/tokenizer.json`, `${half}/tokenizer.json`);
    assertEquals(
      await refused("--model", half, "--dtype", "auto"),
      `${wanted} --dtype auto of a file that has others; leave it out, or train an adapter`,
    );
    const [trainable] = await said(folder, "--model", MODEL, "--method", "full", "--dtype", "auto");
    assertEquals(trainable, "trainable params: 908,032 (all)");
  }));

Deno.test("finetune says that the model has fewer positions than --block-size asks for, and one step is one step", () =>
  withFolder(async (folder) => {
    const lines = await said(folder, "--model", MODEL, "--block-size", "4096");
    assertEquals(
      lines.filter((line) => /block-size/.test(line)),
      ["rows have at most 128 tokens: the model has no positions for the 4096 of --block-size"],
    );
    assertEquals(lines.some((line) => /^1 step, mean loss \d/.test(line)), true, lines.join("\n"));
    assertEquals((await said(folder, "--model", MODEL)).some((line) => /block-size/.test(line)), false);
  }));

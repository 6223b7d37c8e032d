/**
 * `convert` and `merge`: what they call the files that they write, and names that say something else than --format.
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { AutoModelForCausalLM, type CausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
import { convert } from "../../cli/convert.ts";
import { type Command, parseFlags, UsageError } from "../../cli/command.ts";
import { merge } from "../../cli/merge.ts";
import { withFolder } from "../peft/tiny_model.ts";

const MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;

/** Runs a command in this process; returns what it said. */
async function said(command: unknown, ...args: string[]): Promise<string[]> {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(String(line));
  try {
    await (command as Command).run(parseFlags(command as Command, args)!);
    return lines;
  } finally {
    console.log = log;
  }
}

Deno.test("convert and merge take a name that ends with .gguf for a file, and say where an adapter's file is", () =>
  withFolder(async (folder) => {
    const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(MODEL);
    const adapted = getPeftModel(base, new LoraConfig({ r: 2, targetModules: "all-linear" }));
    await adapted.savePretrained(`${folder}/adapter`);
    adapted.dispose();
    const adapter = ["--adapter", `${folder}/adapter`];
    const file = `${folder}/my.gguf`;
    const wanted =
      `--output must be a folder with --format safetensors, received "${file}"; --format gguf writes a file`;
    for (const [command, ...args] of [[convert, "--model", MODEL], [merge, ...adapter]] as const) {
      const error = await assertRejects(() => said(command, ...args, "--output", file), UsageError);
      assert(error.message.endsWith(wanted), error.message);
    }
    for (const format of ["gguf", "safetensors"]) {
      const error = await assertRejects(
        () => said(convert, ...adapter, "--format", format, "--output", file),
        UsageError,
      );
      assertEquals(
        error.message,
        `Cannot run convert: --output must be a folder for an adapter's files, received "${file}"`,
      );
    }
    assertEquals(await said(convert, ...adapter, "--format", "gguf", "--output", `${folder}/for_llama`), [
      `adapter written to ${folder}/for_llama/adapter_model.gguf`,
    ]);
    assertEquals(await said(convert, ...adapter, "--output", `${folder}/again`), [
      `adapter written to ${folder}/again`,
    ]);
    assertEquals((await Deno.stat(`${folder}/for_llama/adapter_model.gguf`)).isFile, true);
    assertEquals(await said(convert, "--model", MODEL, "--format", "gguf", "--output", file), [
      `model written to ${file} (f16)`,
    ]);
  }));

/**
 * `finetune --preview`: what is learned of a conversation.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { AutoTokenizer } from "@peft/webgpu";
import { previewExample } from "../../cli/training/preview.ts";
import { writeChatModel } from "./chat_model.ts";

const root = new URL("../../", import.meta.url).pathname;

Deno.test("previewExample() marks what is learned, with colours and without", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(`${root}examples/demo/model`);
  const [read, learned] = [tokenizer.encode("where? "), tokenizer.encode("on the ship")];
  const example = { inputIds: [...read, ...learned], labels: [...read.map(() => -100), ...learned] };
  const count = `${read.length + learned.length} tokens, of which ${learned.length} are learned`;
  assertEquals(previewExample(tokenizer, example, false), `where? ⟦on the ship⟧\n\n${count} (in ⟦ ⟧)`);
  assertEquals(
    previewExample(tokenizer, example, true),
    `\x1b[2mwhere? \x1b[0m\x1b[32mon the ship\x1b[0m\n\n${count} (green)`,
  );
  const all = previewExample(tokenizer, { inputIds: learned }, false);
  assertEquals(all.startsWith("⟦on the ship⟧"), true);
});

Deno.test("finetune --preview prints the first conversation and trains nothing; without it conversations are trained", async () => {
  const model = await writeChatModel();
  const folder = await Deno.makeTempDir();
  const row = {
    messages: [{ role: "user", content: "who are you?" }, { role: "assistant", content: "a pirate" }],
  };
  await Deno.writeTextFile(`${folder}/chat.jsonl`, `${JSON.stringify(row)}\n`.repeat(4));
  const run = async (...flags: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--no-check", "--config", `${root}deno.json`, `${root}cli/main.ts`, "finetune"],
        ...["--model", model, "--data", `${folder}/chat.jsonl`, "--output", `${folder}/out`, ...flags],
      ],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  };
  const preview = await run("--preview");
  assertStringIncludes(preview, "user: who are you?<|endoftext|>assistant:⟦ a pirate<|endoftext|>⟧");
  assertStringIncludes(preview, "4 examples in ");
  assertEquals(preview.includes("trainable"), false);
  assertStringIncludes(await run("--max-steps", "2"), "2 steps, mean loss");
  for (const made of [model, folder]) await Deno.remove(made, { recursive: true });
});

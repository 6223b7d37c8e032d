/**
 * A small chat model: the demo's GPT-2 with a chat template.
 * @module
 */

import { AutoTokenizer } from "@peft/webgpu";

const MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;

/** Each message between its role and the end token. */
export const TEMPLATE =
  "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|endoftext|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/** Writes the model to a new folder. */
export async function writeChatModel(): Promise<string> {
  const folder = await Deno.makeTempDir();
  const tokenizer = await AutoTokenizer.fromPretrained(MODEL);
  tokenizer.chatTemplate = TEMPLATE;
  await tokenizer.savePretrained(folder);
  for (const name of ["config.json", "model.safetensors"]) {
    await Deno.copyFile(`${MODEL}/${name}`, `${folder}/${name}`);
  }
  return folder;
}

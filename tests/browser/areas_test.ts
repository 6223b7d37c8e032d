/**
 * The bundles by area in pages of Chromium and Firefox: what they answer and learn, and what such a page fetches before it does.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertStringIncludes } from "@std/assert";
import * as all from "../../entries/all.ts";
import { type AREAS, gzipLength } from "../../tools/bundle_areas.ts";
import { findProblems } from "../../tools/bundle.ts";
import { answer, answerLlama, answerOtherwise, train, trainOtherwise } from "./area_pages.js";
import { areaFiles, packageFiles } from "./bundles.ts";
import { runInPage } from "./chromium.ts";
import { findFirefox, runInFirefox } from "./firefox.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** What a page may fetch of the library before its first answer, or its first trained adapter, gzipped. */
const MOST_BYTES = { gpt2: 73_800, llama: 82_200, training: 107_000 };

/** A folder with models and adapters; the place of each by its name. */
async function makeFolder(): Promise<{ folder: string; at: (name: string) => string }> {
  const folder = `${await Deno.makeTempDir()}/`;
  for (const [name, from] of [["model", "examples/demo/model"], ["llama", "tests/fixtures/llama/llama"]]) {
    await Deno.mkdir(folder + name);
    for await (const { name: file } of Deno.readDir(ROOT + from)) {
      await Deno.copyFile(`${ROOT}${from}/${file}`, `${folder}${name}/${file}`);
    }
  }
  await Deno.mkdir(`${folder}chat`);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${folder}model/${file}`, `${folder}chat/${file}`);
  }
  await Deno.writeTextFile(
    `${folder}chat/chat_template.jinja`,
    "<{{ messages[0].role }}>{{ messages[0].content }}",
  );
  const save = async (base: string, name: string, config: all.AdapterConfig) => {
    const model = all.getPeftModel(await all.AutoModelForCausalLM.fromPretrained(folder + base), config);
    await model.savePretrained(folder + name);
    model.dispose();
  };
  const lora = { r: 4, initLoraWeights: false, targetModules: ["c_attn"] };
  await save("model", "lora", new all.LoraConfig(lora));
  await save("model", "dora", new all.LoraConfig({ ...lora, r: 2, useDora: true }));
  const ia3 = { targetModules: ["c_attn"], feedforwardModules: [], initIa3Weights: false };
  await save("model", "ia3", new all.IA3Config(ia3));
  await save("llama", "llama_lora", new all.LoraConfig({ ...lora, targetModules: ["q_proj", "v_proj"] }));
  const model = await all.AutoModelForCausalLM.fromPretrained(`${folder}model`);
  await all.exportGguf(model, `${folder}model.gguf`, {
    dtype: "q8_0",
    tokenizer: await all.AutoTokenizer.fromPretrained(`${folder}model`),
  });
  model.dispose();
  return { folder, at: (name) => folder + name };
}

type Area = keyof typeof AREAS;

/** The files of an area and the packages beside them, as a page gets them. */
async function filesOf(area: Area) {
  const chunks = await areaFiles(area);
  const own = new Set(chunks.map(({ fileName }) => fileName));
  assertEquals(chunks.flatMap((chunk) => findProblems(chunk, own)), []);
  const pages = await Deno.readTextFile(new URL("area_pages.js", import.meta.url));
  const files = Object.fromEntries([
    ...chunks.map(({ fileName, code }) => [`/${fileName}`, code]),
    ...[...await packageFiles()].map(([name, text]) => [`/${name}`, text]),
    ["/area_pages.js", pages],
  ]) as Record<string, string>;
  const bytesOf = async (scripts: readonly string[]) => {
    const fetched = chunks.filter(({ fileName }) => scripts.includes(fileName));
    return await gzipLength(fetched);
  };
  return { files, own, bytesOf };
}

/** Messages but for those about optional files that a folder does not have. */
const withoutMissing = (messages: readonly string[]) =>
  messages.filter((message) => !message.includes("status of 404"));

/** Runs one of the functions of `area_pages.js` in a page. */
const script = (area: string, call: string) => `
import * as lib from "/${area}.js";
import * as pages from "/area_pages.js";
const at = (name) => new URL("/files/" + name, location.href);
export const run = () => pages.${call};`;

Deno.test("inference.js answers with LoRA in a page, in few bytes, and loads the rest on first use", async () => {
  const { folder, at } = await makeFolder();
  try {
    const { files, own, bytesOf } = await filesOf("inference");
    const { value, messages } = await runInPage<Awaited<ReturnType<typeof answer>>>(
      script("inference", "answer(lib, at)"),
      { files, folder },
    );
    assertEquals(withoutMissing(messages), []);
    const here = await answer(all, at);
    assertEquals(value.tokens, here.tokens);
    assertEquals(value.shape, here.shape);
    assertEquals(value.saved, here.saved);
    assertStringIncludes(value.refused, "Cannot run backward: a bundle with gradients is required");
    const later = new Set(value.later).difference(new Set(value.first));
    for (const name of ["beam_generation", "dora", "gguf_model", "ia3", "save_adapter"]) {
      assert(later.has(`inference_${name}.js`), `${name} of ${[...later].join(", ")}`);
    }
    assert(!later.has("inference_texts.js") && !value.first.includes("inference_texts.js"), "no error");
    const bytes = await bytesOf(value.first);
    console.log(`GPT-2 with LoRA: ${bytes} bytes gzipped in ${value.first.filter((name) => own.has(name))}`);
    assert(bytes < MOST_BYTES.gpt2, `${bytes} bytes, at most ${MOST_BYTES.gpt2}`);

    const llama = await runInPage<Awaited<ReturnType<typeof answerLlama>>>(
      script("inference", "answerLlama(lib, at)"),
      { files, folder },
    );
    assertEquals(withoutMissing(llama.messages), []);
    assertEquals(llama.value.tokens, (await answerLlama(all, at)).tokens);
    const llamaBytes = await bytesOf(llama.value.first);
    console.log(`Llama with LoRA: ${llamaBytes} bytes gzipped`);
    assert(llamaBytes < MOST_BYTES.llama, `${llamaBytes} bytes, at most ${MOST_BYTES.llama}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("inference.js answers in other ways with what it fetches on the way, and reads chats", async () => {
  const { folder, at } = await makeFolder();
  try {
    const { files } = await filesOf("inference");
    const more = '() => import("/inference_tokenizer.js"), () => import("/inference_models.js")';
    const { value, messages } = await runInPage<Awaited<ReturnType<typeof answerOtherwise>>>(
      script("inference", `answerOtherwise(lib, at, ${more})`),
      { files, folder },
    );
    assertEquals(withoutMissing(messages), []);
    const here = await answerOtherwise(all, at, () => Promise.resolve(), () => Promise.resolve(all));
    for (const name of ["tokens", "streamed", "chat", "shape"] as const) {
      assertEquals(value[name], here[name], name);
    }
    assertEquals(here.refused, "");
    assertStringIncludes(
      value.refused,
      'Cannot call loadJinja(): import "./inference_tokenizer.js" first; see README.md',
    );
    const isOfChats = (name: string) => /chat|jinja/.test(name) && name.endsWith(".js");
    assertEquals(value.first.filter(isOfChats), []);
    assert(value.later.includes("inference_chat.js"), value.later.join());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("training.js trains LoRA in a page, in few bytes, and another method with a file beside it", async () => {
  const { folder, at } = await makeFolder();
  try {
    const { files, bytesOf } = await filesOf("training");
    const { value, messages } = await runInPage<Awaited<ReturnType<typeof train>>>(
      script("training", 'train(lib, at, () => import("/training_adapters.js"))'),
      { files, folder },
    );
    assertEquals(withoutMissing(messages), []);
    const here = await train(all, at, () => Promise.resolve(all));
    // Another WebGPU implementation and driver: rounding alone may differ.
    for (const method of ["lora", "ia3"] as const) {
      assertEquals(value.losses[method].length, 3);
      assertAllClose(value.losses[method], here.losses[method], { rtol: 0, atol: 1e-3 });
    }
    assert(value.losses.lora[2] < value.losses.lora[0], value.losses.lora.join());
    assert(value.later.includes("training_ia3.js") && !value.first.includes("training_ia3.js"));
    assert(!value.later.includes("training_texts.js"), "no error");
    const bytes = await bytesOf(value.first);
    console.log(`training LoRA: ${bytes} bytes gzipped`);
    assert(bytes < MOST_BYTES.training, `${bytes} bytes, at most ${MOST_BYTES.training}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("training.js trains an adapter of a folder in other ways with what it fetches on the way", async () => {
  const { folder, at } = await makeFolder();
  try {
    const { files } = await filesOf("training");
    const { value, messages } = await runInPage<Awaited<ReturnType<typeof trainOtherwise>>>(
      script("training", 'trainOtherwise(lib, at, () => import("/training_adapters.js"))'),
      { files, folder },
    );
    assertEquals(withoutMissing(messages), []);
    const here = await trainOtherwise(all, at, () => Promise.resolve(all));
    assertEquals(value.losses.length, 4);
    assertAllClose(value.losses, here.losses, { rtol: 0, atol: 1e-3 });
    for (const name of ["bestGlobalStep", "tokens", "saved", "r"] as const) {
      assertEquals(value[name], here[name], name);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const firefox = await findFirefox();

Deno.test({
  name: "Firefox does the same with inference.js and training.js",
  ignore: firefox === null,
  fn: async () => {
    const { folder, at } = await makeFolder();
    try {
      const run = async <T>(area: Area, call: string) => {
        const { files } = await filesOf(area);
        const { value, messages } = await runInFirefox<T>(firefox!, script(area, call), { files, folder });
        assertEquals(messages, []);
        return value;
      };
      const answers = await run<Awaited<ReturnType<typeof answer>>>("inference", "answer(lib, at)");
      const here = await answer(all, at);
      assertEquals([answers.tokens, answers.saved], [here.tokens, here.saved]);
      const { losses } = await run<Awaited<ReturnType<typeof train>>>(
        "training",
        'train(lib, at, () => import("/training_adapters.js"))',
      );
      const own = await train(all, at, () => Promise.resolve(all));
      for (const method of ["lora", "ia3"] as const) {
        assertAllClose(losses[method], own.losses[method], { rtol: 0, atol: 1e-3 });
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

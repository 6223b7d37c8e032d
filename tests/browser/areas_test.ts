/**
 * The bundles by area in pages of Chromium and Firefox: what they answer and learn, and what such a page fetches before it does.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertStringIncludes } from "@std/assert";
import * as all from "../../entries/all.ts";
import { type AREAS, gzipLength } from "../../tools/bundle_areas.ts";
import { findProblems } from "../../tools/bundle.ts";
import {
  answer,
  answerLlama,
  answerOtherwise,
  callsThatCannotWait,
  train,
  trainOtherwise,
} from "./area_pages.js";
import { areaFiles, packageFiles } from "./bundles.ts";
import { runInPage } from "./chromium.ts";
import { findFirefox, runInFirefox } from "./firefox.ts";
import * as firstPages from "./first_pages.js";
import { makePageFolder } from "./page_folder.ts";

/** What a page may fetch of the library before its first answer, or its first trained adapter, gzipped. */
const MOST_BYTES = { gpt2: 58_500, hardware: 60_000, llama: 68_100, training: 102_700 };

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
  const { folder, at } = await makePageFolder();
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
  const { folder, at } = await makePageFolder();
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
      'Cannot finish the call: import "./inference_tokenizer.js" first; see README.md',
    );
    const isOfChats = (name: string) => /chat|jinja/.test(name) && name.endsWith(".js");
    assertEquals(value.first.filter(isOfChats), []);
    assert(value.later.includes("inference_chat.js"), value.later.join());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what a page does first with inference.js needs no functions of its second file", async () => {
  const { folder, at } = await makePageFolder();
  try {
    const { files, bytesOf } = await filesOf("inference");
    files["/first_pages.js"] = await Deno.readTextFile(new URL("first_pages.js", import.meta.url));
    const { "/inference_more.js": _, ...without } = files;
    for (const name of Object.keys(firstPages) as (keyof typeof firstPages)[]) {
      const answersOften = name === "compared"; // and the file is asked for after its first answer: it is not there
      const { value, messages } = await runInPage<{ value: unknown; first: string[] }>(
        `import * as lib from "/inference.js";
import { ${name} } from "/first_pages.js";
const at = (name) => new URL("/files/" + name, location.href);
export async function run() {
  const value = await ${name}(lib, at);
  const first = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname.slice(1));
  return { value, first };
}`,
        { files: answersOften ? without : files, folder },
      );
      assertEquals(withoutMissing(messages), [], name);
      assertEquals(value.value, await firstPages[name](all, at), name);
      const isFirst = name !== "refused"; // it answers before its last call, and what comes after that is fetched then
      if (isFirst && !answersOften) {
        assert(!value.first.includes("inference_more.js"), `${name}: ${value.first}`);
      }
      if (name !== "hardware") continue;
      const bytes = await bytesOf(value.first);
      console.log(`GPT-2 with LoRA on hardware: ${bytes} bytes gzipped`);
      assert(bytes < MOST_BYTES.hardware, `${bytes} bytes, at most ${MOST_BYTES.hardware}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("inference.js calls that cannot wait say so before the first answer, and run after it", async () => {
  const { folder, at } = await makePageFolder();
  try {
    const { files } = await filesOf("inference");
    const { value } = await runInPage<Awaited<ReturnType<typeof callsThatCannotWait>>>(
      script("inference", "callsThatCannotWait(lib, at)"),
      { files, folder },
    );
    const here = await callsThatCannotWait(all, at);
    assertStringIncludes(
      value.early,
      'Cannot finish the call: a part of it is still to be loaded; import "./inference_more.js" first',
    );
    assertEquals({ ...value, early: "" }, here);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("training.js trains LoRA in a page, in few bytes, and another method with a file beside it", async () => {
  const { folder, at } = await makePageFolder();
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
  const { folder, at } = await makePageFolder();
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
    const { folder, at } = await makePageFolder();
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

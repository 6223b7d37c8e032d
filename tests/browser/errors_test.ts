/**
 * Errors of the bundles by area in Chromium: their texts are in a file that is loaded when there is one, and say what they say
 * in Deno.
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import * as all from "../../entries/all.ts";
import type { AREAS } from "../../tools/bundle_areas.ts";
import { areaFiles, packageFiles } from "./bundles.ts";
import { runInPage } from "./chromium.ts";
import { FAILING, FAILING_AT_ONCE, FAILING_TRAINING, failures, failuresAtOnce } from "./error_pages.js";

const ROOT = new URL("../../", import.meta.url).pathname;

type Area = keyof typeof AREAS;

/** What an error says whose text is not there. */
const SHORT = /^Cannot show this error: import \.\/inference_texts\.js first \(\d+\.\d+\)$/;

/** A folder with models and adapters; the place of each by its name. */
async function makeFolder(): Promise<{ folder: string; at: (name: string) => string }> {
  const folder = `${await Deno.makeTempDir()}/`;
  const save = async (base: string, name: string, targetModules: readonly string[]) => {
    const config = new all.LoraConfig({ r: 4, initLoraWeights: false, targetModules });
    const model = all.getPeftModel(await all.AutoModelForCausalLM.fromPretrained(folder + base), config);
    await model.savePretrained(folder + name);
    model.dispose();
  };
  for (const [name, from] of [["model", "examples/demo/model"], ["llama", "tests/fixtures/llama/llama"]]) {
    await Deno.mkdir(folder + name);
    for await (const { name: file } of Deno.readDir(ROOT + from)) {
      await Deno.copyFile(`${ROOT}${from}/${file}`, `${folder}${name}/${file}`);
    }
  }
  await save("model", "lora", ["c_attn"]);
  await save("llama", "llama_lora", ["q_proj", "v_proj"]);
  return { folder, at: (name) => folder + name };
}

/** The files of an area once for each of some names, in folders of these names, but for those that `leaveOut` gives. */
async function filesOf(area: Area, names: readonly string[], leaveOut: readonly string[] = []) {
  const files = new Map([...await packageFiles()]);
  for (const { fileName, code } of await areaFiles(area)) files.set(fileName, code);
  for (const name of leaveOut) assert(files.delete(name), name);
  const entries = names.flatMap((name) => [...files].map(([file, text]) => [`/${name}/${file}`, text]));
  const pages = await Deno.readTextFile(new URL("error_pages.js", import.meta.url));
  return { ...Object.fromEntries(entries), "/error_pages.js": pages } as Record<string, string>;
}

/** A page that runs an expression of `pages`, `at` and `libOf`, which gives what a folder's bundle exports. */
const script = (area: Area, call: string, first = "") => `
import * as pages from "/error_pages.js";
const at = (name) => new URL("/files/" + name, location.href);
const libOf = async (name) => {
  ${first}
  return await import(\`/\${name}/${area}.js\`);
};
export const run = () => ${call};`;

const names = (calls: object) => Object.keys(calls);

Deno.test("what a page awaits fails with the whole text, as on the whole library", async () => {
  const { folder, at } = await makeFolder();
  try {
    for (
      const [area, list] of [["inference", ["FAILING"]], ["training", [
        "FAILING",
        "FAILING_TRAINING",
      ]]] as const
    ) {
      for (const each of list) {
        const calls = each === "FAILING" ? FAILING : FAILING_TRAINING;
        const here = await failures(calls, () => all, at);
        const { value } = await runInPage<Record<string, string>>(
          script(area, `pages.failures(pages.${each}, libOf, at)`),
          { files: await filesOf(area, names(calls)), folder },
        );
        assertEquals(value, here);
      }
    }
    assert(names({ ...FAILING, ...FAILING_TRAINING }).length >= 25);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an error that a call throws at once is completed and printed when its text arrives", async () => {
  const { folder, at } = await makeFolder();
  try {
    const here = await failuresAtOnce(FAILING_AT_ONCE, () => all, at, 0);
    const files = await filesOf("inference", names(FAILING_AT_ONCE));
    const call = "pages.failuresAtOnce(pages.FAILING_AT_ONCE, libOf, at, 10_000)";
    const { value, messages } = await runInPage<typeof here>(script("inference", call), { files, folder });
    for (const [name, message] of Object.entries(value.first)) assertMatch(String(message), SHORT, name);
    assertEquals(value.later, here.later);
    for (const message of Object.values(here.first)) {
      assertEquals(messages.filter((each) => each.includes(String(message))).length, 1, String(message));
    }
    assertEquals(messages.filter((each) => SHORT.test(each) || each.startsWith("uncaught")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("errors are whole at once where a page imported their texts, and short where it cannot", async () => {
  const { folder, at } = await makeFolder();
  try {
    const here = await failuresAtOnce(FAILING_AT_ONCE, () => all, at, 0);
    const call = "pages.failuresAtOnce(pages.FAILING_AT_ONCE, libOf, at, 100)";
    const loaded = await runInPage<typeof here>(
      script("inference", call, "await import(`/${name}/inference_texts.js`);"),
      { files: await filesOf("inference", names(FAILING_AT_ONCE)), folder },
    );
    assertEquals(loaded.value.first, here.first);
    assertEquals(loaded.messages, []);

    const files = await filesOf("inference", ["padding", "inputs", "option"], ["inference_texts.js"]);
    const calls = "({ padding: pages.FAILING_AT_ONCE.padding, inputs: pages.FAILING_AT_ONCE.inputs })";
    const blocked = await runInPage<typeof here & Record<"awaited" | "server", Record<string, string>>>(
      script(
        "inference",
        `pages.failuresAtOnce(${calls}, libOf, at, 300).then(async (value) => ({
          ...value,
          awaited: await pages.failures({ option: pages.FAILING.option }, libOf, at),
          server: await pages.failures({ option: pages.noServer }, libOf, at),
        }))`,
      ),
      { files, folder },
    );
    const { first, later, awaited, server } = blocked.value;
    for (const name of ["padding", "inputs"] as const) {
      assertMatch(first[name], SHORT);
      assertEquals(later[name], { message: first[name], isInStack: true });
    }
    assertMatch(awaited.option.replace("TypeError: ", ""), SHORT);
    assertMatch(
      server.option,
      /^Error: Cannot fetch "http:\S+config.json": status 200 or 404 is required, received 503$/,
    );
    assert(blocked.messages.length > 0);
    for (const message of blocked.messages) assertStringIncludes(message, "status of 404"); // the browser's own
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/**
 * Writes `tools/cold_functions.ts`: the functions and methods of `inference.js`'s first files that no page of
 * `first_pages.js` runs. Run: `deno run -A tests/browser/find_cold_functions.ts`, after functions have new names or new
 * callers.
 * @module
 */

import type { Node } from "acorn";
import type { OutputChunk } from "rollup";
import { bundleArea, eagerFiles } from "../../tools/bundle_areas.ts";
import { RESTARTED } from "../../tools/cold_functions.ts";
import { packageFiles } from "./bundles.ts";
import { answerRequest, launchChromium } from "./chromium.ts";
import { makePageFolder } from "./page_folder.ts";
import { parseModule } from "../../tools/syntax_tree.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Characters of source below which a function is not worth what stands in for it. */
const LEAST = 60;

/**
 * What stays though no page ran it: what answers to memory that runs out or a device that is lost, for no file can be waited
 * for in the midst of an answer; what a page calls without `await` before its first answer; and an architecture's own files,
 * which no other page fetches.
 */
const KEPT = [
  /^gpu\/device\.ts Device\.destroy/,
  /^gpu\/(?:buffer_pool|command_stream|device_health)\.ts/,
  /^gpu\/pipeline_cache\.ts (?:CachedGroup\.forget|PipelineCache\.#dropOldest)/,
  /^model\/(?:generation\/text_streamer|tokenizer\/(?:batch|json|tokenizer))\.ts/,
  /^io\/open_file\.ts memoryFolder/,
  /^model\/(?:gpt2|llama)\//,
];

type Named = Node & { readonly name: string };
type Method = Node & {
  readonly key: Named;
  readonly kind: string;
  readonly static: boolean;
  readonly computed: boolean;
  readonly value: Node;
};

/** A function or method at the top of a file: the name that lists have, the node that runs, and the one that is as long as it. */
interface Found {
  readonly name: string;
  readonly runs: Node;
  readonly whole: Node;
}

/** Whether a function only fails: what stands in for it would be as long, and hide why. */
function onlyFails(node: Node): boolean {
  const { body } = node as Node & { readonly body: Node & { readonly body?: readonly Node[] } };
  return body.body?.length === 1 && body.body[0].type === "ThrowStatement";
}

/** Names as modules have them: Rollup numbers those that clash. */
const plain = (name: string) => name.replace(/\$\d+$/, "");

/** Methods that can move. */
function methodsOf(owner: string, node: Node): Found[] {
  const { body } = (node as Node & { readonly body: { readonly body: readonly Method[] } }).body;
  return body.flatMap((member) => {
    const { type, key, kind, computed, value } = member;
    const isPrivate = key?.type === "PrivateIdentifier";
    const stays = computed || member.static || kind === "constructor" || isPrivate && kind !== "method";
    if (type !== "MethodDefinition" || stays) return [];
    const name = `${kind === "method" ? "" : `${kind} `}${owner}.${isPrivate ? "#" : ""}${key.name}`;
    return [{ name, runs: value, whole: member }];
  });
}

/** Functions, and methods of classes, at the top of a file. */
function functionsIn(code: string): Found[] {
  return parseModule(code).body.flatMap((node) => {
    if (node.type === "FunctionDeclaration") return [{ name: plain(node.id.name), runs: node, whole: node }];
    if (node.type === "ClassDeclaration") return methodsOf(plain(node.id.name), node);
    if (node.type !== "VariableDeclaration" || node.declarations.length !== 1) return [];
    const [{ id, init }] = node.declarations;
    if (!init || !/Function/.test(init.type)) return [];
    return [{ name: plain((id as unknown as Named).name), runs: init, whole: init }];
  });
}

/** The module that a place of a file comes from; a file has the code of each as it is. */
function modulesOf({ code, modules }: OutputChunk): (place: number) => string | undefined {
  const places = Object.entries(modules).flatMap(([path, { code: part }]) =>
    part ? [{ path, start: code.indexOf(part), length: part.length }] : []
  );
  return (place) => places.find(({ start, length }) => place >= start && place < start + length)?.path;
}

/** Offsets of the functions of each file that pages ran. */
async function runPages(files: readonly OutputChunk[]): Promise<Map<string, Set<number>>> {
  const { folder } = await makePageFolder();
  const served: Record<string, string> = {
    "/": "<!doctype html><title>pages</title>",
    "/first_pages.js": await Deno.readTextFile(new URL("first_pages.js", import.meta.url)),
  };
  for (const { fileName, code } of files) served[`/${fileName}`] = code;
  for (const [name, code] of await packageFiles()) served[`/${name}`] = code;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => answerRequest(request, served, folder),
  );
  const browser = await launchChromium();
  const ran = new Map<string, Set<number>>();
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.addr.port}/`);
    await page.coverage.startJSCoverage({ resetOnNavigation: false });
    await page.evaluate(async () => {
      const [lib, pages] = await Promise.all(
        ["/inference.js", "/first_pages.js"].map((path) => import(path)),
      );
      const at = (name: string) => new URL(`/files/${name}`, location.href);
      for (const run of Object.values(pages)) await (run as (...given: unknown[]) => unknown)(lib, at);
    });
    for (const { url, functions } of await page.coverage.stopJSCoverage()) {
      const first = functions.flatMap(({ ranges: [{ startOffset, count }] }) =>
        count > 0 ? [startOffset] : []
      );
      ran.set(new URL(url).pathname.slice(1), new Set(first));
    }
  } finally {
    await browser.close();
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
  return ran;
}

/** Text of the list: modules with their names, in lines that are not too long. */
function listText(names: ReadonlyMap<string, readonly string[]>): string {
  return [...names].sort().map(([path, list]) => {
    const lines = [`${path}:`];
    for (const [i, name] of list.entries()) {
      const next = ` ${name}${i < list.length - 1 ? "," : ""}`;
      if (lines.at(-1)!.length + next.length > 118) lines.push(" ");
      lines.push(lines.pop()! + next);
    }
    return lines.join("\n");
  }).join("\n");
}

const files = await bundleArea("inference", { cold: {}, isPlain: true });
const core = eagerFiles(files, "inference.js").find(({ name }) => name === "core")!;
const ran = (await runPages(files)).get(core.fileName)!;
const moduleAt = modulesOf(core);
const cold = new Map<string, string[]>();
for (const { name, runs, whole } of functionsIn(core.code)) {
  const path = moduleAt(whole.start)?.replace(ROOT, "");
  const isOwn = path !== undefined && !/[\0?]/.test(path);
  if (!isOwn || ran.has(runs.start) || ran.has(whole.start)) continue;
  if (whole.end - whole.start < LEAST || onlyFails(runs)) continue;
  const again = Object.keys(RESTARTED[path] ?? {});
  if (KEPT.some((kept) => kept.test(`${path} ${name}`)) || again.includes(name)) continue;
  if (!cold.has(path)) cold.set(path, []);
  cold.get(path)!.push(name);
}
const target = new URL("../../tools/cold_functions.ts", import.meta.url);
const before = await Deno.readTextFile(target);
const list = /(?<=COLD: Names = listed\(`\n)[^`]*(?=`\);)/;
await Deno.writeTextFile(target, before.replace(list, () => `${listText(cold)}\n`));
console.log(`${[...cold.values()].flat().length} functions and methods of ${cold.size} modules`);

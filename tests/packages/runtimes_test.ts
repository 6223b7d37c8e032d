/**
 * What the library may use of JavaScript: what Node 20 has, the oldest runtime that the npm package names.
 * @module
 */

import { assertEquals } from "@std/assert";
import { listFiles } from "../../tools/list_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Folders that the npm package leaves out, and those that are no code of the library. */
const NOT_PACKED = /^(?:bench|cli|examples|studio|tests|tools)\//;

/** Newer names, with the version of Node that brought them. */
const NEWER: readonly (readonly [name: string, since: number, use: RegExp])[] = [
  ["Object.groupBy, Map.groupBy", 21, /\b(?:Object|Map)\.groupBy\b/],
  ["Promise.withResolvers", 22, /\bwithResolvers\b/],
  ["Array.fromAsync", 22, /\bfromAsync\b/],
  ["methods of iterators", 22, /\.(?:values|keys|entries)\(\)\s*\.(?!next\b)\w+\(|\bIterator\.from\b/],
  [
    "methods of sets",
    22,
    /\.(?:intersection|difference|symmetricDifference|isSubsetOf|isSupersetOf|isDisjointFrom)\(/,
  ],
  ["Promise.try, RegExp.escape, Error.isError", 24, /\b(?:Promise\.try|RegExp\.escape|Error\.isError)\b/],
  ["Float16Array", 24, /\bFloat16Array\b/],
  ["hexadecimal and Base64 of Uint8Array", 25, /\.(?:to|from|setFrom)(?:Hex|Base64)\(/],
];

Deno.test("the library uses nothing that Node 20 lacks", async () => {
  const files = (await listFiles(ROOT, /\.ts$/)).filter((path) => !NOT_PACKED.test(path));
  const found: string[] = [];
  for (const path of files) {
    const lines = (await Deno.readTextFile(ROOT + path)).split("\n");
    lines.forEach((line, i) => {
      if (/^\s*(?:\*|\/\/)/.test(line)) return;
      for (const [name, since, use] of NEWER) {
        if (use.test(line)) found.push(`${path}:${i + 1}: ${name}, since Node ${since}`);
      }
    });
  }
  assertEquals(found, []);
});

/**
 * Checks that tests fail when a formula is wrong: each mutant is one small change of one source file, made in a copy of the
 * tree, and the tests that hold the formula must fail. Run: `deno task mutants`; with `--beside-tests` the tests are not
 * run without the change first, as they are where all tests run anyway.
 * @module
 */
import type { Mutant } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";
import { readCounts } from "./test_output.ts";

/** Folders that no test of a mutant reads. */
const LEFT_OUT = new Set([".git", "dist", "out", "node_modules", "coverage", "docs"]);
/** Mutants at a time, each in a copy of its own. */
const WORKERS = 2;
/** Longest time of one mutant's tests; a change may well make a loop endless. */
const TIMEOUT_MS = 90_000;

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (isDirectory && !LEFT_OUT.has(name)) await copyTree(`${from}/${name}`, `${to}/${name}`);
    if (isFile) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

/** The text with the change in it. @throws {Error} unless `search` occurs exactly once */
export function mutate(
  text: string,
  { file, search, replace }: Pick<Mutant, "file" | "search" | "replace">,
): string {
  const pieces = text.split(search);
  if (pieces.length === 2) return pieces.join(replace);
  throw new Error(
    `Cannot change ${file}: one place with ${JSON.stringify(search)} is required, received ${
      pieces.length - 1
    }`,
  );
}

/** Runs a mutant's tests in `folder`. @returns what is wrong with the outcome, or nothing */
async function runTests(
  folder: string,
  { tests, filter }: Mutant,
  expected: "pass" | "fail",
): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "-A", "--no-check", ...tests],
      ...(filter ? ["--filter", filter] : []),
      ...(expected === "fail" ? ["--fail-fast"] : []),
    ],
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, TIMEOUT_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const closing = /^(?:ok|FAILED) \| \d+ passed/m.test(output);
  const { passed, failed } = readCounts(output);
  const what = tests.join(" ") + (filter ? ` --filter ${JSON.stringify(filter)}` : "");
  if (late) return `the tests take over ${TIMEOUT_MS / 1000} s: ${what}`;
  const broken = !closing || /ShaderCompileError|SyntaxError|could not be parsed|uncaught error/.test(output);
  if (expected === "fail" && code !== 0 && broken) return `it does not compile: ${what}`;
  if (closing && passed + failed === 0) return `no test has this name: ${what}`;
  if (expected === "pass") return code === 0 ? "" : `the tests fail without any change: ${what}`;
  return code === 0 ? `the tests do not notice it: ${what}` : "";
}

/**
 * Tries every mutant in copies of the tree at `root`.
 * @param besideTests the tests run without any change elsewhere
 * @returns what is wrong, one line per problem: mutants that the tests do not notice, or that could not be tried
 */
export async function checkMutants(
  root: string,
  mutants: readonly Mutant[] = MUTANTS,
  besideTests = false,
): Promise<string[]> {
  const problems: string[] = [];
  const waiting = [...mutants];
  const passed = new Map<string, Promise<string>>();
  const work = async () => {
    const folder = await Deno.makeTempDir({ prefix: "mutants-" });
    try {
      await copyTree(root, folder);
      for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) {
        const path = `${folder}/${mutant.file}`;
        const label = `${mutant.file}, ${JSON.stringify(mutant.search)} -> ${JSON.stringify(mutant.replace)}`;
        try {
          const text = await Deno.readTextFile(path);
          const changed = mutate(text, mutant);
          const key = JSON.stringify([mutant.tests, mutant.filter]);
          if (!passed.has(key)) {
            passed.set(key, besideTests ? Promise.resolve("") : runTests(folder, mutant, "pass"));
          }
          let problem = await passed.get(key)!;
          if (problem === "") {
            await Deno.writeTextFile(path, changed);
            problem = await runTests(folder, mutant, "fail");
            await Deno.writeTextFile(path, text);
          }
          if (problem !== "") problems.push(`${label}: ${problem}`);
        } catch (error) {
          problems.push((error as Error).message);
        }
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  return problems.sort();
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url).pathname;
  const begin = performance.now();
  const problems = await checkMutants(root, MUTANTS, Deno.args.includes("--beside-tests"));
  for (const problem of problems) console.error(problem);
  const seconds = Math.round((performance.now() - begin) / 1000);
  console.log(`${MUTANTS.length} mutants in ${seconds} s, ${problems.length} problems`);
  Deno.exit(problems.length === 0 ? 0 : 1);
}

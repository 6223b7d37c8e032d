/**
 * Runs every check and every test, and closes with `N passed, N failed`; each check counts as one.
 *
 * `deno task test` runs all; `--quick` the static checks alone; `--filter NAME` or paths of test files the chosen tests
 * alone. Test files run in processes of their own, two at a time, so that none sees another's memory; the large ones run
 * with nothing beside them.
 * @module
 */
import { checkLayers } from "./check_layers.ts";
import { checkSizes } from "./check_sizes.ts";
import { listFiles } from "./list_files.ts";

/** One check: a name, and what is wrong, or nothing. */
interface Check {
  readonly name: string;
  /** Text that says what is wrong; empty when the check holds. */
  run(): Promise<string>;
}

/** Passed and failed checks or tests. */
export interface Counts {
  passed: number;
  failed: number;
  /** Names of tests that were skipped, because this machine has no pip or npm to fetch what they need. */
  skipped: string[];
}

const ROOT = new URL("../", import.meta.url).pathname;
const EXPORTS = Object.values<string>(
  JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)).exports,
);
/** Bounds the JavaScript heap of each child, so that a leak ends as a failed test and not as a killed machine. */
const HEAP = "--v8-flags=--max-old-space-size=4096";

/**
 * Counts from the closing line of `deno test`. Ignored tests count as failed: every test runs everywhere, except those of
 * the real model (names that begin with "SmolLM2"), which a machine without pip cannot fetch, and those of llama.cpp (names
 * that begin with it), which needs Node and npm. Without a closing line (a
 * type error, a killed process) one failure is counted.
 */
export function readCounts(output: string): Counts {
  // deno-lint-ignore no-control-regex -- colours begin with the escape character
  const plain = output.replaceAll(/\x1b\[[0-9;]*m/g, "");
  const closing = [
    ...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*?\| (\d+) failed(?:.*?\| (\d+) ignored)?/gm),
  ]
    .at(-1);
  const skipped = [...plain.matchAll(/^((?:SmolLM2|llama\.cpp).*) \.\.\. ignored \(/gm)].map(([, name]) =>
    name
  );
  if (!closing) return { passed: 0, failed: 1, skipped };
  const ignored = Number(closing[3] ?? 0) - skipped.length;
  return { passed: Number(closing[1]), failed: Number(closing[2]) + ignored, skipped };
}

/** What a finished `deno test` counts for. A process that ends badly though no test failed counts as one failure. */
export function judge(
  counts: Counts,
  { code, signal }: { readonly code: number; readonly signal: Deno.Signal | null },
): Counts & { readonly note: string } {
  if (code === 0 || counts.failed > 0) return { ...counts, note: "" };
  return { ...counts, failed: 1, note: `the process ended with ${signal ?? `code ${code}`}` };
}

/** Test files that one process runs. */
export interface TestGroup {
  readonly name: string;
  readonly files: readonly string[];
}

/** Files that take gigabytes, or measure memory or time: each runs alone. */
const ALONE: ReadonlySet<string> = new Set([
  "tests/model/gpt2/gpt2_small_test.ts",
  "tests/model/memory_limit_test.ts",
  "tests/peft/large_tables_test.ts",
  "tests/readme_test.ts",
  "tests/browser/browser_test.ts",
  "tests/examples/demo_test.ts",
  "tests/examples/teach_test.ts",
  "tests/io/safetensors_header_test.ts",
  "tests/model/tokenizer/tokenizer_test.ts",
]);
/** Folders with many quick files: a process each would cost more than their tests. */
const GROUPED = ["tests/io", "tests/tools", "tests/nn", "tests/bench", "tests/autograd/ops"];

/** Cuts test files into processes: those of quick folders together, the others alone, and some with nothing beside them. */
export function groupTests(
  files: readonly string[],
  chosen: readonly string[],
): { together: TestGroup[]; alone: TestGroup[] } {
  const wanted = files.filter((file) =>
    chosen.length === 0 ||
    chosen.some((path) => file === path || file.startsWith(`${path.replace(/\/+$/, "")}/`))
  );
  const groups = new Map<string, string[]>();
  for (const file of wanted) {
    const name = ALONE.has(file) ? file : GROUPED.find((folder) => file.startsWith(`${folder}/`)) ?? file;
    groups.set(name, [...groups.get(name) ?? [], file]);
  }
  const all = [...groups].map(([name, members]): TestGroup => ({ name, files: members }));
  return {
    together: all.filter(({ name }) => !ALONE.has(name)),
    alone: all.filter(({ name }) => ALONE.has(name)),
  };
}

/** A check that runs Deno with arguments and holds when it exits with 0. */
function denoCheck(name: string, args: readonly string[]): Check {
  return {
    name,
    async run() {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...args],
        cwd: ROOT,
        env: { NO_COLOR: "1" },
        stdin: "null",
      }).output();
      if (code === 0) return "";
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      return text.replaceAll(/^(?:Check|Download) .*\n/gm, "").trim() || `exit code ${code}`;
    },
  };
}

/** The checks that run no test, in order. */
function staticChecks(): Check[] {
  return [
    denoCheck("format: deno fmt --check", ["fmt", "--check"]),
    denoCheck("lint: deno lint", ["lint"]),
    denoCheck("types, Deno: deno check", ["check", "."]),
    denoCheck("types, browser: deno check -c deno.browser.json", [
      "check",
      "-c",
      "deno.browser.json",
      "mod.ts",
    ]),
    {
      name: "types, examples in comments and pages",
      run: async () => {
        const pages = await listFiles(ROOT, /\.md$/);
        return await denoCheck("", ["check", "--doc-only", ".", ...pages]).run();
      },
    },
    { name: "arrows between folders", run: async () => (await checkLayers(ROOT)).join("\n") },
    { name: "file sizes", run: async () => (await checkSizes(ROOT)).join("\n") },
    denoCheck("docs: deno doc --lint", ["doc", "--lint", ...EXPORTS]),
    denoCheck("docs: configuration page is up to date", ["run", "-A", "tools/config_page.ts", "--check"]),
    denoCheck("package: deno publish --dry-run", ["publish", "--dry-run", "--allow-dirty"]),
    denoCheck("browser bundle names no runtime", ["run", "-A", "tools/bundle.ts"]),
    denoCheck("kernels compile with Dawn", ["run", "-A", "tools/check_wgsl.ts"]),
  ];
}

/** A missing adapter fails here once, with the cure, beside failing every device test. */
const adapterCheck: Check = {
  name: "WebGPU adapter",
  async run() {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) {
      return "Cannot test: no WebGPU adapter; on Debian install mesa-vulkan-drivers, a software adapter";
    }
    const { vendor, architecture, description } = adapter.info;
    console.log(`  ${[vendor, architecture, description].filter(Boolean).join(" ")}`);
    return "";
  },
};

/** The long part: each known mistake in a formula or a guard must make a test fail. */
const mutantCheck = denoCheck("tests notice wrong formulas: deno task mutants", [
  "run",
  "-A",
  "tools/check_mutants.ts",
]);

async function runCheck(check: Check): Promise<boolean> {
  const start = performance.now();
  const problem = await check.run().catch((error: unknown) => String(error));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${check.name} ... ${problem === "" ? "ok" : "FAILED"} (${seconds} s)`);
  if (problem !== "") console.log(problem.replaceAll(/^/gm, "    "));
  return problem === "";
}

/** A child's whole output, and how it ended. */
async function runDenoTest(
  args: readonly string[],
  env: Record<string, string>,
): Promise<Counts & { text: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", HEAP, ...args],
    cwd: ROOT,
    env: { ...Deno.stdout.isTerminal() ? { FORCE_COLOR: "1" } : {}, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const { note, ...counts } = judge(readCounts(out), await child.status);
  return { ...counts, text: `${out}${counts.failed > 0 ? err : ""}${note === "" ? "" : `${note}\n`}` };
}

/** Runs groups of test files, `jobs` at a time; prints each group's output when it is done. */
async function runGroups(
  groups: readonly TestGroup[],
  extra: readonly string[],
  jobs: number,
): Promise<Counts> {
  const total: Counts = { passed: 0, failed: 0, skipped: [] };
  const waiting = [...groups];
  const worker = async (env: Record<string, string>) => {
    for (let group = waiting.shift(); group; group = waiting.shift()) {
      const start = performance.now();
      const { text, passed, failed, skipped } = await runDenoTest([...extra, ...group.files], env);
      console.log(text.trimEnd());
      console.log(`${group.name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
      total.passed += passed;
      total.failed += failed;
      total.skipped.push(...skipped);
    }
  };
  // Two software adapters at once serve each other best with a thread each.
  const env: Record<string, string> = jobs > 1 ? { LP_NUM_THREADS: "1" } : {};
  await Promise.all(Array.from({ length: jobs }, () => worker(env)));
  return total;
}

async function main(args: readonly string[]): Promise<number> {
  const paths = args.filter((arg) => arg.startsWith("tests"));
  const chosen = args.filter((arg) => arg !== "--quick");
  const quick = chosen.length < args.length;
  const extra = chosen.filter((arg) => !paths.includes(arg));
  const total: Counts = { passed: 0, failed: 0, skipped: [] };
  const checks = chosen.length > 0 ? [] : quick ? staticChecks() : [...staticChecks(), adapterCheck];
  for (const check of checks) total[await runCheck(check) ? "passed" : "failed"]++;
  if (!quick) {
    const start = performance.now();
    const { together, alone } = groupTests(await listFiles(ROOT, /_test\.ts$/, ["tests"]), paths);
    const jobs = Math.max(1, Math.min(2, navigator.hardwareConcurrency));
    const flags = chosen.length > 0 ? extra : ["--no-check"]; // the whole tree was checked already
    for (const [groups, at] of [[together, jobs], [alone, 1]] as const) {
      const counts = await runGroups(groups, flags, at);
      total.passed += counts.passed;
      total.failed += counts.failed;
      total.skipped.push(...counts.skipped);
    }
    console.log(`tests took ${((performance.now() - start) / 1000).toFixed(0)} s`);
    if (chosen.length === 0) total[await runCheck(mutantCheck) ? "passed" : "failed"]++;
  }
  if (total.skipped.length > 0) console.log(`skipped, no pip or npm: ${total.skipped.join("; ")}`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

if (import.meta.main) {
  // Else Deno also loads OpenGL's libEGL, whose clean-up at exit races with threads that end ("double free").
  if (Deno.build.os === "linux" && !Deno.env.has("DENO_WEBGPU_BACKEND")) {
    Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
  }
  if (!Deno.env.has("XDG_RUNTIME_DIR") && Deno.build.os === "linux") {
    // Mesa complains on stderr where it is unset; any folder serves.
    Deno.env.set("XDG_RUNTIME_DIR", await Deno.makeTempDir());
  }
  Deno.exit(await main(Deno.args));
}

/**
 * Runs every check and every test, and closes with `N passed, N failed`; each check counts as one.
 *
 * `deno task test` runs all; `--quick` the static checks alone; `--filter NAME` or paths of test files the chosen tests
 * alone. Test files run in several processes at a time, six on two cores; those that measure time run with nothing beside
 * them.
 * @module
 */
import { checkLayers } from "./check_layers.ts";
import { checkSizes } from "./check_sizes.ts";
import { listFiles } from "./list_files.ts";
import { groupTests, joinFiles, type TestGroup } from "./test_groups.ts";
import { type Counts, judge, readCounts, readFailures } from "./test_output.ts";

/** One check: a name, and what is wrong, or nothing. */
interface Check {
  readonly name: string;
  /** Text that says what is wrong; empty when the check holds. @param env for the processes that it starts */
  run(env?: Record<string, string>): Promise<string>;
}

const ROOT = new URL("../", import.meta.url).pathname;
const EXPORTS = Object.values<string>(
  JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)).exports,
);
/** Bounds the JavaScript heap of each child, so that a leak ends as a failed test and not as a killed machine. */
const HEAP = "--v8-flags=--max-old-space-size=4096";

/** A check that runs Deno with arguments and holds when it exits with 0. */
function denoCheck(name: string, args: readonly string[]): Check {
  return {
    name,
    async run(env = {}) {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...args],
        cwd: ROOT,
        env: { NO_COLOR: "1", ...env },
        stdin: "null",
      }).output();
      if (code === 0) return "";
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      return text.replaceAll(/^(?:Check|Download) .*\n/gm, "").trim() || `exit code ${code}`;
    },
  };
}

/**
 * The checks that run no test, in order.
 * @param isAlone whether no test runs, either: those of tests/browser make the same bundles, and look at them in the same way
 */
function staticChecks(isAlone: boolean): Check[] {
  return [
    denoCheck("format: deno fmt --check", ["fmt", "--check"]),
    denoCheck("lint: deno lint", ["lint"]),
    {
      name: "types, Deno: deno check, with the examples in comments and pages",
      run: async () => await denoCheck("", ["check", "--doc", ".", ...await listFiles(ROOT, /\.md$/)]).run(),
    },
    denoCheck("types, browser: deno check -c deno.browser.json", [
      "check",
      "-c",
      "deno.browser.json",
      "mod.ts",
    ]),
    { name: "arrows between folders", run: async () => (await checkLayers(ROOT)).join("\n") },
    { name: "file sizes", run: async () => (await checkSizes(ROOT)).join("\n") },
    denoCheck("docs: deno doc --lint", ["doc", "--lint", ...EXPORTS]),
    denoCheck("docs: configuration page is up to date", ["run", "-A", "tools/config_page.ts", "--check"]),
    // its types are those of `deno check`, above
    denoCheck("package: deno publish --dry-run", ["publish", "--dry-run", "--allow-dirty", "--no-check"]),
    ...isAlone
      ? [denoCheck("browser bundles name no runtime", ["run", "-A", "tools/make_bundles.ts", "--check"])]
      : [],
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
  "--beside-tests",
]);

/** What a job found. */
interface Outcome extends Counts {
  /** All that it printed. */
  readonly text: string;
  /** What failed and why, to be read again at the end of a long run; empty where all held. */
  readonly failures: string;
}

/** What a worker of the pool runs. */
type Job = (env: Record<string, string>) => Promise<Outcome>;

/** A check as a job: one that holds counts as one passed test. */
function checkJob(check: Check): Job {
  return async (env) => {
    const start = performance.now();
    const problem = await check.run(env).catch((error: unknown) => String(error));
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const holds = problem === "";
    const verdict = `${check.name} ... ${holds ? "ok" : "FAILED"} (${seconds} s)`;
    const text = holds ? verdict : `${verdict}\n${problem.replaceAll(/^/gm, "    ")}`;
    return { passed: Number(holds), failed: Number(!holds), skipped: [], text, failures: holds ? "" : text };
  };
}

/** A child's whole output, and how it ended. */
async function runDenoTest(args: readonly string[], env: Record<string, string>): Promise<Outcome> {
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
  const text = `${out}${counts.failed > 0 ? err : ""}${note === "" ? "" : `${note}\n`}`;
  return { ...counts, text, failures: counts.failed > 0 ? readFailures(text) : "" };
}

/** A group of test files as a job. @param folder for the modules that join files */
function testJob(group: TestGroup, extra: readonly string[], folder: string): Job {
  return async (env) => {
    const start = performance.now();
    const files = group.joined
      ? ["--config", "deno.json", await joinFiles(group, ROOT, folder)]
      : group.files;
    // The software adapter's compiler takes about two thirds of its time where it does not optimize.
    const driver: Record<string, string> = group.compiles ? { ...env, GALLIVM_PERF: "nopt" } : env;
    const { text, failures, ...counts } = await runDenoTest([...extra, ...files], driver);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    return {
      ...counts,
      text: `${text.trimEnd()}\n${group.name}: ${seconds} s`,
      failures: failures === "" ? "" : `${group.name}:\n${failures}`,
    };
  };
}

/** Jobs, and how many of them run at a time. */
interface Queue {
  readonly jobs: readonly Job[];
  readonly workers: number;
}

/**
 * Runs the jobs of some queues, each queue's by its own workers, which help with the others once theirs is empty; prints
 * what each job has to say when it is done.
 */
async function runJobs(...queues: readonly Queue[]): Promise<Counts & { failures: string[] }> {
  const total = { passed: 0, failed: 0, skipped: [] as string[], failures: [] as string[] };
  const waiting = queues.map(({ jobs }) => [...jobs]);
  // Several software adapters at once serve each other best without threads for launches: the queue's own runs them.
  const isAlone = queues.reduce((sum, { workers }) => sum + workers, 0) === 1;
  const env: Record<string, string> = isAlone ? {} : { LP_NUM_THREADS: "0" };
  const worker = async (own: Job[]) => {
    for (;;) {
      const job = own.shift() ?? waiting.find((jobs) => jobs.length > 0)?.shift();
      if (job === undefined) return;
      const { text, passed, failed, skipped, failures } = await job(env);
      console.log(text);
      total.passed += passed;
      total.failed += failed;
      total.skipped.push(...skipped);
      if (failures !== "") total.failures.push(failures);
    }
  };
  await Promise.all(
    queues.flatMap(({ workers }, i) => Array.from({ length: workers }, () => worker(waiting[i]))),
  );
  return total;
}

const HELP = `Runs every check and every test; the last line is "N passed, N failed".

Usage: ./run test [tests/<folder or file> …] [flags of deno test]

  ./run test                       Everything
  ./run test tests/nn              The tests of a folder or a file
  ./run test --filter "matmul()"   The tests whose name contains a text
  ./run ok                         The checks that run no test`;

const HELP_QUICK = `Runs the checks that run no test and need no device.

Usage: ./run ok`;

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    console.log(args.includes("--quick") ? HELP_QUICK : HELP);
    return 0;
  }
  const paths = args.filter((arg) => arg.startsWith("tests"));
  const chosen = args.filter((arg) => arg !== "--quick");
  const quick = chosen.length < args.length;
  const extra = chosen.filter((arg) => !paths.includes(arg));
  const whole = chosen.length === 0;
  if (quick && !whole) {
    console.error(`error: Cannot run the checks: no argument is known here, received "${chosen.join(" ")}"`);
    return 1;
  }
  // As many as there are cores compute without a pause; beside them run those that wait 11 ms for every number they read.
  const cores = Math.min(2, navigator.hardwareConcurrency);
  const first = !whole ? [] : quick ? staticChecks(true) : [adapterCheck];
  const results = [await runJobs({ jobs: first.map(checkJob), workers: cores + 2 })];
  if (!quick) {
    const start = performance.now();
    const { together, alone } = groupTests(await listFiles(ROOT, /_test\.ts$/, ["tests"]), paths);
    if (together.length + alone.length === 0) {
      const given = paths.map((path) => `"${path}"`).join(", ");
      console.error(`error: Cannot run tests: files or folders of tests are required, received ${given}`);
      return 1;
    }
    const flags = whole ? ["--no-check"] : extra; // one of the checks beside is of the whole tree's types
    const folder = await Deno.makeTempDir();
    const jobOf = (group: TestGroup) => testJob(group, flags, folder);
    const checks = whole ? [...staticChecks(false), mutantCheck].map(checkJob) : [];
    const [longest, ...steady] = together.filter((group) => group.steady).map(jobOf);
    const others = together.filter((group) => !group.steady).map(jobOf);
    results.push(
      await runJobs(
        { jobs: [...longest ? [longest] : [], ...checks, ...steady], workers: cores },
        { jobs: others, workers: cores + 2 },
      ),
    );
    results.push(await runJobs({ jobs: alone.map(jobOf), workers: 1 }));
    await Deno.remove(folder, { recursive: true });
    console.log(`tests took ${((performance.now() - start) / 1000).toFixed(0)} s`);
  }
  const sum = (key: "passed" | "failed") => results.reduce((total, counts) => total + counts[key], 0);
  for (const failure of results.flatMap(({ failures }) => failures)) console.log(`\nfailed: ${failure}\n`);
  const skipped = results.flatMap((counts) => counts.skipped);
  if (skipped.length > 0) {
    console.log(`skipped, as this machine lacks what they need: ${skipped.join("; ")}`);
  }
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
  return sum("failed") === 0 && sum("passed") > 0 ? 0 : 1;
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

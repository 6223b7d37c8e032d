import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What the script itself calls; everything else comes from the stubs of a test. */
const SYSTEM_TOOLS = ["dirname", "grep", "uname", "mktemp", "mkdir", "id", "env", "cat", "sed"];

/** Runs ./run with nothing on PATH but `stubs` (name to shell lines) and the tools it needs. */
async function runScript(
  args: string[],
  stubs: Record<string, string>,
  env: Record<string, string> = {},
  cwd: string = ROOT,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const folder = await Deno.makeTempDir();
  try {
    for (const tool of SYSTEM_TOOLS) {
      const place = ["/usr/bin", "/bin"].find((place) => {
        try {
          return Deno.statSync(`${place}/${tool}`).isFile;
        } catch {
          return false;
        }
      });
      assert(place, `${tool} is not on this machine`);
      await Deno.symlink(`${place}/${tool}`, `${folder}/${tool}`);
    }
    for (const [name, lines] of Object.entries(stubs)) {
      await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
    }
    const { code, stdout, stderr } = await new Deno.Command("/bin/sh", {
      args: [`${ROOT}run`, ...args],
      clearEnv: true,
      env: { PATH: folder, ...env },
      cwd,
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const DENO = 'if [ "$1" = --version ]; then echo "deno 2.9.6 (stable)"; else echo "deno: $*"; fi';

Deno.test("./run gives the task and its arguments to the deno on PATH", async () => {
  const { code, stdout, stderr } = await runScript(["info", "a folder", "--json"], { deno: DENO });
  assertEquals({ code, stdout, stderr }, {
    code: 0,
    stdout: `deno: run --quiet -A --config ${ROOT}deno.json ${ROOT}cli/main.ts info a folder --json\n`,
    stderr: "",
  });
});

Deno.test("./run takes npx where deno is missing or old", async () => {
  const npx = 'echo "npx: $*"';
  const old = 'echo "deno 1.46.3"';
  const cases: Record<string, string>[] = [{ npx }, { npx, deno: old }];
  for (const stubs of cases) {
    const { code, stdout } = await runScript(["info"], stubs);
    assertEquals(code, 0);
    assert(
      /^npx: -y --prefer-offline deno@2\.\S+ run --quiet -A --config \S+ \S+cli\/main\.ts info\n$/.test(
        stdout,
      ),
      stdout,
    );
  }
});

Deno.test("./run says what to install where neither deno nor npx is there", async () => {
  const { code, stderr } = await runScript(["info"], {});
  assertEquals(code, 1);
  assert(stderr.includes("Cannot find Deno 2: install it"), stderr);
});

Deno.test("./run keeps the exit code of the task", async () => {
  const deno = 'if [ "$1" = --version ]; then echo "deno 2.9.6"; else exit 7; fi';
  assertEquals((await runScript(["info"], { deno })).code, 7);
  assertEquals((await runScript(["demo"], { deno }, { VK_ICD_FILENAMES: "x.json" })).code, 7);
});

Deno.test("./run gives its place to the task, so that a signal to it reaches the task", async () => {
  const deno = 'if [ "$1" = --version ]; then echo "deno 2.9.6"; else echo "$PPID"; fi';
  for (const task of ["worker", "demo", "studio", "bundle"]) {
    const { stdout } = await runScript([task], { deno }, {
      VK_ICD_FILENAMES: "x.json",
      XDG_RUNTIME_DIR: ROOT,
    });
    assertEquals(stdout, `${Deno.pid}\n`, task);
  }
});

Deno.test("./run sets XDG_RUNTIME_DIR to a folder of the user's alone for what computes", async () => {
  const deno =
    'if [ "$1" = --version ]; then echo "deno 2.9.6"; else echo "$XDG_RUNTIME_DIR"; [ -d "$XDG_RUNTIME_DIR" ]; fi';
  if (Deno.build.os === "linux") {
    const TMPDIR = await Deno.makeTempDir();
    const env = { VK_ICD_FILENAMES: "x.json", TMPDIR };
    const place = `${TMPDIR}/peft-webgpu-${Deno.uid()}`;
    for (let run = 0; run < 2; run++) {
      const { code, stdout } = await runScript(["demo"], { deno }, env);
      assertEquals([code, stdout], [0, `${place}\n`]);
    }
    assertEquals((await Deno.stat(place)).mode! & 0o777, 0o700);
    await Deno.remove(place);
    await Deno.symlink(ROOT, place); // as somebody else may have put there
    const { code, stdout } = await runScript(["demo"], { deno }, env);
    assertEquals([code, stdout.startsWith(TMPDIR), stdout.trim() === place], [0, true, false]);
    await Deno.remove(TMPDIR, { recursive: true });
  }
  const kept = await runScript(["demo"], { deno }, { VK_ICD_FILENAMES: "x.json", XDG_RUNTIME_DIR: ROOT });
  assertEquals(kept.stdout, `${ROOT}\n`);
});

Deno.test("./run lets Deno look for Vulkan adapters alone on Linux, unless the user says otherwise", async () => {
  if (Deno.build.os !== "linux") return;
  const deno = 'if [ "$1" = --version ]; then echo "deno 2.9.6"; else echo "$DENO_WEBGPU_BACKEND"; fi';
  const drivers = { VK_ICD_FILENAMES: "x.json" };
  assertEquals((await runScript(["info"], { deno }, drivers)).stdout, "vulkan\n");
  assertEquals(
    (await runScript(["info"], { deno }, { ...drivers, DENO_WEBGPU_BACKEND: "gl" })).stdout,
    "gl\n",
  );
});

Deno.test("./run without a command prints its usage and fails; --help and --version are its own", async () => {
  const { code, stdout } = await runScript([], { deno: DENO });
  assertEquals(code, 2);
  assert(stdout.startsWith("Usage: ./run <command>"), stdout);
  for (const flag of ["--help", "-h", "help"]) {
    assertEquals(await runScript([flag], { deno: DENO }), { code: 0, stdout, stderr: "" });
  }
  const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  assertEquals((await runScript(["--version"], {})).stdout, `@peft/webgpu ${version}\n`);
  const unknown = await runScript(["--quick"], { deno: DENO });
  assertEquals([unknown.code, unknown.stdout], [2, ""]);
  assert(unknown.stderr.includes('Cannot run "--quick"'), unknown.stderr);
});

Deno.test("./run keeps the caller's folder for a command's paths, and runs tasks in the repository", async () => {
  const deno = 'if [ "$1" = --version ]; then echo "deno 2.9.6"; else pwd -P; fi';
  const folder = await Deno.realPath(await Deno.makeTempDir());
  const there = { deno };
  assertEquals((await runScript(["info", "--model", "x"], there, {}, folder)).stdout, `${folder}\n`);
  const root = await Deno.realPath(ROOT);
  assertEquals((await runScript(["bundle"], there, {}, folder)).stdout, `${root}\n`);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("./run says what test, ok and bench cannot find, in one line", async () => {
  const cases = [
    [
      ["test", "tests/nosuch"],
      'error: Cannot run tests: files or folders of tests are required, received "tests/nosuch"',
    ],
    [["ok", "extra"], 'error: Cannot run the checks: no argument is known here, received "extra"'],
    [["bench", "--only", "nosuch"], /^error: Cannot bench: sections are matmul, .+, received nosuch$/],
  ] as const;
  for (const [args, wanted] of cases) {
    const { code, stdout, stderr } = await new Deno.Command("sh", { args: [`${ROOT}run`, ...args] }).output();
    const said = new TextDecoder().decode(stderr).trim();
    assertEquals([code, stdout.length], [1, 0], said);
    assert(typeof wanted === "string" ? said === wanted : wanted.test(said), said);
  }
});

Deno.test("./run shows what the tasks take that are no commands of the program, and runs nothing", async () => {
  for (const name of ["test", "ok", "bench", "bundle"]) {
    const script = new Deno.Command("sh", { args: [`${ROOT}run`, name, "--help"], stdout: "piped" }).spawn();
    const timer = setTimeout(() => script.kill("SIGTERM"), 20_000);
    const { code, stdout } = await script.output();
    clearTimeout(timer);
    const text = new TextDecoder().decode(stdout);
    assertEquals(code, 0, text);
    const [summary, empty, usage] = text.split("\n");
    assert(/^[A-Z].+\.$/.test(summary) && empty === "" && usage.startsWith(`Usage: ./run ${name}`), text);
    assert(text.split("\n").length < 20, text);
  }
});

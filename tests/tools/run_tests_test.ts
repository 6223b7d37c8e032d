import { assert, assertEquals, assertMatch } from "@std/assert";
import { groupTests, joinFiles } from "../../tools/test_groups.ts";
import { judge, readCounts, readFailures } from "../../tools/test_output.ts";

Deno.test("readCounts() reads the closing line of deno test, colours and steps included", () => {
  const cases: [output: string, passed: number, failed: number][] = [
    ["ok | 12 passed (3 steps) | 0 failed (4ms)\n", 12, 0],
    ["noise\nFAILED | 2 passed (1 step) | 2 failed (1 step) (89ms)\n\nerror: Test failed\n", 2, 2],
    ["\x1b[0m\x1b[32mok\x1b[0m | 5 passed | 0 failed \x1b[38;5;245m(1s)\x1b[0m\n", 5, 0],
    ["ok | 3 passed | 0 failed | 7 filtered out (1ms)\n", 3, 0],
    ["ok | 1 passed | 0 failed (1ms)\nok | 4 passed | 0 failed (1ms)\n", 4, 0],
  ];
  for (const [output, passed, failed] of cases) {
    assertEquals(readCounts(output), { passed, failed, skipped: [] }, output);
  }
});

Deno.test("readCounts() counts ignored tests, and a run without a closing line, as failed", () => {
  const skipped: string[] = [];
  assertEquals(readCounts("ok | 2 passed | 0 failed | 3 ignored (4ms)\n"), { passed: 2, failed: 3, skipped });
  assertEquals(readCounts("error: Type checking failed.\n"), { passed: 0, failed: 1, skipped });
});

Deno.test("readCounts() names ignored tests of SmolLM2 and NATS as skipped; other ignored tests still count as failed", async () => {
  const file = await Deno.makeTempFile({ suffix: "_test.ts" });
  await Deno.writeTextFile(
    file,
    `Deno.test({ name: "SmolLM2 answers ... at length", ignore: true, fn() {} });
     Deno.test({ name: "NATS: a queue", ignore: true, fn() {} });
     Deno.test({ name: "another test of SmolLM2", ignore: true, fn() {} });
     Deno.test("a test that runs", () => {});`,
  );
  const settings: Record<string, string>[] = [{ NO_COLOR: "1" }, { FORCE_COLOR: "1" }];
  for (const env of settings) {
    const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["test", "-A", file], env }).output();
    assertEquals(readCounts(new TextDecoder().decode(stdout)), {
      passed: 1,
      failed: 1,
      skipped: ["SmolLM2 answers ... at length", "NATS: a queue"],
    });
  }
  await Deno.remove(file);
});

Deno.test("judge() counts a process that ends badly as a failure, also after all its tests have passed", () => {
  const passed = { passed: 3, failed: 0, skipped: [] };
  const ends = (code: number, signal: Deno.Signal | null) => ({ code, signal });
  assertEquals(judge(passed, ends(0, null)), { ...passed, note: "" });
  assertEquals(judge(passed, ends(1, null)), { ...passed, failed: 1, note: "the process ended with code 1" });
  for (const [code, signal] of [[134, "SIGABRT"], [139, "SIGSEGV"], [137, "SIGKILL"]] as const) {
    const judged = judge(passed, ends(code, signal));
    assertEquals(judged, { ...passed, failed: 1, note: `the process ended with ${signal}` });
  }
  assertEquals(judge({ ...passed, failed: 1 }, ends(1, null)), { ...passed, failed: 1, note: "" });
});

Deno.test("readFailures() gives names, reasons and places of failed tests, and the last words of a killed process", async () => {
  const file = await Deno.makeTempFile({ suffix: "_test.ts" });
  await Deno.writeTextFile(
    file,
    `Deno.test("two and two", () => { throw new Error("received five"); });
     Deno.test("a test that runs", () => {});`,
  );
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", file],
    env: { FORCE_COLOR: "1" },
  }).output();
  const failures = readFailures(new TextDecoder().decode(stdout));
  await Deno.remove(file);
  for (const part of ["two and two", "received five", file.split("/").at(-1)!]) {
    assert(failures.includes(part), `${part} in:\n${failures}`);
  }
  assert(!failures.includes("a test that runs"), failures);
  assertEquals(
    readFailures("running 2 tests\nfirst ... ok\nkilled\n"),
    "running 2 tests\nfirst ... ok\nkilled",
  );
});

Deno.test("groupTests() takes every file once, quick and joined folders in parts, files that measure time alone", () => {
  const files = [
    "tests/autograd/ops/h_test.ts",
    "tests/autograd/ops/i_test.ts",
    "tests/autograd/j_test.ts",
    "tests/browser/areas_test.ts",
    "tests/examples/page_test.ts",
    "tests/io/a_test.ts",
    "tests/io/b_test.ts",
    "tests/model/generation/c_test.ts",
    "tests/model/d_test.ts",
    "tests/model/e_test.ts",
    "tests/model/f_test.ts",
    "tests/model/tokenizer/tokenizer_test.ts",
    "tests/peft/contract_test.ts",
    "tests/readme_test.ts",
    "tests/studio/g_test.ts",
  ];
  const { together, alone } = groupTests(files, []);
  assertEquals(together.map(({ name, files, joined, steady }) => [name, files.length, joined, steady]), [
    ["tests/peft/contract_test.ts", 1, false, false], // the longest first
    ["tests/autograd/ops, part 1 of 3", 1, true, false],
    ["tests/autograd/ops, part 2 of 3", 1, true, false],
    ["tests/browser, bundles by area", 2, true, true],
    ["tests/autograd", 1, true, false],
    ["tests/model, part 1 of 3", 2, true, false],
    ["tests/model, part 2 of 3", 1, true, false],
    ["tests/model, part 3 of 3", 1, true, false],
    ["tests/io", 2, false, false],
    ["tests/readme_test.ts", 1, false, false],
    ["tests/studio/g_test.ts", 1, false, true],
  ]);
  assertEquals(together.filter(({ compiles }) => compiles).map(({ name }) => name), [
    "tests/autograd/ops, part 1 of 3",
    "tests/autograd/ops, part 2 of 3",
  ]);
  assertEquals(alone.map(({ name }) => name), ["tests/model/tokenizer/tokenizer_test.ts"]);
  assertEquals([...together, ...alone].flatMap((group) => group.files).sort(), files.toSorted());
  assertEquals(groupTests(files, ["tests/model/generation/"]).together.map(({ files }) => files), [
    ["tests/model/generation/c_test.ts"],
  ]);
  assertEquals(groupTests(files, ["tests/io/b_test.ts"]).together, [
    { name: "tests/io", files: ["tests/io/b_test.ts"], joined: false, steady: false, compiles: false },
  ]);
});

Deno.test("joinFiles() makes a module whose files share what they import, and whose failures name their own file", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/shared.ts`, "export const seen: string[] = [];");
  const test = (name: string, others: number) =>
    `import { seen } from "./shared.ts";
     Deno.test("${name}", () => {
       if (seen.push("${name}") !== ${others}) throw new Error("${name} saw " + seen);
     });`;
  await Deno.writeTextFile(`${folder}/a_test.ts`, test("a", 1));
  await Deno.writeTextFile(`${folder}/b_test.ts`, test("b", 7));
  const group = {
    ...{ name: "tests/x, part 1 of 2", files: ["a_test.ts", "b_test.ts"] },
    ...{ joined: true, steady: false, compiles: false },
  };
  const joined = await joinFiles(group, `${folder}/`, folder);
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", joined],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  await Deno.remove(folder, { recursive: true });
  assertEquals(readCounts(text), { passed: 1, failed: 1, skipped: [] });
  assertMatch(readFailures(text), /b => .*b_test\.ts:2[^]*b saw a,b/);
});

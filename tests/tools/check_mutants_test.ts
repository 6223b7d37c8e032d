import { assertEquals, assertThrows } from "@std/assert";
import { checkMutants, mutate } from "../../tools/check_mutants.ts";
import { MUTANTS } from "../../tools/mutants.ts";

Deno.test("checkMutants() reports changes that no test notices and those it cannot try, and leaves the tree alone", async () => {
  const root = await Deno.makeTempDir();
  try {
    const source =
      "export const area = (a: number, b: number) => a * b;\nexport const half = (a: number) => a / 2;\n";
    await Deno.writeTextFile(`${root}/area.ts`, source);
    await Deno.writeTextFile(
      `${root}/area_test.ts`,
      `import { area, half } from "./area.ts";
Deno.test("area", () => { if (area(2, 3) !== 6) throw new Error("wrong"); });
Deno.test("half", () => { half(2); });
Deno.test("always wrong", () => { throw new Error("wrong"); });
`,
    );
    const mutant = {
      file: "area.ts",
      search: "a * b",
      replace: "a + b",
      tests: ["area_test.ts"],
      filter: "area",
    };
    const problems = await checkMutants(root, [
      mutant,
      { ...mutant, search: "a / 2", replace: "a", filter: "half" },
      { ...mutant, filter: "no such test" },
      { ...mutant, filter: "always wrong" },
      { ...mutant, replace: "a * * b" },
      { ...mutant, search: "a ** b" },
    ]);
    assertEquals(problems, [
      'Cannot change area.ts: one place with "a ** b" is required, received 0',
      'area.ts, "a * b" -> "a * * b": it does not compile: area_test.ts --filter "area"',
      'area.ts, "a * b" -> "a + b": no test has this name: area_test.ts --filter "no such test"',
      'area.ts, "a * b" -> "a + b": the tests fail without any change: area_test.ts --filter "always wrong"',
      'area.ts, "a / 2" -> "a": the tests do not notice it: area_test.ts --filter "half"',
    ]);
    // where the tests run anyway, one that is always wrong is theirs to report
    const beside = [{ ...mutant, filter: "no such test" }, { ...mutant, filter: "always wrong" }];
    assertEquals(await checkMutants(root, beside, true), [
      'area.ts, "a * b" -> "a + b": no test has this name: area_test.ts --filter "no such test"',
    ]);
    assertEquals(await Deno.readTextFile(`${root}/area.ts`), source);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("mutate() changes the one place and refuses two", () => {
  const change = { file: "f.ts", search: "x", replace: "y" };
  assertEquals(mutate("a x b", change), "a y b");
  assertThrows(
    () => mutate("x x", change),
    Error,
    'Cannot change f.ts: one place with "x" is required, received 2',
  );
});

Deno.test("every mutant's place is there, and changes something", async () => {
  for (const mutant of MUTANTS) {
    const text = await Deno.readTextFile(new URL(`../../${mutant.file}`, import.meta.url));
    if (mutate(text, mutant) === text) throw new Error(`${mutant.file}: ${mutant.search} changes nothing`);
    for (const file of mutant.tests) await Deno.stat(new URL(`../../${file}`, import.meta.url));
  }
});

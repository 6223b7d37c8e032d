import { assertEquals } from "@std/assert";
import { blankSource, findImports } from "../../tools/source_text.ts";

Deno.test("blankSource() keeps code and blanks comments, strings, templates and regular expressions", () => {
  const source = 'a(/* x */ "Deno" + `Deno ${f("}") /* y */} Deno`); // Deno\nb = c / d / /De[/]no"/g;\n';
  const { code, strings } = blankSource(source);
  assertEquals(code.length, source.length);
  assertEquals(code.replaceAll(/ +/g, " "), 'a( " " + ` ${f(" ") } `); \nb = c / d / / /g;\n');
  assertEquals([...strings.values()], ["Deno", "}"]);
});

Deno.test("blankSource() returns to the template after a nested template and braces", () => {
  const { code } = blankSource("x = `a ${ { k: `b ${1} c` }.k } d`; y = Deno;");
  assertEquals(code.replaceAll(/ +/g, " "), "x = ` ${ { k: ` ${1} ` }.k } `; y = Deno;");
});

Deno.test("findImports() finds every form of import and tells types and dynamic ones", () => {
  const source = [
    'import "a";',
    'import b, { c } from "b";',
    "import type { D } from 'd';",
    'import { type E, type F } from "e";',
    'import { type G, h } from "g";',
    "export {",
    "  i,",
    '} from "i";',
    'export * from "j";',
    'export type { K } from "k";',
    'const l = () => import("l");',
    '// import "no";',
    'const m = "import \\"no\\"";',
    'const n = Array.from("no");',
  ].join("\n");
  const found = findImports(blankSource(source)).map((r) =>
    [r.specifier, r.line, r.typeOnly ? "type" : "value", r.dynamic ? "dynamic" : "static"].join(" ")
  );
  assertEquals(found, [
    "a 1 value static",
    "b 2 value static",
    "d 3 type static",
    "e 4 type static",
    "g 5 value static",
    "i 8 value static",
    "j 9 value static",
    "k 10 type static",
    "l 11 value dynamic",
  ]);
});

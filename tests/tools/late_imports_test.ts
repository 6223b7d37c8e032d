import { assertEquals } from "@std/assert";
import { withoutLateImports } from "../../tools/late_imports.ts";

Deno.test("withoutLateImports() imports own modules at load time, each once, and leaves packages and the hub's pushes", () => {
  const code = [
    'const { a, d: own } = await import("./a.js");',
    'const { a } = await import("./a.js");',
    'const load = () => import("./a.js");',
    'const b = (await import("../b.js")).b;',
    'await import("./c.js");',
    'if (b) await import("./d.js");',
    'const { pushToHub } = await import("../io/hub_push.js");',
    'const hub = await import("@huggingface/hub");',
  ].join("\n");
  assertEquals(withoutLateImports(code).split("\n"), [
    'import { a as later_0 } from "./a.js";',
    'import { d as later_1 } from "./a.js";',
    'import "./c.js";',
    'import "./d.js";',
    'import * as later_2 from "./a.js";',
    'import * as later_3 from "../b.js";',
    "const a = later_0; const own = later_1;",
    "const a = later_0;",
    "const load = () => Promise.resolve(later_2);",
    "const b = (later_3).b;",
    ";",
    "if (b) ;",
    'const { pushToHub } = await import("../io/hub_push.js");',
    'const hub = await import("@huggingface/hub");',
  ]);
  assertEquals(withoutLateImports("let x = 1;"), "let x = 1;");
});

import { assert, assertEquals } from "@std/assert";
import * as esbuild from "esbuild";
import type { KernelSpec } from "../../kernels/kernel_spec.ts";
import { allKernels } from "../../kernels/mod.ts";
import { minifyWgsl } from "../../tools/minify_wgsl.ts";
import { build } from "../../tools/rollup_build.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** WGSL's operators of more than one character, the longest first (WGSL, section 3.8, "Syntactic tokens"). */
const OPERATORS = ">>= <<= -> && || == != >= <= ++ -- += -= *= /= %= &= |= ^= >> <<".split(" ");

/** The tokens of a program: what a compiler sees of it. */
function tokens(wgsl: string): string[] {
  const code = wgsl.replace(/\/\/[^\n]*/g, " ");
  const operators = OPERATORS.map((each) => each.replace(/[|*+^]/g, "\\$&")).join("|");
  return code.match(new RegExp(`[\\w.]+|${operators}|\\S`, "g")) ?? [];
}

Deno.test("minifyWgsl() leaves every kernel the same program, token by token, in less text", async () => {
  const [{ code }] = await build({
    entries: { kernels: `${ROOT}kernels/mod.ts` },
    external: () => undefined,
    single: true,
  });
  await esbuild.stop();
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(file, code);
  const minified: { allKernels: typeof allKernels } = await import(`file://${file}`);
  await Deno.remove(file);
  const short = minified.allKernels();
  const [before, after] = [allKernels(), short].map((kernels) =>
    kernels.reduce((sum, { wgsl }) => sum + wgsl.length, 0)
  );
  assertEquals(short.length, allKernels().length);
  for (const [i, kernel] of allKernels().entries()) {
    const shape = ({ name, buffers, params, tuning }: KernelSpec) => ({ name, buffers, params, tuning });
    assertEquals(shape(short[i]), shape(kernel));
    assertEquals(tokens(short[i].wgsl), tokens(kernel.wgsl), kernel.name);
  }
  assert(after < 0.9 * before, `${after} of ${before} characters`);
});

/** What becomes of a module's only expression. */
const minify = (expression: string) => minifyWgsl(expression).code;

Deno.test("minifyWgsl() keeps what separates tokens, comments that go on behind a substitution, and what errors say", () => {
  assertEquals(minify("`let a = b - -c; // why\n  if (a < b) { x = y; }`"), "`let a=b- -c;\nif(a<b){x=y;}`");
  assertEquals(
    minify("`enable subgroups;\nlet a = ${b} - ${c};`"),
    "`enable subgroups;\nlet a= ${b} - ${c};`",
  );
  assertEquals(minify("`a; // [${n}, m]\n  b ;`"), "`a; // [${n}, m]\n b;`");
  assertEquals(minify("`a; // \\n b = c`"), "`a; // \\n b = c`");
  assertEquals(minify('["  let a = 1;", "two words"]'), '["let a=1;", "two words"]');
  const error = "new TypeError(`Cannot store a  b, received ${c}`)";
  assertEquals(minify(error), error);
});

import { assertEquals } from "@std/assert";
import MagicString from "magic-string";
import { awaitErrors } from "../../tools/awaited_errors.ts";

/** What becomes of a module. */
function edit(code: string): string {
  const edited = new MagicString(code);
  awaitErrors(code, edited, "wait");
  return edited.toString();
}

const CAUGHT = "} catch (failure) { throw await wait(failure); }";

Deno.test("awaitErrors() lets functions that others call wait: exported ones, and methods that are not private", () => {
  assertEquals(
    edit(`export async function a() { b(); }
export const c = async () => d(), e = async () => { f(); };
class G { async h() { i(); } static async *j() { return k(); } async #l() { m(); } n() { return o(); } }
const p = { async q() { r(); }, s: async () => t(), u: () => v() };
async function w() { x(); }
export function y() { return async () => z(); }`),
    `export async function a() { try { b(); ${CAUGHT}}
export const c = async () => { try { return await (d()); ${CAUGHT} }, e = async () => { try { f(); ${CAUGHT}};
class G { async h() { try { i(); ${CAUGHT}} static async *j() { try { return k(); ${CAUGHT}} async #l() { m(); } n() { return o(); } }
const p = { async q() { try { r(); ${CAUGHT}}, s: async () => { try { return await (t()); ${CAUGHT} }, u: () => v() };
async function w() { x(); }
export function y() { return async () => z(); }`,
  );
});

Deno.test("awaitErrors() awaits what a function returns, where that may be a promise", () => {
  const returns = (value: string) => edit(`export async function a() { if (b) { return ${value}; } }`);
  const made = (value: string) => `export async function a() { try { if (b) { return ${value}; } ${CAUGHT}}`;
  for (const value of ["c()", "c ? d() : e", "c", "c ?? d()"]) {
    assertEquals(returns(value), made(`await (${value})`));
  }
  for (const value of ["1", "`c`", "[c]", "{ c }", "await c()", "new C()", "c + d", "async () => c()"]) {
    assertEquals(returns(value), made(value));
  }
  const nested = "c(() => { return d(); }, function () { return e(); })";
  assertEquals(returns(nested), made(`await (${nested})`));
});

Deno.test("a function that waits fails with what it is given, wherever it fails", async () => {
  const code = edit(`export const all = {
  async thrown() { throw new Error("thrown"); },
  async returned() { return Promise.reject(new Error("returned")); },
  async awaited() { await Promise.reject(new Error("awaited")); },
  async *yielded() { yield 1; throw new Error("yielded"); },
  async fine() { return 3; },
};`);
  const text = `const wait = async (error) => { error.message += " and completed"; return error; };\n${code}`;
  const { all } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  const failureOf = async (body: () => Promise<unknown>) => {
    return await body().catch((error: Error) => error.message);
  };
  for (const name of ["thrown", "returned", "awaited"]) {
    assertEquals(await failureOf(all[name]), `${name} and completed`);
  }
  const values: number[] = [];
  const read = async () => {
    for await (const value of all.yielded()) values.push(value);
  };
  assertEquals([await failureOf(read), values], ["yielded and completed", [1]]);
  assertEquals(await all.fine(), 3);
});

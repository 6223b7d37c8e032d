/**
 * Commands whose disk is full: a sentence, exit code 1, and nothing half written.
 * @module
 */
import { existsSync } from "node:fs";
import { assertEquals } from "@std/assert";
import { main } from "../../cli/main.ts";
import { host } from "../../io/_node.ts";
import { SWEEPS } from "../../jobs/sweep/protocol.ts";
import { withFolder } from "../peft/tiny_model.ts";

const root = new URL("../../", import.meta.url).pathname;
const MODEL = `${root}examples/demo/model`;
const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;

/** Exit code of a command line, and what it said on stderr. */
async function run(...args: string[]): Promise<[code: number, error: string]> {
  const { log, error } = console;
  const lines: string[] = [];
  console.log = () => {};
  console.error = (line = "") => void lines.push(String(line));
  try {
    return [await main(args), lines.join("\n")];
  } finally {
    Object.assign(console, { log, error });
  }
}

/** Runs something while files opened by the library take no byte. */
async function withoutRoom<T>(work: () => Promise<T>): Promise<T> {
  const shared = await host();
  const real = shared.fs;
  const write = () => Promise.reject(Object.assign(new Error("ENOSPC: write"), { code: "ENOSPC" }));
  const open: typeof real.open = async (...args) => {
    const handle = await real.open(...args);
    return new Proxy(handle, {
      get(target, name) {
        const value = name === "write" ? write : Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  shared.fs = new Proxy(real, { get: (target, name) => name === "open" ? open : Reflect.get(target, name) });
  try {
    return await work();
  } finally {
    shared.fs = real;
  }
}

Deno.test({
  name: "tokenize and sweep say that no space is left on the disk",
  ignore: !existsSync("/dev/full"),
  fn: () =>
    withFolder(async (folder) => {
      const output = `${folder}/tokens.jsonl`;
      const tokens = await withoutRoom(() =>
        run("tokenize", "--model", MODEL, "--data", DATA, "--output", output)
      );
      assertEquals(tokens, [
        1,
        `error: Cannot write "${output}": no space is left on the disk (after 0 bytes)`,
      ]);
      assertEquals([...Deno.readDirSync(folder)], []);

      const records = `${folder}/best/sweep_state/${SWEEPS}/records`;
      await Deno.mkdir(records, { recursive: true });
      await Deno.symlink("/dev/full", `${records}/full.part`);
      const finetune = { model: MODEL, data: DATA, "max-steps": 1 };
      const file = `${folder}/full.json`;
      const parameters = { lr: { values: [1e-3] } };
      await Deno.writeTextFile(file, JSON.stringify({ method: "grid", finetune, parameters }));
      assertEquals(await run("sweep", "--file", file, "--output", `${folder}/best`), [
        1,
        "error: Cannot go on: no space is left on the disk",
      ]);
    }),
});

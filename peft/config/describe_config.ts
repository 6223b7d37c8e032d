/**
 * What an adapter configuration says, as lines for a reader: the same form for every method.
 * @module
 */

import { keyOf, namesOf } from "../../options/table.ts";
import { MethodConfig } from "./method_config.ts";
import type { PeftConfig } from "./peft_config.ts";

/** Lists of names and numbers with commas between, text as it is, everything else as JSON. */
function show(value: unknown): string {
  if (typeof value === "string") return value;
  const plain = Array.isArray(value) && value.every((item) => ["string", "number"].includes(typeof item));
  return plain ? value.join(", ") : JSON.stringify(value);
}

/**
 * What a configuration says, for a reader: `["method", "LoRA"]`, then its sizes, the variants it asks for, and the modules
 * it is on, labelled as in `adapter_config.json`: `["r", "8"]`, `["target_modules", "c_attn, c_fc"]`.
 *
 * ```ts
 * import { describeConfig, LoraConfig } from "@peft/webgpu";
 * for (const [label, value] of describeConfig(new LoraConfig({ r: 8 }))) console.log(label.padEnd(16), value);
 * ```
 * @returns label and value of each line; no value is empty
 */
export function describeConfig(config: PeftConfig): [label: string, value: string][] {
  if (!(config instanceof MethodConfig)) return [["method", config.peftType]];
  const { title, options } = config.table;
  const fields = config as unknown as Readonly<Record<string, unknown>>;
  const names = namesOf(options) as string[];
  const rows = options as unknown as Readonly<Record<string, { inSummary?: string; default: unknown }>>;
  const isGiven = (name: string) => fields[name] !== null && fields[name] !== undefined;
  const isChanged = (name: string) => JSON.stringify(fields[name]) !== JSON.stringify(rows[name].default);
  const chosen = [
    ...names.filter((name) => rows[name].inSummary === "always" && isGiven(name)),
    ...names.filter((name) => rows[name].inSummary === "changed" && isGiven(name) && isChanged(name)),
  ];
  return [
    ["method", title],
    ...chosen.map((name): [string, string] => [keyOf(options, name as never), show(fields[name])]),
  ];
}

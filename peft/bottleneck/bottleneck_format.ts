/**
 * AdapterHub's adapter folders (`adapters` 1.x): `adapter_config.json`, and `adapter.safetensors`, whose keys carry the
 * adapter's name: `transformer.h.0.output_adapters.adapters.NAME.…`.
 * @module
 */

import type { PeftConfig } from "../config/peft_config.ts";
import { ADAPTER_HUB_FILE, type AdapterFormat, KEY_PREFIX } from "../methods/adapter_format.ts";
import type { BottleneckConfig } from "./bottleneck_config.ts";

/** Where adapters sit: the part of a block here, and the name of their list in AdapterHub's tree. */
const PLACES = [
  ["attn", "attention_adapters"],
  ["self_attn", "attention_adapters"],
  ["mlp", "output_adapters"],
] as const;

/** What AdapterHub leaves out before the blocks of a model without a head, by the name of their list. */
const ROOTS: Readonly<Record<string, string>> = { h: "transformer.", layers: "model." };

function toDisk(key: string, adapterName: string): string {
  const path = key.startsWith(KEY_PREFIX) ? key.slice(KEY_PREFIX.length) : key;
  for (const [part, list] of PLACES) {
    const at = path.indexOf(`.${part}.`);
    if (at >= 0) {
      return `${path.slice(0, at)}.${list}.adapters.${adapterName}.${path.slice(at + part.length + 2)}`;
    }
  }
  return path;
}

function fromDisk(key: string, config: PeftConfig): string {
  const { savedName = "" } = (config as BottleneckConfig).origin ?? {};
  const [, root = "", blocks] = /^(.*?)(h|layers)\.\d+\./.exec(key) ?? [];
  const attention = blocks === "layers" ? "self_attn" : "attn";
  for (const [part, list] of PLACES) {
    const mark = `.${list}.adapters.${savedName}.`;
    const at = key.indexOf(mark);
    if (at < 0 || (part !== "mlp" && part !== attention)) continue;
    // AdapterHub writes "h.0.…" for a model without a head, "transformer.h.0.…" with one
    const path = root === "" && blocks ? ROOTS[blocks] + key.slice(0, at) : key.slice(0, at);
    return `${KEY_PREFIX}${path}.${part}.${key.slice(at + mark.length)}`;
  }
  return key;
}

/** AdapterHub's layout. */
export const hubFormat: AdapterFormat = {
  weightsFile: ADAPTER_HUB_FILE,
  metadata: undefined,
  pickleFile: "pytorch_adapter.bin",
  library: "adapters",
  configOf: (config, adapterName) => (config as BottleneckConfig).toJSON(adapterName),
  toDisk,
  fromDisk,
};

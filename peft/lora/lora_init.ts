/**
 * How a LoRA adapter of a linear layer starts: A uniform and B 0, or by a name.
 * @module
 */

import { isNamedInit, type LoraInit } from "./lora_config.ts";
import { type LoraSite, type LoraStart, uniformA, zeroB } from "./lora_site.ts";
import { namedStart } from "./named_starts.ts";

/** The start of an adapter of a linear layer. @throws {RangeError} if the rank does not fit the layer */
export function loraStart(value: LoraInit, site: LoraSite): LoraStart {
  if (isNamedInit(value)) return namedStart(value, site);
  const B = value ? zeroB(site) : site.init.uniform([site.outFeatures, site.rank], 1 / Math.sqrt(site.rank));
  return { A: uniformA(site), B };
}

/**
 * Limits below WebGPU's defaults. A device never gets less than the defaults, so a smaller limit is kept here:
 * everything that plans work by limits then plans it as on a weaker adapter.
 * @module
 */

/** `limits`, each at most what `wanted` says. */
export function narrowLimits(
  limits: GPUSupportedLimits,
  wanted: Readonly<Partial<Record<string, number>>> = {},
): GPUSupportedLimits {
  const names = Object.keys(wanted).filter((name) => wanted[name] !== undefined);
  if (names.length === 0) return limits;
  return new Proxy(limits, {
    get(target, name) {
      const value = Reflect.get(target, name, target); // the getters accept only the real object
      const most = typeof name === "string" && names.includes(name) ? wanted[name] : undefined;
      return most === undefined ? value : Math.min(most, value);
    },
  });
}

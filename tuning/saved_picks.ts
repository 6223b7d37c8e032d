/**
 * The kernels picked for a device as JSON text, and back. A text names the adapter, driver and library that it holds
 * for.
 * @module
 */
import { KernelPicks, picksOf, setPicks } from "../autograd/picks.ts";
import { VERSION } from "../autograd/version.ts";
import { driverFacts } from "../gpu/driver_facts.ts";
import type { Device } from "../gpu/mod.ts";
import { checkAttentionChoice, checkMatmulTile } from "./check_picks.ts";

const FORMAT = "peft-webgpu tuning";

/** What results are valid for. */
interface TuningOrigin {
  readonly adapter: string;
  readonly driver: string;
  readonly library: string;
}

const originOf = (device: Device): TuningOrigin => ({
  adapter: device.adapterName,
  driver: driverFacts(device),
  library: VERSION,
});

/**
 * The picks of a device as JSON text for `loadTuning`, with the adapter, driver and library they hold for.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { saveTuning } from "@peft/webgpu/tuning";
 *
 * console.log(JSON.parse(saveTuning(await initDevice())).adapter); // the picks hold for this adapter alone
 * ```
 */
export function saveTuning(device: Device): string {
  const picks = picksOf(device)?.picks ?? {};
  return JSON.stringify({ format: FORMAT, ...originOf(device), picks }, null, 2) + "\n";
}

/**
 * What `loadTuning` did.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { loadTuning, saveTuning, type TuningLoad } from "@peft/webgpu/tuning";
 *
 * const device = await initDevice();
 * const { picks, ignored }: TuningLoad = loadTuning(device, saveTuning(device));
 * console.log(ignored ?? `${picks} picks in use`);
 * ```
 */
export interface TuningLoad {
  /** Picks in use now. */
  readonly picks: number;
  /** Why the text was not used; null if it was. */
  readonly ignored: string | null;
}

/**
 * Gives a device the picks in a text that `saveTuning` made, in place of those it has. A text for another adapter,
 * driver or version of the library is ignored; so is a broken one, with a warning: the fixed tables serve then. The
 * same text gives the same bits on every run; results may differ in rounding from those under another text or none.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { loadTuning, readTuning } from "@peft/webgpu/tuning";
 *
 * const device = await initDevice();
 * const { picks, ignored } = loadTuning(device, await readTuning(device.adapterName));
 * console.log(picks, ignored); // 0, and why, where nothing was tuned yet
 * ```
 * @param json the text; null and undefined (no file yet) are ignored silently
 */
export function loadTuning(device: Device, json: string | null | undefined): TuningLoad {
  if (json === null || json === undefined) return { picks: 0, ignored: "there are no results yet" };
  let loaded: KernelPicks;
  try {
    const file = parse(json);
    const own = originOf(device);
    for (const name of ["adapter", "driver", "library"] as const) {
      if (file[name] !== own[name]) {
        return { picks: 0, ignored: `results are for ${name} "${file[name]}", this is "${own[name]}"` };
      }
    }
    loaded = toPicks(file.picks, device.profile.subgroupSize);
  } catch (error) {
    const ignored = `Cannot use the tuning results: ${
      (error as Error).message
    }; delete them, or make others with ./run tune`;
    console.warn(ignored);
    return { picks: 0, ignored };
  }
  setPicks(device, loaded);
  return { picks: Object.keys(loaded.picks).length, ignored: null };
}

function parse(json: string): TuningOrigin & { readonly picks: Readonly<Record<string, unknown>> } {
  const file = JSON.parse(json) as Partial<Record<string, unknown>> | null;
  if (typeof file !== "object" || file === null || file.format !== FORMAT) {
    throw new TypeError(`a text with "format": "${FORMAT}" is required`);
  }
  const { adapter, driver, library, picks } = file;
  for (const [name, value] of Object.entries({ adapter, driver, library })) {
    if (typeof value !== "string") {
      throw new TypeError(`"${name}" must be a string, received ${JSON.stringify(value)}`);
    }
  }
  if (typeof picks !== "object" || picks === null || Array.isArray(picks)) {
    throw new TypeError(`"picks" must be an object, received ${JSON.stringify(picks)}`);
  }
  return file as unknown as TuningOrigin & { readonly picks: Readonly<Record<string, unknown>> };
}

function toPicks(picks: Readonly<Record<string, unknown>>, subgroupSize: number): KernelPicks {
  const loaded = new KernelPicks();
  for (const [shapeClass, pick] of Object.entries(picks)) {
    if (shapeClass.startsWith("matmul ")) {
      loaded.pickMatmul(shapeClass, checkMatmulTile(shapeClass, pick, subgroupSize));
    } else if (shapeClass.startsWith("attention ")) {
      loaded.pickAttention(shapeClass, checkAttentionChoice(shapeClass, pick, subgroupSize));
    } else throw new TypeError(`"${shapeClass}" is no class of shapes`);
  }
  return loaded;
}

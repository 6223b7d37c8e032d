/**
 * Kernels picked by measurement, one set a device: `launchMatmul` and attention ask here before they ask the fixed
 * tables (kernels/matmul_select.ts, `selectAttention`). Picks come from `tuneKernels` or from a saved text; looking one
 * up measures nothing, so that the same picks give the same bits. Another pick may round differently.
 * @module
 */
import { driverFacts } from "../gpu/driver_facts.ts";
import type { Device } from "../gpu/mod.ts";
import type { AttentionChoice } from "../kernels/attention.ts";
import type { MatmulShape, MatmulTile } from "../kernels/matmul.ts";
import { checkAttentionChoice, checkMatmulTile } from "./tuning_check.ts";
import { VERSION } from "./version.ts";

const FORMAT = "peft-webgpu tuning";

const bucket = (size: number) => Math.floor(Math.log2(Math.max(1, size)));

/**
 * The class of a product: layout, storage of b, the powers of two below M, N and K, and whether rows fall on four
 * neighbours. `matmul nn f32 M9 N11 K9` is 512 to 1,023 rows of 2,048 to 4,095 columns.
 */
export function matmulClass({ layout, M, N, K, weight = "f32" }: MatmulShape): string {
  const odd = N % 4 === 0 && K % 4 === 0 ? "" : " odd";
  return `matmul ${layout} ${weight} M${bucket(M)} N${bucket(N)} K${bucket(K)}${odd}`;
}

/** The class of an attention: channels of a head and the power of two below the number of queries. */
export function attentionClass(Tq: number, headSize: number): string {
  return `attention D${headSize} Tq${bucket(Tq)}`;
}

/** The picks of one device. */
export class Tuning {
  readonly #tiles = new Map<string, MatmulTile>();
  readonly #choices = new Map<string, AttentionChoice>();

  /** The tile picked for a product's class; batched products have none. */
  matmul(shape: MatmulShape): MatmulTile | undefined {
    if (this.#tiles.size === 0 || shape.batch !== 1) return undefined;
    return this.#tiles.get(matmulClass(shape));
  }

  /** The division of work picked for an attention's class. */
  attention(Tq: number, headSize: number): AttentionChoice | undefined {
    return this.#choices.size === 0 ? undefined : this.#choices.get(attentionClass(Tq, headSize));
  }

  /** Keeps the tile for a class that `matmulClass` gave. */
  pickMatmul(shapeClass: string, tile: MatmulTile): void {
    this.#tiles.set(shapeClass, tile);
  }

  /** Keeps the division of work for a class that `attentionClass` gave. */
  pickAttention(shapeClass: string, choice: AttentionChoice): void {
    this.#choices.set(shapeClass, choice);
  }

  /** Every pick by its class. */
  get picks(): Record<string, MatmulTile | AttentionChoice> {
    return Object.fromEntries([...this.#tiles, ...this.#choices]);
  }
}

const tunings = new WeakMap<object, Tuning>();

/** The picks of a device, if it has any. */
export function tuningOf(device: object): Tuning | undefined {
  return tunings.get(device);
}

/** Gives a device its picks, or none (`null`: the fixed tables serve). */
export function setTuning(device: Device, tuning: Tuning | null): void {
  if (tuning) tunings.set(device, tuning);
  else tunings.delete(device);
}

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

/** The picks of a device as JSON text for `loadTuning`, with the adapter, driver and library they hold for. */
export function saveTuning(device: Device): string {
  const picks = tuningOf(device)?.picks ?? {};
  return JSON.stringify({ format: FORMAT, ...originOf(device), picks }, null, 2) + "\n";
}

/** What `loadTuning` did. */
export interface TuningLoad {
  /** Picks in use now. */
  readonly picks: number;
  /** Why the text was not used; null if it was. */
  readonly ignored: string | null;
}

/**
 * Gives a device the picks in a text that `saveTuning` made, in place of those it has. A text for another adapter,
 * driver or version of the library is ignored; a broken one too, with a warning: the fixed tables serve then. The same
 * text gives the same bits on every run; results may differ in rounding from those under another text or none.
 * @param json the text; null and undefined (no file yet) are ignored without a word
 */
export function loadTuning(device: Device, json: string | null | undefined): TuningLoad {
  if (json === null || json === undefined) return { picks: 0, ignored: "there are no results yet" };
  let tuning: Tuning;
  try {
    const file = parse(json);
    const own = originOf(device);
    for (const name of ["adapter", "driver", "library"] as const) {
      if (file[name] !== own[name]) {
        return { picks: 0, ignored: `results are for ${name} "${file[name]}", this is "${own[name]}"` };
      }
    }
    tuning = toTuning(file.picks);
  } catch (error) {
    const ignored = `Cannot use the tuning results: ${
      (error as Error).message
    }; delete them or run deno task tune`;
    console.warn(ignored);
    return { picks: 0, ignored };
  }
  setTuning(device, tuning);
  return { picks: Object.keys(tuning.picks).length, ignored: null };
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

function toTuning(picks: Readonly<Record<string, unknown>>): Tuning {
  const tuning = new Tuning();
  for (const [shapeClass, pick] of Object.entries(picks)) {
    if (shapeClass.startsWith("matmul ")) {
      tuning.pickMatmul(shapeClass, checkMatmulTile(shapeClass, pick));
    } else if (shapeClass.startsWith("attention ")) {
      tuning.pickAttention(shapeClass, checkAttentionChoice(shapeClass, pick));
    } else throw new TypeError(`"${shapeClass}" is no class of shapes`);
  }
  return tuning;
}

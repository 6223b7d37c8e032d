/**
 * Kernels picked by measurement, one set per device: `launchMatmul` and attention ask here before they ask the fixed
 * tables (kernels/matmul_select.ts, `selectAttention`). `tuning/` fills it, by timing or from a saved text; looking a
 * pick up measures nothing, so the same picks give the same bits. Another pick may round differently.
 * @module
 */
import type { AttentionChoice } from "../kernels/attention.ts";
import type { MatmulShape, MatmulTile } from "../kernels/matmul.ts";

const bucket = (size: number) => Math.floor(Math.log2(Math.max(1, size)));

/**
 * The class of a product: layout, storage of b, the powers of two below M, N and K, and whether rows fall on four
 * neighbours. `matmul nn f32 M9 N11 K9` is 512 to 1,023 rows of 2,048 to 4,095 columns.
 */
export function matmulClass({ layout, M, N, K, weight = "f32" }: MatmulShape): string {
  const odd = N % 4 === 0 && K % 4 === 0 ? "" : " odd";
  return `matmul ${layout} ${weight} M${bucket(M)} N${bucket(N)} K${bucket(K)}${odd}`;
}

/** An attention, as far as its kernels depend on it. */
export interface AttentionShape {
  /** Queries. */
  readonly Tq: number;
  /** Keys. */
  readonly Tk: number;
  /** Heads of the queries. */
  readonly heads: number;
  /** Heads of keys and values. */
  readonly keyValueHeads: number;
  /** Channels of a head. */
  readonly headSize: number;
  /** Keys that a query sees; null where it sees all before it. */
  readonly window: number | null;
}

/**
 * The class of an attention: channels of a head, the power of two below the number of queries, query heads that share
 * one of keys and values, and whether there is a window. `attention D64 Tq8 G3` is 256 to 511 queries, three to a head.
 */
export function attentionClass({ Tq, heads, keyValueHeads, headSize, window }: AttentionShape): string {
  const group = heads / keyValueHeads;
  return `attention D${headSize} Tq${bucket(Tq)}${group > 1 ? ` G${group}` : ""}${
    window === null ? "" : " window"
  }`;
}

/** The picks of one device. */
export class KernelPicks {
  readonly #tiles = new Map<string, MatmulTile>();
  readonly #choices = new Map<string, AttentionChoice>();

  /** The tile picked for a product's class; batched products have none. */
  matmul(shape: MatmulShape): MatmulTile | undefined {
    if (this.#tiles.size === 0 || shape.batch !== 1) return undefined;
    return this.#tiles.get(matmulClass(shape));
  }

  /** The division of work picked for an attention's class. */
  attention(shape: AttentionShape): AttentionChoice | undefined {
    return this.#choices.size === 0 ? undefined : this.#choices.get(attentionClass(shape));
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

const picksByDevice = new WeakMap<object, KernelPicks>();

/** The picks of a device, if it has any. */
export function picksOf(device: object): KernelPicks | undefined {
  return picksByDevice.get(device);
}

/** Gives a device its picks, or none (`null`: the fixed tables serve). */
export function setPicks(device: object, picks: KernelPicks | null): void {
  if (picks) picksByDevice.set(device, picks);
  else picksByDevice.delete(device);
}

/** A product or an attention whose kernel was chosen. */
export type ChosenShape =
  | { readonly kind: "matmul"; readonly shape: MatmulShape }
  | { readonly kind: "attention"; readonly shape: AttentionShape };

let observer: { readonly device: object; note(chosen: ChosenShape): void } | null = null;

/** @internal Tells the running `observeChoices` of a choice; `note` makes what it is told. */
export function noteChoice(device: object, note: () => ChosenShape): void {
  if (observer !== null && observer.device === device) observer.note(note());
}

/**
 * Calls `note` for every product and attention that is launched on a device until `body` is done, before its kernel is
 * chosen; captured steps that are replayed launch without a choice.
 * @throws {TypeError} inside another `observeChoices`
 */
export async function observeChoices(
  device: object,
  note: (chosen: ChosenShape) => void,
  body: () => unknown,
): Promise<void> {
  if (observer !== null) throw new TypeError("Cannot record shapes: another recording must end first");
  observer = { device, note };
  try {
    await body();
  } finally {
    observer = null;
  }
}

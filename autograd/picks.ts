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

/** The class of an attention: channels of a head and the power of two below the number of queries. */
export function attentionClass(Tq: number, headSize: number): string {
  return `attention D${headSize} Tq${bucket(Tq)}`;
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

/**
 * Byte-pair encoding over bytes (Sennrich et al. 2016; GPT-2's byte-level form, Radford et al. 2019). Byte strings are
 * JavaScript strings with one character from U+0000 to U+00FF per byte, so that they can be Map keys.
 *
 * @module
 */

const encoder = new TextEncoder();

/** The UTF-8 bytes of a text as a byte string. */
export function byteString(text: string): string {
  let out = "";
  for (const byte of encoder.encode(text)) out += String.fromCharCode(byte);
  return out;
}

/** A merge's key in the queue is its rank times this, plus its place: the least key is the next merge. */
const PLACES = 2 ** 32;

/** A binary heap of numbers: the least comes out first. */
class LeastFirst {
  #keys: number[] = [];

  push(key: number): void {
    const keys = this.#keys;
    let at = keys.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    const keys = this.#keys;
    const least = keys[0];
    const key = keys.pop();
    if (key === undefined || keys.length === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= keys.length) break;
      if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= key) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = key;
    return least;
  }
}

/**
 * Merges the bytes of a piece pair by pair, always the pair of the lowest rank, the leftmost first, until no pair of
 * neighbours is a token. Takes O(n log n) steps for n bytes, so that one very long word does not hang.
 *
 * @param piece byte string.
 * @param ranks byte string of each token to its rank.
 * @param below only tokens of a lower rank are made.
 * @returns the parts, as byte strings.
 */
export function mergeBytes(
  piece: string,
  ranks: ReadonlyMap<string, number>,
  below: number = Infinity,
): string[] {
  const size = piece.length;
  // Parts are named by their first byte; next[i] is the part after it, or the end of the piece.
  const next = Array.from({ length: size }, (_, i) => i + 1);
  const previous = Array.from({ length: size }, (_, i) => i - 1);
  /** Rank of the token that part i makes with the part after it; -1: none, or the part is gone. */
  const pairRank = new Array<number>(size).fill(-1);
  const queue = new LeastFirst();
  const look = (i: number): void => {
    const second = next[i]!;
    const rank = second < size ? ranks.get(piece.slice(i, next[second])) : undefined;
    pairRank[i] = rank === undefined || rank >= below ? -1 : rank;
    if (pairRank[i]! >= 0) queue.push(rank! * PLACES + i);
  };
  for (let i = 0; i + 1 < size; i++) look(i);
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    const i = key % PLACES;
    if (pairRank[i] !== (key - i) / PLACES) continue; // the pair has changed since it was queued
    const second = next[i]!;
    next[i] = next[second]!;
    if (next[i]! < size) previous[next[i]!] = i;
    pairRank[second] = -1;
    look(i);
    if (previous[i]! >= 0) look(previous[i]!);
  }
  const parts: string[] = [];
  for (let i = 0; i < size; i = next[i]!) parts.push(piece.slice(i, next[i]));
  return parts;
}

/** The printable character that stands for each byte in vocab.json, merges.txt and tokenizer.json. */
const BYTE_TO_CHAR: readonly string[] = (() => {
  // Source: bytes_to_unicode in openai/gpt-2 src/encoder.py: bytes that print stay, the others follow from U+0100.
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const prints = byte >= 0x21 && byte <= 0x7e || byte >= 0xa1 && byte <= 0xac || byte >= 0xae;
    return String.fromCharCode(prints ? byte : next++);
  });
})();

/** A byte string as it is written in vocab.json, merges.txt and tokenizer.json. */
export function printable(bytes: string): string {
  let out = "";
  for (let i = 0; i < bytes.length; i++) out += BYTE_TO_CHAR[bytes.charCodeAt(i)]!;
  return out;
}

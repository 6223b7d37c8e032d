/**
 * Hashes of bytes that arrive in pieces: by the host's own code where there is one, else by `@noble/hashes`.
 *
 * @module
 */
import { hasHost, host } from "./_node.ts";
import { chunksOf, type FileInput } from "./file_source.ts";
import { openFile } from "./open_file.ts";

/** A hash that is being computed. */
export interface Hasher {
  /** Adds bytes. */
  update(bytes: Uint8Array): Hasher;
  /** The hash as lower-case hex digits; nothing can be added after it. */
  digest(): string;
}

/** What computes it. */
async function implementation(
  name: "sha1" | "sha256",
): Promise<{ update(bytes: Uint8Array): unknown; digest(): Uint8Array }> {
  if (hasHost()) return (await host()).crypto.createHash(name);
  return name === "sha256"
    ? (await import("@noble/hashes/sha2.js")).sha256.create()
    : (await import("@noble/hashes/legacy.js")).sha1.create();
}

/** Starts a hash. */
export async function newHasher(name: "sha1" | "sha256"): Promise<Hasher> {
  const hash = await implementation(name);
  const hasher: Hasher = {
    update(bytes) {
      hash.update(bytes);
      return hasher;
    },
    digest: () => Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  };
  return hasher;
}

/** Bytes of a file that are hashed at once. */
const PIECE_BYTES = 4 * 2 ** 20;

/**
 * SHA-256 of a file, which is read in pieces and closed, as lower-case hex digits.
 * @param onProgress told how many bytes were read
 * @example
 * ```ts
 * import { sha256Of } from "@peft/webgpu/io";
 *
 * console.log(await sha256Of(new TextEncoder().encode("abc"))); // ba7816bf…
 * ```
 */
export async function sha256Of(input: FileInput, onProgress?: (bytes: number) => void): Promise<string> {
  const source = await openFile(input);
  try {
    const hash = await newHasher("sha256");
    let done = 0;
    for await (const piece of chunksOf(source, 0, source.size, PIECE_BYTES)) {
      hash.update(piece);
      onProgress?.(done += piece.length);
    }
    return hash.digest();
  } finally {
    await source.close();
  }
}

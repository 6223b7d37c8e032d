/**
 * An open file whose tensors are read one by one: what safetensors and GGUF files share.
 *
 * @module
 */
import { type Bytes, chunksOf, type FileSource } from "./file_source.ts";
import { quote } from "./relative_path.ts";

/**
 * Where a tensor's bytes lie in its file.
 *
 * @example
 * ```ts
 * import { type Placed, safetensors } from "@peft/webgpu/io";
 *
 * const byPlace = (a: Placed, b: Placed) => a.offset - b.offset; // so that a disk is read in one direction
 * await using file = await safetensors.open("examples/demo/model/model.safetensors");
 * const [first] = file.names().map((name) => file.info(name)).sort(byPlace);
 * console.log(first.byteLength);
 * ```
 */
export interface Placed {
  /** First byte. */
  readonly offset: number;
  /** Number of bytes. */
  readonly byteLength: number;
}

/**
 * An open file. Memory: its header, and what the caller reads.
 *
 * @example
 * ```ts
 * import { type Placed, safetensors, type TensorFile } from "@peft/webgpu/io";
 *
 * // the sum of a tensor's bytes; no more than 4 KiB of it are in memory
 * async function checksum(file: TensorFile<Placed>, name: string): Promise<number> {
 *   let sum = 0;
 *   for await (const piece of file.readChunks(name, 4096)) for (const byte of piece) sum += byte;
 *   return sum;
 * }
 * await using file = await safetensors.open("examples/demo/model/model.safetensors");
 * console.log(await checksum(file, "transformer.ln_f.weight"));
 * ```
 */
export class TensorFile<Info extends Placed> {
  readonly #source: FileSource;
  readonly #placed: ReadonlyMap<string, Info>;

  /** @internal Made by the functions that open a file and check its header. */
  constructor(source: FileSource, placed: ReadonlyMap<string, Info>) {
    this.#source = source;
    this.#placed = placed;
  }

  /** The path, or what messages call the bytes. */
  get name(): string {
    return this.#source.name;
  }

  /**
   * All bytes of a tensor.
   *
   * @throws {RangeError} when there is none of that name; an Error when the file became shorter.
   */
  async read(name: string): Promise<Bytes> {
    const { offset, byteLength } = this.placed(name);
    return await this.#source.read(offset, byteLength);
  }

  /**
   * The bytes of a tensor in order, in pieces of at most `maxBytes`; the last may be shorter.
   *
   * @param room may be used for the pieces: each is valid until the next is asked for.
   * @throws {RangeError} when there is no such tensor, or `maxBytes` is not a positive integer.
   */
  readChunks(name: string, maxBytes: number, room?: Bytes): AsyncIterableIterator<Bytes> {
    const { offset, byteLength } = this.placed(name);
    return chunksOf(this.#source, offset, byteLength, maxBytes, room);
  }

  /** Releases the file; later reads fail. */
  close(): Promise<void> {
    return this.#source.close();
  }

  /** Same as {@linkcode close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What the header says of a tensor. @throws {RangeError} when there is none of that name */
  protected placed(name: string): Info {
    const tensor = this.#placed.get(name);
    if (tensor) return tensor;
    throw new RangeError(
      `Cannot read tensor ${
        quote(name)
      }: ${this.#placed.size} other tensors are in ${this.name}, not this one`,
    );
  }
}

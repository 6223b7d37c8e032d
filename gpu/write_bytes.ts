/**
 * Host bytes into a buffer, whatever their number.
 * @module
 */

/**
 * Writes bytes at an offset (a multiple of 4). WebGPU takes multiples of 4 bytes: the rest is written as one more
 * word, filled up with zeros, for which every buffer of the pool has room.
 */
export function writeBytes(
  queue: GPUQueue,
  buffer: GPUBuffer,
  offset: number,
  bytes: Uint8Array<ArrayBuffer>,
): void {
  const tail = bytes.byteLength % 4;
  const whole = bytes.byteLength - tail;
  if (whole > 0) queue.writeBuffer(buffer, offset, tail === 0 ? bytes : bytes.subarray(0, whole));
  if (tail === 0) return;
  const word = new Uint8Array(4);
  word.set(bytes.subarray(whole));
  queue.writeBuffer(buffer, offset + whole, word);
}

/**
 * What a share of a step gives, as numbers and as the bytes that travel.
 * @module
 */

/** What a share gives: its part of the loss, of the objective's sums, and of each parameter's gradient. */
export interface ShareNumbers {
  readonly loss: number;
  readonly sums: Float32Array<ArrayBuffer>;
  /** In the parameters' order; null for one that has no gradient. */
  readonly gradients: readonly (Float32Array | null)[];
}

/** What the bytes of all shares of a run have in common. */
export interface ShareForm {
  /** Elements of each parameter. */
  readonly sizes: readonly number[];
  /** Numbers that the objective sums beside the loss. */
  readonly sumCount: number;
}

/** Bytes of a share up to its gradients: a byte for each that says whether it is there, filled up to four; loss and sums. */
const headBytes = ({ sizes, sumCount }: ShareForm) => 4 * (Math.ceil(sizes.length / 4) + 1 + sumCount);

/** Makes the bytes of a share but for its gradients. @param gradientBytes how many bytes those take, after the others */
export function packHead({ loss, sums, gradients }: ShareNumbers, gradientBytes: number): {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where gradients begin. */
  readonly at: number;
} {
  const at = headBytes({ sizes: gradients.map(() => 0), sumCount: sums.length });
  const bytes = new Uint8Array(at + gradientBytes);
  bytes.set(gradients.map((gradient) => Number(gradient !== null)));
  new Float32Array(bytes.buffer, at - 4 * (1 + sums.length), 1 + sums.length).set([loss, ...sums]);
  return { bytes, at };
}

/**
 * Reads what `packHead` made.
 * @param bytesOf how many bytes gradients of these sizes take
 * @returns loss and sums, which gradients are there, and their bytes, whose first one is aligned to four
 * @throws {TypeError} for bytes of another run
 */
export function unpackHead(
  bytes: Uint8Array,
  form: ShareForm,
  bytesOf: (sizes: readonly number[]) => number,
): Omit<ShareNumbers, "gradients"> & {
  readonly isThere: readonly boolean[];
  readonly rest: Uint8Array<ArrayBuffer>;
} {
  const { sizes, sumCount } = form;
  const at = headBytes(form);
  const isThere = sizes.map((_, i) => bytes[i] === 1);
  const wanted = at + bytesOf(sizes.filter((_, i) => isThere[i]));
  if (bytes.length !== wanted || sizes.some((_, i) => bytes[i] > 1)) {
    throw new TypeError(
      `Cannot read a share of gradients: ${wanted} bytes for the parameters of this run are required, received ${bytes.length}`,
    );
  }
  const [loss, ...sums] = new Float32Array(bytes.slice(at - 4 * (1 + sumCount), at).buffer);
  return { loss, sums: Float32Array.from(sums), isThere, rest: new Uint8Array(bytes.slice(at)) };
}

/** Bytes of a share with its gradients as float32. */
export function packShare(share: ShareNumbers): Uint8Array<ArrayBuffer> {
  const present = share.gradients.filter((gradient) => gradient !== null);
  const { bytes, at } = packHead(share, 4 * present.reduce((sum, { length }) => sum + length, 0));
  const numbers = new Float32Array(bytes.buffer, at);
  let from = 0;
  for (const gradient of present) {
    numbers.set(gradient, from);
    from += gradient.length;
  }
  return bytes;
}

/** Reads what `packShare` made. @throws {TypeError} for bytes of another run */
export function unpackShare(bytes: Uint8Array, form: ShareForm): ShareNumbers {
  const total = (sizes: readonly number[]) => 4 * sizes.reduce((sum, size) => sum + size, 0);
  const { loss, sums, isThere, rest } = unpackHead(bytes, form, total);
  const numbers = new Float32Array(rest.buffer);
  let at = 0;
  const gradients = form.sizes.map((size, i) => isThere[i] ? numbers.subarray(at, at += size) : null);
  return { loss, sums, gradients };
}

/** Adds `more` to `sum`, each sum rounded to float32 as the device does it. */
function addTo(sum: Float32Array, more: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += more[i];
}

/** The sum of shares, in their order. */
export function sumShares(shares: readonly ShareNumbers[]): ShareNumbers {
  const [first, ...rest] = shares;
  let { loss } = first;
  const sums = first.sums.slice();
  const gradients = first.gradients.map((gradient) => gradient && gradient.slice());
  for (const share of rest) {
    loss = Math.fround(loss + share.loss);
    addTo(sums, share.sums);
    share.gradients.forEach((gradient, i) => {
      if (gradient === null) return;
      const sum = gradients[i];
      if (sum === null) gradients[i] = gradient.slice();
      else addTo(sum, gradient);
    });
  }
  return { loss, sums, gradients };
}

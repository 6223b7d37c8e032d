/**
 * What a caller passes to a model, checked on the host before any GPU work.
 * @module
 */

import { type Device, showShape, Tensor } from "../autograd/mod.ts";
import { checkStepInput } from "../autograd/step_inputs.ts";
import { checkOptions } from "../options/names.ts";
import type { KVCache } from "./generation/kv_cache.ts";

/**
 * Rows of token ids on the host, or an int32 tensor [B, T].
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Tensor } from "@peft/webgpu";
 * import type { TokenIds } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const ids: TokenIds[] = [[[5, 6]], Tensor.from([[5, 6]], { dtype: "int32" })]; // on the host, on the device
 * console.log(ids.map((inputIds) => model.forward({ inputIds }).logits.shape)); // the same twice
 * ```
 */
export type TokenIds = readonly (readonly number[])[] | Tensor;

/**
 * 1 for tokens, 0 for padding: rows on the host, or a uint32 tensor [B, T].
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { AttentionMask } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const attentionMask: AttentionMask = [[1, 1, 1], [1, 1, 0]]; // the second row is padded
 * console.log(model.forward({ inputIds: [[5, 6, 7], [8, 9, 0]], attentionMask }).logits.shape); // [ 2, 3, 768 ]
 * ```
 */
export type AttentionMask = readonly (readonly number[])[] | Tensor;

/**
 * Arguments of a decoder's forward.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { DecoderInputs } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const packed: DecoderInputs = { inputIds: [[5, 6, 7, 8, 9]], sequenceIds: [[0, 0, 1, 1, 1]] }; // two texts in a row
 * console.log(model.transformer.forward(packed).hidden.shape); // [ 1, 5, 128 ]
 * ```
 */
export interface DecoderInputs {
  /** [B, T], 0..V-1. */
  inputIds?: TokenIds;
  /** [B, past + T], 1 for tokens and 0 for padding; default all tokens. */
  attentionMask?: AttentionMask;
  /** [B, T]; by default they count up from the cache's length, and padding counts too. */
  positionIds?: TokenIds;
  /**
   * [B, T]: which document of its row each token belongs to, any ids from 0, the tokens of one side by side. Documents
   * of a row do not see each other, and positions count from 0 in each unless `positionIds` are given. Without it,
   * `positionIds` that do not go up by one begin a document, as in transformers where there is no mask and no cache.
   * Labels are not changed: the first of each document should be -100. Not with a cache, a prefix or virtual tokens.
   */
  sequenceIds?: TokenIds;
  /** Keys and values of earlier tokens; extended in place. */
  pastKeyValues?: KVCache;
  /** Make a cache where none is given; default false. */
  useCache?: boolean;
  /** Embedded tokens [B, T, C] in place of ids. */
  inputsEmbeds?: Tensor;
  /** Virtual tokens [NV, C] before every row: outputs have NV positions more, which mask and labels do not cover. */
  promptEmbeds?: Tensor;
  /** Keys and values of virtual tokens before every row, [NV, 2 Hkv D] for each layer. */
  prefixKeyValues?: readonly Tensor[];
}

/**
 * Arguments of a language model's forward.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { CausalLMInputs } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const inputs: CausalLMInputs = { inputIds: [[5, 6, 7]], labels: [[-100, 6, 7]], logProbs: true };
 * const { logProbs } = model.forward(inputs);
 * console.log(await logProbs!.data()); // of 6 after 5, of 7 after 6, and 0
 * ```
 */
export interface CausalLMInputs extends DecoderInputs {
  /** [B, T]: the tokens to predict, -100 for none; shifted inside. */
  labels?: TokenIds;
  /**
   * Divides the summed loss in place of the number of labels: the labels of a whole accumulated batch. A float32 tensor of
   * one element where a captured step has another count each time.
   */
  numItemsInBatch?: number | Tensor;
  /** Give the log-probability of each label in place of their loss, see `CausalLMOutput.logProbs`; default false. */
  logProbs?: boolean;
  /** With `logProbs`, also the mean of the logits at each position that predicts a label; default false. */
  meanLogits?: boolean;
  /** @internal Positions that predict a label, int32 [1, n]: with the next two, what a captured step has of few labels. */
  readonly headRows?: Tensor;
  /** @internal Where each position is among them, int32 [1, count]; -1 for one that is not. */
  readonly headPlaces?: Tensor;
  /** @internal Their labels, int32 [1, n]. */
  readonly headTargets?: Tensor;
}

/** Names of a language model's inputs. */
const INPUT_NAMES = Object.keys(
  {
    inputIds: true,
    attentionMask: true,
    positionIds: true,
    sequenceIds: true,
    pastKeyValues: true,
    useCache: true,
    inputsEmbeds: true,
    promptEmbeds: true,
    prefixKeyValues: true,
    labels: true,
    numItemsInBatch: true,
    logProbs: true,
    meanLogits: true,
    headRows: true,
    headPlaces: true,
    headTargets: true,
  } satisfies Record<keyof CausalLMInputs, true>,
);

/** Refuses inputs that do not exist, such as `attention_mask`. @throws {TypeError} naming the one that was meant */
export function checkInputNames(inputs: CausalLMInputs): void {
  if (Array.isArray(inputs)) {
    throw new TypeError(
      "Cannot run the model: inputs by name are required, such as { inputIds }, received an array",
    );
  }
  checkOptions("run the model", inputs, INPUT_NAMES, "input");
}

/** Sizes of rows. @throws {TypeError} for anything else, if there are none, or they differ in length */
export function checkRows(
  name: string,
  rows: readonly (readonly number[])[],
): [batch: number, length: number] {
  if (!Array.isArray(rows) || !rows.every(Array.isArray)) {
    throw new TypeError(
      `Cannot use ${name}: rows of numbers such as [[1, 2]] are required, received ${
        JSON.stringify(rows)?.slice(0, 100)
      }`,
    );
  }
  if (rows.length === 0 || rows[0].length === 0) {
    throw new TypeError(
      `Cannot use ${name}: at least one row of at least one token is required, received none`,
    );
  }
  const length = rows[0].length;
  const ragged = rows.findIndex((row) => row.length !== length);
  if (ragged >= 0) {
    throw new TypeError(
      `Cannot use ${name}: rows must be equally long (pad them), received ${length} tokens in row 0 and ${
        rows[ragged].length
      } in row ${ragged}`,
    );
  }
  return [rows.length, length];
}

/** The values of an int32 tensor [B, T] as rows. */
export function rowsOf(values: Int32Array, length: number): number[][] {
  return Array.from(
    { length: values.length / length },
    (_, i) => [...values.subarray(i * length, (i + 1) * length)],
  );
}

/** Fails at the first value that is not an integer from 0 to `limit` - 1, or `allowed`. */
function checkRange(
  name: string,
  rows: readonly (readonly number[])[],
  limit: number,
  allowed?: number,
): void {
  rows.forEach((row, i) =>
    row.forEach((value, j) => {
      if ((!Number.isInteger(value) || value < 0 || value >= limit) && value !== allowed) {
        const also = allowed === undefined ? "" : ` or ${allowed}`;
        throw new RangeError(
          `Cannot use ${name}: integers from 0 to ${
            limit - 1
          }${also} are required, received ${value} at [${i}, ${j}]`,
        );
      }
    })
  );
}

/**
 * Rows as an int32 tensor [B, T]; of a tensor, a second handle.
 * @param allowed one value outside 0..limit-1 that may occur, such as the label -100
 */
export function toIdTensor(
  name: string,
  ids: TokenIds,
  limit: number,
  device: Device,
  allowed?: number,
): Tensor {
  if (ids instanceof Tensor) {
    if (ids.dtype !== "int32" || ids.shape.length !== 2 || ids.size === 0) {
      throw new TypeError(
        `Cannot use ${name}: an int32 tensor of shape [B, T] is required, received ${ids.dtype} ${
          showShape(ids.shape)
        }`,
      );
    }
    const length = ids.shape[1];
    checkStepInput(
      ids,
      `${name} ${limit} ${allowed}`,
      (values) => checkRange(name, rowsOf(values, length), limit, allowed),
    );
    return ids.alias();
  }
  const shape = checkRows(name, ids);
  checkRange(name, ids, limit, allowed);
  return Tensor.from(Int32Array.from(ids.flat()), { shape, device });
}

/** Fails unless `labels` have the shape of the ids, and at least one of them has a token before it that predicts it. */
export function checkLabels(labels: TokenIds, batch: number, length: number): void {
  const shape = labels instanceof Tensor ? labels.shape : checkRows("labels", labels);
  if (shape[0] !== batch || shape[1] !== length) {
    throw new TypeError(
      `Cannot use labels: the shape of inputIds [${batch}, ${length}] is required, received ${
        showShape(shape)
      }`,
    );
  }
  if (labels instanceof Tensor) {
    checkStepInput(labels, "labels", (values) => checkAnyLabel(rowsOf(values, length)));
  } else checkAnyLabel(labels);
}

function checkAnyLabel(labels: readonly (readonly number[])[]): void {
  if (labels.some((row) => row.some((label, t) => t > 0 && label !== -100))) return;
  throw new RangeError(
    "Cannot compute the loss: at least one label after the first of its row is required, all others being -100",
  );
}

/** Rows of the mask on the host, or null where every token counts. @throws {TypeError} for another shape */
export function toMaskRows(
  mask: readonly (readonly number[])[],
  batch: number,
  length: number,
): readonly (readonly number[])[] | null {
  const shape = checkRows("attentionMask", mask);
  if (shape[0] !== batch || shape[1] !== length) {
    throw new TypeError(
      `Cannot use attentionMask: shape [${batch}, ${length}] is required, received ${showShape(shape)}`,
    );
  }
  return mask.every((row) => row.every((value) => value !== 0)) ? null : mask;
}

/**
 * Documents of packed rows: several texts in one row that do not see each other. See kernels/documents.ts.
 * @module
 */

import { documentPositions, documentStarts } from "../../kernels/documents.ts";
import { sameShape, showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import type { Sizes } from "./_attention_launch.ts";

/**
 * Where the documents of each row begin, as attention takes it.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type Documents, documentsOf, Tensor } from "@peft/webgpu/tensor";
 *
 * const positions = Tensor.from([[0, 1, 0, 1, 2]], { dtype: "int32", device: await initDevice() });
 * const { starts, hides }: Documents = documentsOf(positions, { by: "positions", rows: 1 });
 * console.log(await starts.data(), hides); // [0, 0, 2, 2, 2] false
 * ```
 */
export interface Documents {
  /** uint32 [B, T]: the first position of each position's document; the highest bit hides a position as a key. */
  readonly starts: Tensor;
  /** Whether there was a mask: then `starts` holds it, and attention takes no other. */
  readonly hides: boolean;
}

/**
 * Options of `documentsOf`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { documentsOf, type DocumentsOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const ids = Tensor.from([[7, 7, 8, 0]], { dtype: "int32", device: await initDevice() });
 * const attentionMask = Tensor.from([[1, 1, 1, 0]], { dtype: "uint32" }); // the last token is padding
 * const options: DocumentsOptions = { by: "sequences", rows: 1, attentionMask };
 * console.log(documentsOf(ids, options).hides); // true
 * ```
 */
export interface DocumentsOptions {
  /**
   * What ids count: `positions` go up by one within a document, `sequences` stay the same. A document begins where they
   * do not.
   */
  readonly by: "positions" | "sequences";
  /** Rows, B. */
  readonly rows: number;
  /** int32 or uint32 [B, T]; 0 hides a key (padding). Default none. */
  readonly attentionMask?: Tensor | null;
}

/**
 * The documents of `rows` rows.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { documentsOf, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const sequenceIds = Tensor.from([[0, 0, 1, 1, 1]], { dtype: "int32" }); // two documents in a row
 * const documents = documentsOf(sequenceIds, { by: "sequences", rows: 1 });
 * console.log(Object.keys(documents));
 * ```
 * @param ids int32 [B, T], or [1, T] for all rows
 * @throws {TypeError} if a shape or dtype does not fit
 * @throws {RangeError} if a driver's loops are shorter than a row
 */
export function documentsOf(ids: Tensor, { by, rows, attentionMask = null }: DocumentsOptions): Documents {
  const [count, T] = ids.shape;
  if (ids.dtype !== "int32" || ids.shape.length !== 2 || count !== rows && count !== 1 || ids.size === 0) {
    throw new TypeError(
      `Cannot find documents: int32 ids [${rows}, T] or [1, T] are required, received ${ids.dtype} ${
        showShape(ids.shape)
      }`,
    );
  }
  const shape = [rows, T];
  if (
    attentionMask &&
    (!["int32", "uint32"].includes(attentionMask.dtype) || !sameShape(attentionMask.shape, shape))
  ) {
    throw new TypeError(
      `Cannot find documents: an int32 or uint32 mask ${
        showShape(shape)
      } is required, received ${attentionMask.dtype} ${showShape(attentionMask.shape)}`,
    );
  }
  const { device } = ids;
  if (T > device.profile.maxLoopIterations) {
    throw new RangeError(
      `Cannot find documents: rows of at most ${device.profile.maxLoopIterations} tokens are required on ${device.adapterName}, received ${T}`,
    );
  }
  const starts = empty(device, shape, "uint32");
  const buffers = { ids: ids.view, mask: (attentionMask ?? ids).view, starts: starts.view };
  device.dispatch(documentStarts, buffers, {
    tokens: rows * T,
    T,
    idCount: ids.size,
    step: by === "positions" ? 1 : 0,
    masked: attentionMask ? 1 : 0,
  });
  return { starts, hides: attentionMask !== null };
}

/** int32 [B, T]: how many tokens of its document come before each token. */
export function positionsInDocuments({ starts }: Documents): Tensor {
  const positions = empty(starts.device, starts.shape, "int32");
  const params = { tokens: starts.size, T: starts.shape[1] };
  starts.device.dispatch(documentPositions, { starts: starts.view, positions: positions.view }, params);
  return positions;
}

/** What attention to documents needs of its other operands. @throws {TypeError} or {RangeError} for others */
export function checkDocuments(
  { starts }: Documents,
  mask: Tensor | null,
  { B, Tq, Tk, past }: Pick<Sizes, "B" | "Tq" | "Tk" | "past">,
): void {
  if (mask) {
    throw new TypeError(
      "Cannot attend: the mask of documents is in them (documentsOf), received another one",
    );
  }
  if (past !== 0 || Tq !== Tk) {
    throw new RangeError(
      `Cannot attend to documents: as many keys as queries are required, received past ${past}, Tq ${Tq} and Tk ${Tk}`,
    );
  }
  if (starts.dtype !== "uint32" || !sameShape(starts.shape, [B, Tq])) {
    throw new TypeError(
      `Cannot attend: uint32 starts [${B}, ${Tq}] of documents are required, received ${starts.dtype} ${
        showShape(starts.shape)
      }`,
    );
  }
}

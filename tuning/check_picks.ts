/**
 * Checks picks that come from a file before a kernel is made of them.
 * @module
 */
import type { AttentionChoice } from "../kernels/attention.ts";
import type { MatmulTile } from "../kernels/matmul.ts";

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(where: string, value: unknown): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new TypeError(`the pick of "${where}" must be an object, received ${JSON.stringify(value)}`);
}

function oneOf<T>(where: string, fields: Fields, name: string, allowed: readonly T[]): T {
  const value = fields[name] as T;
  if (allowed.includes(value)) return value;
  throw new RangeError(
    `"${name}" of "${where}" must be one of ${allowed.join(", ")}, received ${JSON.stringify(value)}`,
  );
}

const POWERS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Results of a thread in the largest tile of any table. */
const MOST_RESULTS = 512;

/**
 * A tile of the matrix product family.
 * @param subgroupSize threads of the device's subgroups, 0 for none
 * @throws {TypeError | RangeError} if a field does not fit
 */
export function checkMatmulTile(where: string, value: unknown, subgroupSize = 0): MatmulTile {
  const fields = fieldsOf(where, value);
  const variant = oneOf(where, fields, "variant", ["register", "shared"] as const);
  const shared = variant === "shared";
  const tile = {
    variant,
    tileM: oneOf(where, fields, "tileM", shared ? [4, 8] : [1, 2, 3, 4, 8, 16, 32, 64]),
    tileN: oneOf(where, fields, "tileN", shared ? [4, 8] : [4, 8, 16, 32, 64, 128]),
    lanesM: oneOf(where, fields, "lanesM", POWERS),
    lanesN: oneOf(where, fields, "lanesN", POWERS),
    lanesK: oneOf(where, fields, "lanesK", shared ? [1] : POWERS),
    tileK: oneOf(where, fields, "tileK", [4, 8, 16, 32, 64]),
    ...(fields.ahead === undefined ? {} : { ahead: oneOf(where, fields, "ahead", [true, false]) }),
    ...(fields.scalar === undefined ? {} : { scalar: oneOf(where, fields, "scalar", [true, false]) }),
    ...(fields.nativeHalf === undefined
      ? {}
      : { nativeHalf: oneOf(where, fields, "nativeHalf", [true, false]) }),
    ...(fields.broadcast === undefined
      ? {}
      : { broadcast: oneOf(where, fields, "broadcast", [true, false]) }),
  };
  if (tile.tileM * tile.tileN > MOST_RESULTS) {
    throw new RangeError(
      `"${where}" must have at most ${MOST_RESULTS} results per thread, received ${tile.tileM * tile.tileN}`,
    );
  }
  const threads = tile.lanesM * tile.lanesN * tile.lanesK;
  const split = tile.lanesK > 1 && threads !== tile.lanesK; // a subgroup adds up one tile
  if (tile.broadcast && (shared || split || threads !== subgroupSize)) {
    throw new RangeError(
      `"${where}" with "broadcast" must have the ${subgroupSize} threads of a subgroup, received ${threads}`,
    );
  }
  if (threads > 256) {
    throw new RangeError(`"${where}" must have at most 256 threads per workgroup, received ${threads}`);
  }
  return tile;
}

/**
 * A choice of the attention family.
 * @param subgroupSize threads of the device's subgroups, 0 for none
 * @throws {TypeError | RangeError} if a field does not fit
 */
export function checkAttentionChoice(where: string, value: unknown, subgroupSize = 0): AttentionChoice {
  const fields = fieldsOf(where, value);
  const variant = oneOf(where, fields, "variant", ["tile", "registers", "subgroup"] as const);
  const rows = fieldsOf(where, fields.rows);
  const allowed = { tile: [1, 8], registers: [1, 2, 4], subgroup: [8, 16] }[variant];
  return {
    variant,
    rows: {
      forward: oneOf(where, rows, "forward", allowed),
      backwardQuery: oneOf(where, rows, "backwardQuery", allowed),
      backwardKeyValue: oneOf(where, rows, "backwardKeyValue", allowed),
    },
    WORKGROUP_SIZE: oneOf(where, fields, "WORKGROUP_SIZE", variant === "subgroup" ? [subgroupSize] : POWERS),
  };
}

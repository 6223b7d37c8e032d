/**
 * How texts from a broker are checked before they are believed, and forms that several kinds of them have.
 * @module
 */

import * as v from "valibot";
import { isSafeRelativePath } from "@peft/webgpu/io";

/** An integer from 0. */
export const Whole = v.pipe(v.number(), v.integer(), v.minValue(0));
/** A short text. */
export const Text = v.pipe(v.string(), v.maxLength(1000));
/** A hash in hex digits. */
export const Sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const FileName = v.pipe(v.string(), v.check(isSafeRelativePath, "a relative path is required"));

const DataFile = v.strictObject({ path: FileName, size: Whole, sha256: Sha256 });
/** An entry of `--data`: a file, or a folder with files. */
export const DataEntry = v.strictObject({ path: FileName, files: v.array(DataFile) });
/** {@linkcode DataEntry} */
export type DataEntry = v.InferOutput<typeof DataEntry>;

/** A reader of texts of a form. */
export function reader<T>(kind: string, form: v.GenericSchema<unknown, T>): (text: string) => T {
  return (text) => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch { /* undefined is refused below */ }
    const { success, output, issues } = v.safeParse(form, value);
    if (success) return output;
    const [issue] = issues;
    const place = v.getDotPath(issue);
    throw new TypeError(
      `Cannot read ${kind}: ${place ? `"${place}": ` : ""}${
        issue.expected ?? issue.message
      } is required, received ${issue.received.slice(0, 100)}`,
    );
  };
}

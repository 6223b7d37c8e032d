/**
 * What a file is whose first bytes are a text where numbers should be: servers and Git put such texts in a file's place.
 *
 * @module
 */
import { quote } from "./relative_path.ts";

/**
 * What a text is that begins so; undefined for bytes that are no text.
 *
 * @param start the first bytes of a file; the first eight are looked at.
 */
export function foreignText(start: Uint8Array): string | undefined {
  const text = new TextDecoder("latin1").decode(start.subarray(0, 8));
  if (/[^\t\n\r -~]/.test(text)) return undefined;
  if (/^\s*</.test(text)) return "a web page (HTML)";
  if (text === "version ") return "the pointer that Git LFS leaves in a file's place; fetch the file itself";
  return `a text that begins with ${quote(text)}`;
}

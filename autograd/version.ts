/**
 * The library's version, for files that are valid for one version only.
 * @module
 */

/**
 * The version in deno.json.
 *
 * @example
 * ```ts
 * import { VERSION } from "@peft/webgpu";
 *
 * console.log(VERSION);
 * ```
 */
export const VERSION = "0.1.0";

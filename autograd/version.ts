/**
 * The library's version, for files that hold for one version alone.
 * @module
 */

/** The version in deno.json. */
export const VERSION = "0.1.0";

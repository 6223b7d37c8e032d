/**
 * Where downloads of tools and tests are kept, outside the repository.
 * @module
 */

/** `$XDG_CACHE_HOME/peft-webgpu`, else `~/.cache/peft-webgpu`. */
export function cacheFolder(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME") || "."}/.cache`;
  return `${cache}/peft-webgpu`;
}

/**
 * What a model's id on the hub looks like.
 *
 * @module
 */

/** Whether a text has the form of a hub id. Source: validate_repo_id in huggingface_hub. */
export function isHubId(id: string): boolean {
  return /^[A-Za-z0-9][\w.-]*(\/[\w.-]+)?$/.test(id) && id.length <= 96 &&
    !/--|\.\.|[.-](\/|$)|\/[.-]|\.git$/.test(id);
}

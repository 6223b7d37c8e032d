/**
 * Writes a tokenizer's files.
 * @module
 */

import { type FolderOutput, openTarget, writeJsonTo } from "../../io/folder_target.ts";
import type { JsonObject } from "../../io/json.ts";
import type { TokenizerCore } from "./core.ts";
import type { TokenizerParts } from "./files.ts";
import type { TokenizerSettings } from "./settings.ts";

/** tokenizer_config.json for a folder with this vocabulary and these settings. */
function settingsFile(
  core: TokenizerCore,
  original: JsonObject,
  settings: TokenizerSettings,
): JsonObject {
  const tokens: [string, string][] = [];
  for (const name of ["bos", "eos", "pad"] as const) {
    const id = settings[`${name}TokenId`];
    const token = id === null ? undefined : core.tokenOf(id);
    if (token !== undefined) tokens.push([`${name}_token`, token]);
  }
  return {
    ...original,
    ...Object.fromEntries(tokens),
    padding_side: settings.paddingSide,
    ...(settings.modelMaxLength < Infinity ? { model_max_length: settings.modelMaxLength } : {}),
  };
}

/** Writes `tokenizer.json`, `tokenizer_config.json` and the chat templates, as transformers reads them. */
export async function saveTokenizer(
  { core, settings, config, chatTemplates }: TokenizerParts,
  folder: FolderOutput,
): Promise<void> {
  const target = openTarget(folder, "save the tokenizer");
  await target.write("tokenizer.json", core.toJson());
  const { chat_template: _, ...rest } = config;
  const several = [...chatTemplates].map(([name, template]) => ({ name, template }));
  const template = chatTemplates.get("default");
  if (template !== undefined) await target.write("chat_template.jinja", template);
  const listed = several.length > (template === undefined ? 0 : 1) ? { chat_template: several } : {};
  await writeJsonTo(target, "tokenizer_config.json", settingsFile(core, { ...rest, ...listed }, settings));
}

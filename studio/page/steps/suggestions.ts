/**
 * What to say to a model that was just taught.
 * @module
 */
import { data, dataSource } from "../state/data.ts";
import { settings } from "../state/method.ts";
import { model } from "../state/model.ts";

/** A few beginnings or questions, from what it learned. */
export function suggestions(): readonly string[] {
  const source = dataSource.value;
  if (source?.kind === "pairs") return source.pairs.slice(0, 3).map(({ question }) => question);
  const prompts = settings.value?.samplePrompts ?? [];
  if (prompts.length > 0) return prompts.slice(0, 3);
  if (!model.value || model.value.hasChatTemplate || !data.value) return [];
  const words = data.value.example.tokens.map(({ text }) => text).join("").trim().split(/\s+/);
  return [words.slice(0, 4).join(" ")];
}

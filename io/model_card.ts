/**
 * Model cards: a README.md with YAML front matter. As in `peft`'s `create_or_update_model_card`, the library updates its
 * own parts and leaves the rest to the user.
 * @module
 */

/** A card in its two parts. */
export interface CardParts {
  /** The front matter, without its lines of dashes. */
  readonly yaml: string;
  /** What follows it; begins with an empty line where there was no front matter. */
  readonly body: string;
}

/** A card's parts; the front matter is empty where there is none. */
export function splitCard(text: string): CardParts {
  const [matched, yaml = ""] = /^---\r?\n(?:([^]*?)\r?\n)?---[ \t]*(?:\r?\n|$)/.exec(text) ?? [""];
  return { yaml, body: `${matched === "" ? "\n" : ""}${text.slice(matched.length)}` };
}

/** The text of a card. */
export function joinCard({ yaml, body }: CardParts): string {
  return `---\n${yaml}\n---\n${body}`;
}

/** Sets a key of YAML front matter, with what is indented or listed below it; appends it where there is none. */
export function setKey(yaml: string, key: string, value: string): string {
  const line = `${key}: ${value}`;
  const present = new RegExp(`^${key}:.*(?:\\r?\\n(?:[ \\t]+.*|- .*))*`, "m");
  if (present.test(yaml)) return yaml.replace(present, () => line);
  return yaml.trim() === "" ? line : `${yaml}\n${line}`;
}

const FRAMEWORKS = "### Framework versions";

/**
 * A card that was there, with what another one says of the model: its front matter and the versions of frameworks. The
 * text of the card that was there stays.
 *
 * @example
 * ```ts
 * import { updateCard } from "@peft/webgpu/io";
 *
 * console.log(updateCard("My notes.\n", "---\nlibrary_name: peft\n---\n\nAn adapter.\n"));
 * // ---
 * // library_name: peft
 * // ---
 * //
 * // My notes.
 * ```
 */
export function updateCard(own: string, fresh: string): string {
  const parts = splitCard(own);
  const { yaml, body } = splitCard(fresh);
  const keys = yaml.matchAll(/^([\w-]+): *(.*)$/gm);
  const joined = keys.reduce((all, [, key, value]) => setKey(all, key, value), parts.yaml);
  const at = body.indexOf(FRAMEWORKS);
  const isThere = at < 0 || parts.body.includes(FRAMEWORKS);
  return joinCard({
    yaml: joined,
    body: isThere ? parts.body : `${parts.body.trimEnd()}\n\n${body.slice(at)}`,
  });
}

/** The tags of front matter, listed in lines or in brackets. */
function tagsOf(yaml: string): string[] {
  const [, inline = "", lines = ""] =
    /^tags:[ \t]*(?:\[([^\]\n]*)\])?[^\n]*((?:\r?\n[ \t]*- .*)*)/m.exec(yaml) ?? [];
  const items = [...inline.split(","), ...lines.split("\n").map((line) => line.replace(/^[ \t]*- /, ""))];
  return items.map((item) => item.trim().replaceAll(/^(["'])(.*)\1$/g, "$2")).filter((item) => item !== "");
}

/** Adds tags to those that front matter has. */
export function addTags(yaml: string, tags: readonly string[]): string {
  if (tags.length === 0) return yaml;
  const all = [...new Set([...tagsOf(yaml), ...tags])];
  return setKey(yaml, "tags", JSON.stringify(all));
}

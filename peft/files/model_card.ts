/**
 * The README.md beside an adapter: a model card. As in `peft`'s `create_or_update_model_card`, the library updates its
 * own part and leaves the rest to the user.
 * @module
 */

import { VERSION } from "../../autograd/mod.ts";

/** What the card says. */
export interface CardFacts {
  /** The base model; null where it is not known. */
  readonly baseModel: string | null;
  /** `library_name` of the front matter. */
  readonly library: string;
  /** First sentence of a new card. */
  readonly summary: string;
}

const HEADING = "### Framework versions";
const OWN_LINE = /^- @peft\/webgpu .*$/m;

/** Sets a key of YAML front matter, with what is indented or listed below it; appends it where there is none. */
function setKey(yaml: string, key: string, value: string): string {
  const line = `${key}: ${value}`;
  const present = new RegExp(`^${key}:.*(?:\\r?\\n(?:[ \\t]+.*|- .*))*`, "m");
  if (present.test(yaml)) return yaml.replace(present, () => line);
  return yaml.trim() === "" ? line : `${yaml}\n${line}`;
}

/** The text of a card: a new one, or `existing` with the library's part updated. */
export function modelCard({ baseModel, library, summary }: CardFacts, existing?: string): string {
  const text = existing ?? `---\n---\n\n${summary}\n`;
  const [matched, found = ""] = /^---\r?\n(?:([^]*?)\r?\n)?---[ \t]*(?:\r?\n|$)/.exec(text) ?? [""];
  let yaml = baseModel === null ? found : setKey(found, "base_model", JSON.stringify(baseModel));
  yaml = setKey(yaml, "library_name", library);
  let body = text.slice(matched.length);
  const own = `- @peft/webgpu ${VERSION}`;
  if (OWN_LINE.test(body)) body = body.replace(OWN_LINE, own);
  else if (body.includes(HEADING)) {
    body = body.replace(HEADING, `${HEADING}\n\n${own}`).replace(`${own}\n\n- `, `${own}\n- `);
  } else body = `${body.trimEnd()}\n\n${HEADING}\n\n${own}\n`;
  return `---\n${yaml}\n---\n${matched === "" ? "\n" : ""}${body}`;
}

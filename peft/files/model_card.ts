/**
 * The README.md beside an adapter: a model card. As in `peft`'s `create_or_update_model_card`, the library updates its
 * own part and leaves the rest to the user.
 * @module
 */

import { VERSION } from "../../autograd/mod.ts";
import { joinCard, setKey, splitCard } from "../../io/model_card.ts";

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

/** The text of a card: a new one, or `existing` with the library's part updated. */
export function modelCard({ baseModel, library, summary }: CardFacts, existing?: string): string {
  const text = existing ?? `---\n---\n\n${summary}\n`;
  const parts = splitCard(text);
  const named = baseModel === null ? parts.yaml : setKey(parts.yaml, "base_model", JSON.stringify(baseModel));
  const yaml = setKey(named, "library_name", library);
  let { body } = parts;
  const own = `- @peft/webgpu ${VERSION}`;
  if (OWN_LINE.test(body)) body = body.replace(OWN_LINE, own);
  else if (body.includes(HEADING)) {
    body = body.replace(HEADING, `${HEADING}\n\n${own}`).replace(`${own}\n\n- `, `${own}\n- `);
  } else body = `${body.trimEnd()}\n\n${HEADING}\n\n${own}\n`;
  return joinCard({ yaml, body });
}

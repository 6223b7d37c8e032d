/**
 * One training example as the model sees it: what is read, and what is learned.
 * @module
 */

import type { Tokenizer } from "@peft/webgpu";
import type { Example } from "@peft/webgpu/train";

const GREEN = "\x1b[32m";
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";

/**
 * The example's text; what is learned is green and the rest dim, or without colours in brackets ⟦ ⟧.
 * @param colours whether escape sequences may be used
 */
export function previewExample(
  tokenizer: Tokenizer,
  { inputIds, labels }: Example,
  colours: boolean,
): string {
  const learned = (i: number) => (labels ?? inputIds)[i] !== -100;
  const parts: string[] = [];
  for (let from = 0, to = 0; from < inputIds.length; from = to) {
    while (to < inputIds.length && learned(to) === learned(from)) to++;
    const text = tokenizer.decode(inputIds.slice(from, to));
    if (colours) parts.push(`${learned(from) ? GREEN : DIM}${text}${PLAIN}`);
    else parts.push(learned(from) ? `⟦${text}⟧` : text);
  }
  const count = inputIds.filter((_, i) => learned(i)).length;
  return `${parts.join("")}\n\n${inputIds.length} tokens, of which ${count} are learned (${
    colours ? "green" : "in ⟦ ⟧"
  })`;
}

/**
 * What a screen reader is told of what changes by itself.
 * @module
 */
import { signal } from "@preact/signals";

/** The text of the page's live region. */
export const announcement = signal("");

/** Has a text read out when the reader is done with what it says now. */
export function announce(text: string): void {
  announcement.value = text;
}

/**
 * Numbers of things in a sentence.
 * @module
 */

/** `1 row`, `2 rows`. @param noun in the singular, whose plural ends with s */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

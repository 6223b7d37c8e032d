/**
 * Small texts that this browser keeps between visits. Without storage they last as long as the page.
 * @module
 */

/** The JSON value that is kept under a key; null where there is none, or none that can be read. */
export function readKept(key: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** Keeps a text under a key; null removes it. */
export function keep(key: string, text: string | null): void {
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // it lasts as long as the page
  }
}

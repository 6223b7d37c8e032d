/**
 * Light or dark: the system's choice, or the reader's.
 * @module
 */
import { computed, signal } from "@preact/signals";

const KEY = "studio.theme"; // theme.js reads it before the first paint
const system = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(system.matches);
system.addEventListener("change", ({ matches }) => systemIsDark.value = matches);

const chosen = signal<"light" | "dark" | null>(
  (document.documentElement.dataset.theme as "light" | "dark" | undefined) ?? null,
);

/** The scheme that is shown. */
export const scheme = computed((): "light" | "dark" =>
  chosen.value ?? (systemIsDark.value ? "dark" : "light")
);

/** Shows the other scheme, from now on; where that is the system's, the system decides again. */
export function toggleScheme(): void {
  const wanted = scheme.value === "dark" ? "light" : "dark";
  chosen.value = wanted === (systemIsDark.value ? "dark" : "light") ? null : wanted;
  if (chosen.value) document.documentElement.dataset.theme = chosen.value;
  else delete document.documentElement.dataset.theme;
  try {
    if (chosen.value) localStorage.setItem(KEY, chosen.value);
    else localStorage.removeItem(KEY);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

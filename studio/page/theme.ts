/**
 * Light or dark: the system's choice, or the reader's.
 * @module
 */
import { computed, effect, signal } from "@preact/signals";
import { keep } from "./state/kept.ts";

type Scheme = "light" | "dark";

const { dataset } = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const systemScheme = signal<Scheme>(system.matches ? "dark" : "light");
system.addEventListener("change", ({ matches }) => systemScheme.value = matches ? "dark" : "light");

/** The reader's choice, as theme.js found it; null where the system decides. */
const chosen = signal((dataset.chosenTheme as Scheme | undefined) ?? null);

/** The scheme that is shown. */
export const scheme = computed((): Scheme => chosen.value ?? systemScheme.value);

effect(() => {
  dataset.theme = scheme.value;
});

/** Shows the other scheme from now on; where that is the system's, the system decides again. */
export function toggleScheme(): void {
  const wanted = scheme.value === "dark" ? "light" : "dark";
  chosen.value = wanted === systemScheme.value ? null : wanted;
  keep("studio.theme", chosen.value); // theme.js reads it before the first paint
}

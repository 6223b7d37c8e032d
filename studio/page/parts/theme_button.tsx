/**
 * Light or dark, as the reader likes.
 * @module
 */
import type { JSX } from "preact";
import { scheme, toggleScheme } from "../theme.ts";

/** The button in the page's top. */
export function ThemeButton(): JSX.Element {
  return (
    <button
      type="button"
      class="plain theme"
      aria-pressed={scheme.value === "dark"}
      onClick={toggleScheme}
    >
      <span class="hidden">Dark colours</span>
      <svg viewBox="0 0 24 24" aria-hidden="true">
        <path
          d={scheme.value === "dark"
            ? "M20 14A8 8 0 1 1 10 4a6.5 6.5 0 0 0 10 10z"
            : "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5"}
        />
      </svg>
    </button>
  );
}

/**
 * Numbers as a reader takes them in, with their units.
 * @module
 */

const rounded = (value: number) => value.toPrecision(value >= 100 ? 3 : 2);

/** `3.6 MB`: powers of 1000, as disks count. */
export function showBytes(bytes: number): string {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]] as const) {
    if (bytes >= 0.9995 * size) return `${Number(rounded(bytes / size)).toLocaleString("en-US")} ${unit}`;
  }
  return `${Math.round(bytes)} bytes`;
}

/** `135 million`, `1.2 billion`, `12,400`. */
export function showCount(count: number): string {
  for (const [unit, size] of [["billion", 1e9], ["million", 1e6]] as const) {
    if (count >= 0.9995 * size) return `${Number(rounded(count / size))} ${unit}`;
  }
  return Math.round(count).toLocaleString("en-US");
}

/** `1 row`, `3 rows`. */
export function showPlural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;
}

/** `40 s`, `2 min 10 s`, `1 h 5 min`. */
export function showDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 1) return `${Math.round(ms)} ms`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Time left, no finer than anybody can know it. */
export function showLeft(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

/** A loss, a norm or a rate with three digits that count. */
export function showNumber(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** `3 minutes ago`. */
export function showAge(time: number, now: number = Date.now()): string {
  const minutes = Math.round((now - time) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${showPlural(minutes, "minute")} ago`;
  const hours = Math.round(minutes / 60);
  return hours < 24 ? `${showPlural(hours, "hour")} ago` : `${showPlural(Math.round(hours / 24), "day")} ago`;
}

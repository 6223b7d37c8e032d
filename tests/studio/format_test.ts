import { assertEquals } from "@std/assert";
import {
  showAge,
  showBytes,
  showCount,
  showDuration,
  showLeft,
  showNumber,
  showPlural,
} from "../../studio/page/format.ts";

Deno.test("showBytes() and showCount() choose the unit that leaves two or three digits", () => {
  const bytes = [0, 999, 1000, 999_499, 999_500, 3_637_160, 98_362_432, 8_600_000_000];
  assertEquals(bytes.map(showBytes), [
    ...["0 bytes", "999 bytes", "1 kB", "999 kB", "1 MB", "3.6 MB", "98 MB", "8.6 GB"],
  ]);
  assertEquals([1, 53_248, 999_999, 908_032_000, 1_240_000_000].map(showCount), [
    ...["1", "53,248", "1 million", "908 million", "1.2 billion"],
  ]);
  assertEquals([0, 1, 2000].map((count) => showPlural(count, "row")), ["0 rows", "1 row", "2,000 rows"]);
});

Deno.test("showDuration(), showLeft() and showAge() say times no finer than a reader needs them", () => {
  assertEquals([12, 999, 40_000, 60_000, 251_000, 3_900_000].map(showDuration), [
    ...["12 ms", "1 s", "40 s", "1 min", "4 min 11 s", "1 h 5 min"],
  ]);
  assertEquals([4000, 42_000, 100_000, 7_200_000].map(showLeft), [
    ...["a few seconds", "about 40 s", "about 2 min", "about 2.0 h"],
  ]);
  const now = 1_000_000_000_000;
  assertEquals([0, 60_000, 7_200_000, 172_800_000].map((age) => showAge(now - age, now)), [
    ...["just now", "1 minute ago", "2 hours ago", "2 days ago"],
  ]);
});

Deno.test("showNumber() gives three digits, and powers of ten where zeros would fill the place", () => {
  assertEquals([0, 1.4449, 283.4, 0.0025, 0.00018, 123_456, NaN].map(showNumber), [
    ...["0", "1.44", "283", "0.0025", "1.8e-4", "1.2e+5", "NaN"],
  ]);
});

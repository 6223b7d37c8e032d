import { assertEquals, assertThrows } from "@std/assert";
import {
  choice,
  flag,
  integer,
  number,
  orNull,
  problemWith,
  type Rule,
  table,
  text,
} from "../../options/rules.ts";
import {
  completeOptions,
  defaultsOf,
  fromDisk,
  option,
  type OptionTable,
  toDisk,
} from "../../options/table.ts";

interface Wine {
  bottleSize: number;
  grape: "riesling" | "merlot";
  maxDeltaT: number;
  notes: string | null;
}

const WINE: OptionTable<Wine> = {
  bottleSize: option(0.75, number(0, 3)),
  grape: option<Wine["grape"]>("riesling", choice("riesling", "merlot")),
  maxDeltaT: option(5, integer(1), { key: "max_deltaT" }),
  notes: option<string | null>(null, orNull(text)),
};
const refuse = (message: string): never => {
  throw new RangeError(message);
};

Deno.test("problemWith() says what a value must be and what came", () => {
  const cases: [Rule<unknown>, unknown, string | null][] = [
    [number(0, 1), 0.5, null],
    [number(0, 1), 1, null],
    [number(0, 1), 1.5, "x must be a number from 0 to 1, received 1.5"],
    [number(0), -1, "x must be a number of at least 0, received -1"],
    [number(), NaN, "x must be a finite number, received NaN"],
    [number(0), Infinity, "x must be a number of at least 0, received Infinity"],
    [number(0), "8", 'x must be a number of at least 0, received "8"'],
    [integer(1), 1.5, "x must be an integer of at least 1, received 1.5"],
    [integer(), undefined, "x must be an integer, received undefined"],
    [flag, 0, "x must be true or false, received 0"],
    [text, null, "x must be a string, received null"],
    [orNull(text), null, null],
    [orNull(integer(1)), 0, "x must be an integer of at least 1 or null, received 0"],
    [choice("a"), "b", 'x must be "a", received "b"'],
    [choice("a", "b", null), "c", 'x must be "a", "b" or null, received "c"'],
    [choice("a", "b"), ["a"], 'x must be "a" or "b", received ["a"]'],
    [table("map names to numbers", number(0)), { a: 1, b: 0 }, null],
    [table("map names to numbers", number(0)), [1], "x must map names to numbers, received [1]"],
    [table("map names to numbers", number(0)), null, "x must map names to numbers, received null"],
    [
      table("map names to numbers", number(0)),
      { a: -1 },
      'x of "a" must be a number of at least 0, received -1',
    ],
  ];
  for (const [rule, value, problem] of cases) assertEquals(problemWith(rule, "x", value), problem);
});

Deno.test("completeOptions() takes defaults for what is not given or undefined, and checks the rest", () => {
  assertEquals(completeOptions(WINE, {}, { refuse }), defaultsOf(WINE));
  assertEquals(completeOptions(WINE, { notes: "dry", grape: undefined }, { refuse }), {
    bottleSize: 0.75,
    grape: "riesling",
    maxDeltaT: 5,
    notes: "dry",
  });
  const nameOf = (name: string) => `wine.${name}`;
  assertThrows(
    () => completeOptions(WINE, { bottleSize: 9 }, { refuse, nameOf }),
    RangeError,
    "wine.bottleSize must be a number from 0 to 3, received 9",
  );
});

Deno.test("toDisk() writes names in snake_case or as the table says, and fromDisk() reads them back", () => {
  const wine = completeOptions(WINE, { maxDeltaT: 2 }, { refuse });
  const json = toDisk(WINE, wine);
  assertEquals(json, { bottle_size: 0.75, grape: "riesling", max_deltaT: 2, notes: null });
  assertEquals(fromDisk(WINE, { ...json, year: 2020 }), { given: wine, rest: { year: 2020 } });
  assertEquals(fromDisk(WINE, { bottleSize: 1 }), { given: {}, rest: { bottleSize: 1 } });
});

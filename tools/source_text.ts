/**
 * Reads TypeScript source without a parser: blanks comments and the contents of strings, and finds imports.
 * Enough for checks by name; a regular-expression literal is told from a division by what stands before it.
 * @module
 */

/** A source with comments and literal contents replaced by spaces, and the string literals that were blanked. */
export interface BlankedSource {
  /** Same length and line breaks as the source: code alone, quotes kept. */
  readonly code: string;
  /** Value of the plain string literal whose opening quote is at the key's index. */
  readonly strings: ReadonlyMap<number, string>;
}

/** One import or re-export of a source file. */
export interface ImportRecord {
  /** What is written between the quotes. */
  readonly specifier: string;
  /** 1-based line of the specifier. */
  readonly line: number;
  /** True for `import type`, `export type`, and clauses in which every name is a `type`. */
  readonly typeOnly: boolean;
  /** True for `import("…")`. */
  readonly dynamic: boolean;
}

/** Blanks comments, strings, templates (their `${}` code stays) and regular expressions of `source`. */
export function blankSource(source: string): BlankedSource {
  const out = source.split("");
  const strings = new Map<number, string>();
  const blank = (from: number, to: number) => {
    for (let i = from; i < to; i++) if (out[i] !== "\n") out[i] = " ";
  };
  // Depth of `{` at which each open template's `${` began.
  const templates: number[] = [];
  let depth = 0, i = 0;
  const templateText = (from: number): number => {
    let j = from;
    while (j < source.length && source[j] !== "`" && !(source[j] === "$" && source[j + 1] === "{")) {
      j += source[j] === "\\" ? 2 : 1;
    }
    blank(from, Math.min(j, source.length));
    if (source[j] !== "$") return j + 1;
    templates.push(depth++);
    return j + 2;
  };
  while (i < source.length) {
    const c = source[i];
    if (source.startsWith("//", i)) {
      const end = source.indexOf("\n", i) < 0 ? source.length : source.indexOf("\n", i);
      blank(i, end);
      i = end;
    } else if (source.startsWith("/*", i)) {
      const end = source.indexOf("*/", i + 2) < 0 ? source.length : source.indexOf("*/", i + 2) + 2;
      blank(i, end);
      i = end;
    } else if (c === '"' || c === "'") {
      let j = i + 1;
      while (j < source.length && source[j] !== c && source[j] !== "\n") j += source[j] === "\\" ? 2 : 1;
      strings.set(i, source.slice(i + 1, j));
      blank(i + 1, j);
      i = j + 1;
    } else if (c === "`") {
      i = templateText(i + 1);
    } else if (c === "/" && startsRegExp(out.slice(Math.max(0, i - 80), i).join(""))) {
      let j = i + 1, inClass = false;
      while (j < source.length && source[j] !== "\n" && (inClass || source[j] !== "/")) {
        if (source[j] === "[") inClass = true;
        else if (source[j] === "]") inClass = false;
        j += source[j] === "\\" ? 2 : 1;
      }
      blank(i + 1, j);
      i = j + 1;
    } else if (c === "}" && templates.at(-1) === depth - 1) {
      depth = templates.pop()!;
      i = templateText(i + 1);
    } else {
      if (c === "{") depth++;
      else if (c === "}") depth--;
      i++;
    }
  }
  return { code: out.join(""), strings };
}

/** Whether a slash after this code opens a regular expression: after an operator or keyword, not after a value. */
function startsRegExp(before: string): boolean {
  const code = before.trimEnd();
  return code === "" ||
    /[(,=:[!&|?{};+\-*%/<>~^]$|\b(?:return|typeof|case|in|of|void|yield|await)$/.test(code);
}

/** 1-based line of an index. */
export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

/** Every static and dynamic import and re-export of a source, in order. */
export function findImports(source: BlankedSource): ImportRecord[] {
  const { code, strings } = source;
  const records: (ImportRecord & { index: number })[] = [];
  const add = (quoteIndex: number, typeOnly: boolean, dynamic: boolean) => {
    const specifier = strings.get(quoteIndex);
    if (specifier === undefined) return;
    records.push({ specifier, line: lineAt(code, quoteIndex), typeOnly, dynamic, index: quoteIndex });
  };
  for (const match of code.matchAll(/(?<![.\w$])(?:import|export)\b([^;"'`()=]*?)\bfrom\s*(?=["'])/g)) {
    const clause = match[1].trim();
    const names = /^\{([^}]*)\}$/.exec(clause)?.[1].split(",").map((n) => n.trim()).filter(Boolean);
    const typeOnly = clause.startsWith("type ") || clause.startsWith("type{") ||
      (names !== undefined && names.length > 0 && names.every((n) => n.startsWith("type ")));
    add(match.index + match[0].length, typeOnly, false);
  }
  for (const match of code.matchAll(/(?<![.\w$])import\s*(?=["'])/g)) {
    add(match.index + match[0].length, false, false);
  }
  for (const match of code.matchAll(/(?<![.\w$])import\s*\(\s*(?=["'])/g)) {
    add(match.index + match[0].length, false, true);
  }
  return records.sort((a, b) => a.index - b.index).map(({ index: _, ...record }) => record);
}

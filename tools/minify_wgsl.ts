/**
 * Makes the WGSL inside a kernel's module shorter, for bundles: comments, the shapes of buffers among them, indentation and spaces that
 * separate nothing go; line breaks stay, so that a compiler's messages still name lines that can be read. Tokens stay
 * what they are.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import { parseModule } from "./syntax_tree.ts";

/** Characters beside which a space separates nothing, whatever stands on its other side. */
const BRACKETS = "(){}[],;";
const WORD = /[\w.]/;

/** Whether two characters of WGSL may become neighbours: not two parts of a word or of an operator. */
function mayTouch(left: string, right: string): boolean {
  if (BRACKETS.includes(left) || BRACKETS.includes(right)) return true;
  return WORD.test(left) !== WORD.test(right);
}

/** The text between two substitutions of a template, without comments: spaces are one at most, or one line break. */
function minifyPiece(text: string): string {
  if (text.includes("\\")) return text; // a line may end at an escape
  const runs = text.replace(/\/\/[^\n]*/g, "").replace(/\s+/g, (run) => run.includes("\n") ? "\n" : " ");
  let out = "";
  for (let i = 0; i < runs.length; i++) {
    const [left, right] = [runs[i - 1], runs[i + 1]];
    const separates = runs[i] !== " " || left === undefined || right === undefined || !mayTouch(left, right);
    if (separates) out += runs[i];
  }
  return out;
}

/** A template's pieces; where a comment goes on behind a substitution, its line stays as it is. */
function minifyPieces(pieces: readonly string[]): string[] {
  let inComment = false;
  return pieces.map((piece, index) => {
    const lines = piece.split("\n");
    const isLast = index === pieces.length - 1;
    const first = inComment ? [lines.shift()!] : [];
    const goesOn = !isLast && (lines.at(-1) ?? "").includes("//");
    const last = goesOn ? [lines.pop()!] : [];
    inComment = goesOn || (inComment && lines.length === 0);
    const middle = lines.length > 0 ? [minifyPiece(lines.join("\n"))] : [];
    return [...first, ...middle, ...last].join("\n");
  });
}

interface Piece extends Node {
  readonly value: { readonly raw: string };
}

/** Texts with no WGSL in them: what errors say. */
const isError = (node: Node & { callee?: { name?: string } }) =>
  node.type === "NewExpression" && /Error$/.test(node.callee?.name ?? "");

/** A module with its source map. */
export interface MinifiedModule {
  readonly code: string;
  readonly map: string;
}

/**
 * The module with shorter WGSL in its templates.
 * @param code JavaScript of a module of `kernels/`
 * @throws {SyntaxError} if it cannot be parsed
 */
export function minifyWgsl(code: string): MinifiedModule {
  const edited = new MagicString(code);
  const replace = ({ start, end }: Node, text: string) => {
    if (start < end) edited.overwrite(start, end, text);
  };
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (typeof node !== "object" || node === null || isError(node as Node)) return;
    const { type, value } = node as Node & { value?: unknown };
    if (type === "TemplateLiteral") {
      const { quasis } = node as unknown as { quasis: Piece[] };
      minifyPieces(quasis.map(({ value }) => value.raw)).forEach((text, i) => replace(quasis[i], text));
    }
    // a line of a program that is put together, and a buffer with its shape
    if (typeof value === "string" && /^ {2}|^read(_write)? /.test(value)) {
      replace(node as Node, JSON.stringify(minifyPiece(value).trimStart()));
    }
    Object.values(node).forEach(visit);
  };
  visit(parseModule(code));
  return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
}

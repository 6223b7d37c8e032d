/**
 * Moves functions and methods of a bundle's first file that a page's first calls do without into a file of their own. What
 * stands in for them fetches that file: an asynchronous one waits for it, one that cannot wait throws, and the public calls
 * that a page awaits begin again when the file is there.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { parseModule, walk } from "./syntax_tree.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** The module with what stands in for functions. */
const STAND_INS = "\0late_functions";

/** The module with what puts them in their places: no first file has it. */
export const PLACES = "\0late_places";

/** The module that brings all functions that moved. */
export const MORE = "entries/more.ts?more";

/** Whether a module exports a name for the file of functions that moved. */
export const isMoved = (name: string): boolean => name.startsWith("moved_");

/** Names of functions and methods by module: "name", "Class.name", "Class.#name", "get Class.name", "static Class.name". */
export type Names = Readonly<Record<string, readonly string[]>>;

/** Calls that begin again, by module and name, and whether the file is fetched after the first of them in any case. */
export type Restarted = Readonly<Record<string, Readonly<Record<string, { readonly loadsAfter: boolean }>>>>;

/** What stands in for functions until their file is there; `cure` says how a page has it from the start. */
const standIns = (cure: string) => `
const text = ${
  JSON.stringify(`Cannot finish the call: a part of it is still to be loaded; ${cure}, or call it again`)
};
export const known = [];
let loading;
export const load = () => loading ??= import("./${MORE}").catch((error) => {
  loading = undefined;
  throw error;
});
const miss = () => {
  load().catch(() => {});
  throw new Error(text);
};
const isMissing = (error) => error instanceof Error && (error.message.includes(text) || isMissing(error.cause));
export const late = (key) => function (...given) {
  return (known[key] ?? miss).apply(this, given);
};
export const lateAsync = (key) => async function (...given) {
  await load();
  return known[key].apply(this, given);
};
export const lateMethods = (owner, names, keys = []) => {
  const add = (key, part) => Object.defineProperty(owner.prototype, key, { configurable: true, ...part });
  for (const name of names.split(" ")) {
    const [, kind, key] = /^([<>!]?)(.*)/.exec(name);
    add(key, kind === "<" ? { get: miss } : kind === ">" ? { set: miss } : {
      writable: true,
      value: kind === "!" ? async function (...given) {
        await load();
        return this[key](...given);
      } : miss,
    });
  }
  for (const key of keys) add(key, { value: miss });
  return owner;
};
export const restarted = async (run, given, loadsAfter) => {
  let result;
  try {
    result = await run(...given);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await load();
    result = await run(...given);
  }
  if (loadsAfter) setTimeout(() => load().catch(() => {}));
  return result;
};`;

/** What puts functions and methods in their places. */
const PLACES_CODE = `import { known } from "${STAND_INS}";
export const place = (key, body) => known[key] = body;
export const placeMethods = (owner, { prototype: from }) => {
  for (const key of Reflect.ownKeys(from)) {
    if (key === "constructor") continue;
    const parts = Object.entries(Object.getOwnPropertyDescriptor(from, key));
    Object.defineProperty(owner.prototype, key, Object.fromEntries(parts.filter(([, part]) => part !== undefined)));
  }
};`;

type Named = Node & { readonly name: string };
type Func = Node & {
  readonly id: Named | null;
  readonly async: boolean;
  readonly params: readonly Node[];
  readonly body: Node;
};
type Member = Node & {
  readonly key: Named;
  readonly kind: string;
  readonly static: boolean;
  readonly value: Func;
};
type Class = Node & {
  readonly id: Named | null;
  readonly superClass: Node | null;
  readonly body: Node & { readonly body: readonly Member[] };
};

/** Whether a tree has a node of a kind. */
function has(tree: unknown, isOne: (node: Node) => boolean): boolean {
  let found = false;
  walk(tree, (node) => found ||= isOne(node));
  return found;
}

/** A function, class or object that a module declares, and the statement. */
interface Declared<T> {
  readonly statement: Node;
  readonly isExported: boolean;
  readonly node: T;
}

/** What a module declares at its top level, by name. */
function declaredIn(program: { readonly body: readonly Node[] }): Map<string, Declared<Node>> {
  const found = new Map<string, Declared<Node>>();
  for (const statement of program.body) {
    const { declaration } = statement as Node & { readonly declaration?: Node | null };
    const inner = declaration ?? statement;
    const isExported = Boolean(declaration);
    if (/^(Function|Class)Declaration$/.test(inner.type)) {
      const { id } = inner as Func;
      found.set(id!.name, { statement, isExported, node: inner });
    }
    if (inner.type !== "VariableDeclaration") continue;
    const { declarations } = inner as Node & { readonly declarations: { id: Named; init: Node | null }[] };
    const [{ id, init }] = declarations;
    if (declarations.length === 1 && init && /Function|^Object/.test(init.type)) {
      found.set(id.name, { statement, isExported, node: init });
    }
  }
  return found;
}

/** The name of a member as lists have it, without its class. */
const nameOf = ({ key }: Member) => `${key.type === "PrivateIdentifier" ? "#" : ""}${key.name}`;
const labelOf = (owner: string, member: Member) => {
  const kind = /^[gs]et$/.test(member.kind) ? `${member.kind} ` : member.static ? "static " : "";
  return `${kind}${owner}.${nameOf(member)}`;
};

/** Edits one module. */
class Edits {
  readonly code: string;
  readonly edited: MagicString;
  readonly #path: string;
  readonly #declared: Map<string, Declared<Node>>;
  readonly #uses = new Set<string>();
  readonly #places = new Set<string>();
  readonly #head: string[] = [];

  constructor(code: string, path: string) {
    this.code = code;
    this.#path = path;
    this.edited = new MagicString(code);
    this.#declared = declaredIn(parseModule(code));
  }

  #fail(name: string, why: string): never {
    throw new Error(
      `Cannot move "${name}" out of ${this.#path}: ${why}; tests/browser/find_cold_functions.ts makes the list anew`,
    );
  }

  #textOf({ start, end }: Node): string {
    return this.code.slice(start, end);
  }

  /** Moves parts of the code to its end, between two texts. */
  #move(before: string, nodes: readonly Node[], after: string): void {
    this.edited.prependRight(nodes[0].start, before);
    for (const { start, end } of nodes) this.edited.appendLeft(end, "\n").move(start, end, this.code.length);
    this.edited.appendLeft(nodes.at(-1)!.end, after);
  }

  #use(name: string): string {
    this.#uses.add(name);
    return name;
  }

  /** What the module's code becomes, and its map. */
  finish(): { readonly code: string; readonly map: string } {
    const taken = (names: ReadonlySet<string>, from: string) =>
      names.size > 0 ? `import { ${[...names].join(", ")} } from "${from}";` : "";
    this.edited.prepend([taken(this.#uses, STAND_INS), taken(this.#places, PLACES), ...this.#head].join(""));
    return { code: this.edited.toString(), map: this.edited.generateMap({ hires: "boundary" }).toString() };
  }

  /** Moves a function. */
  moveFunction(name: string, key: number): void {
    const declared = this.#declared.get(name) ?? this.#fail(name, "there is no such function");
    const { statement, isExported, node } = declared as Declared<Func>;
    if (!/Function/.test(node.type)) this.#fail(name, "it is no function");
    this.#places.add("place");
    // before all else: a declaration of a function counts in the whole module
    const standIn = this.#use(node.async ? "lateAsync" : "late");
    this.#head.push(`${isExported ? "export " : ""}const ${name} = ${standIn}(${key});`);
    if (statement.start < node.start) this.edited.remove(statement.start, node.start);
    if (node.end < statement.end) this.edited.remove(node.end, statement.end);
    this.#move(`export const moved_${name} = () => place(${key}, `, [node], ");");
  }

  /** Moves methods of a class; `labels` are their names in lists. */
  moveMethods(name: string, labels: readonly string[]): void {
    const declared = this.#declared.get(name) ?? this.#fail(name, "there is no such class");
    const { statement, isExported, node } = declared as Declared<Class>;
    if (node.type !== "ClassDeclaration") this.#fail(name, "it is no class");
    const members = labels.map((label) =>
      node.body.body.find((member) =>
        member.type === "MethodDefinition" && labelOf(name, member) === label
      ) ??
        this.#fail(label, "there is no such method")
    );
    for (const [i, member] of members.entries()) {
      if (member.kind === "constructor" || member.static) {
        this.#fail(labels[i], "only methods of objects can move");
      }
    }
    this.#openPrivates(name, node, members);
    const isPrivate = ({ key }: Member) => key.type === "PrivateIdentifier";
    const kindOf = ({ kind, value }: Member) =>
      kind === "get" ? "<" : kind === "set" ? ">" : value.async ? "!" : "";
    const names = members.filter((member) => !isPrivate(member)).map((member) =>
      kindOf(member) + member.key.name
    );
    const keys = members.filter(isPrivate).map(({ key }) => this.#symbol(name, key.name));
    if (members.some((member) => isPrivate(member) && member.kind !== "method")) {
      this.#fail(name, "private accessors stay");
    }
    const given = [JSON.stringify(names.join(" ")), ...keys.length > 0 ? [`[${keys.join(", ")}]`] : []].join(
      ", ",
    );
    const base = node.superClass && has(members, ({ type }) => type === "Super")
      ? ` extends ${this.#textOf(node.superClass)}`
      : "";
    this.#places.add("placeMethods");
    this.#move(`export const moved_${name} = () => placeMethods(${name}, class${base} {\n`, members, "});\n");
    if (isExported) this.edited.remove(statement.start, node.start);
    const export_ = isExported ? "export " : "";
    this.edited.prependRight(node.start, `${export_}const ${name} = ${this.#use("lateMethods")}(`);
    this.edited.appendLeft(node.end, `, ${given});`);
  }

  #symbol(owner: string, name: string): string {
    return `private_${owner}_${name}`;
  }

  /** Makes private names that methods use, or that are theirs, symbols: code outside the class can use them then. */
  #openPrivates(owner: string, node: Class, members: readonly Member[]): void {
    const names = new Set<string>();
    walk(
      members,
      ({ type, name }: Node & { name?: string }) => type === "PrivateIdentifier" && names.add(name!),
    );
    const opened = new Set<string>();
    const visit = (tree: unknown, parent: Node | null): void => {
      if (Array.isArray(tree)) return tree.forEach((each) => visit(each, parent));
      if (typeof tree !== "object" || tree === null) return;
      const each = tree as Node & { readonly name?: string };
      if (each.type === "PrivateIdentifier" && names.has(each.name!)) {
        opened.add(each.name!);
        const symbol = this.#symbol(owner, each.name!);
        if (parent?.type === "MemberExpression") {
          const { optional } = parent as Node & { optional: boolean };
          const dot = this.code.lastIndexOf(".", each.start); // with the "?" of an optional one, if so
          this.edited.overwrite(dot, each.end, `${optional ? "." : ""}[${symbol}]`);
        } else if (/Definition$/.test(parent?.type ?? "")) {
          this.edited.overwrite(each.start, each.end, `[${symbol}]`);
        } else this.edited.overwrite(each.start, each.end, symbol); // "#name in object"
      }
      const next = typeof each.type === "string" ? each : parent;
      Object.values(each).forEach((inner) => visit(inner, next));
    };
    visit(node.body, null);
    for (const name of opened) this.#head.push(`const ${this.#symbol(owner, name)} = Symbol();`);
  }

  /** Makes a function or method that gives a promise begin again. */
  restart(label: string, loadsAfter: boolean): void {
    const [, kind = "", owner, name] = /^(static )?(?:(\w+)\.)?([\w#]+)$/.exec(label)!;
    const declared = this.#declared.get(owner ?? name) ??
      this.#fail(label, "there is no such function or class");
    const { body, properties } = declared.node as Class & { readonly properties?: readonly Member[] };
    const func = owner === undefined
      ? declared.node as Func
      : (properties ?? body.body).find((member) =>
        member.key && labelOf(owner, member) === `${kind}${owner}.${name}`
      )?.value;
    if (!func) this.#fail(label, "there is no such function");
    if (
      has(func, ({ type, name }: Node & { name?: string }) => type === "Identifier" && name === "arguments")
    ) {
      this.#fail(label, "it uses its arguments by that name");
    }
    const [first, last] = [func.params[0], func.params.at(-1)];
    const params = first ? this.#textOf({ ...first, end: last!.end } as Node) : "";
    const open = this.code.lastIndexOf(")", func.body.start);
    const from = first ? first.start : open;
    this.edited.overwrite(from, open, "...given");
    this.edited.appendRight(func.body.start, `{ return ${this.#use("restarted")}(async (${params}) => `);
    this.edited.appendLeft(func.body.end, `, given, ${loadsAfter}); }`);
  }
}

/**
 * Moves functions.
 * @param names what moves
 * @param restarts what begins again when the functions are there
 * @param cure how a page has the file from the start, for messages
 * @param bringing paths of modules that bring all of it
 * @throws Error where a module has no function of a name, or it cannot move
 */
export function lateFunctions(
  names: Names,
  restarts: Restarted,
  cure: string,
  bringing: readonly string[] = [],
): Plugin & { transform(code: string, id: string): { code: string; map: string } | null } {
  const functions = Object.entries(names).flatMap(([path, list]) =>
    list.filter((name) => !name.includes(".")).map((name) => `${path} ${name}`)
  );
  const keyOf = (path: string, name: string) => functions.indexOf(`${path} ${name}`);
  const classesOf = (path: string) =>
    Map.groupBy((names[path] ?? []).filter((name) => name.includes(".")), (name) => /(\w+)\./.exec(name)![1]);
  return {
    name: "late functions",
    resolveId: (specifier) => [STAND_INS, PLACES].includes(specifier) ? specifier : null,
    resolveDynamicImport: (specifier) => specifier === `./${MORE}` ? ROOT + MORE : null,
    load(id) {
      if (id === STAND_INS) return standIns(cure);
      if (id === PLACES) return PLACES_CODE;
      if (id !== ROOT + MORE) return null;
      const moved = Object.entries(names).map(([path, list], i) => {
        const own = [...list.filter((name) => !name.includes(".")), ...classesOf(path).keys()];
        const taken = own.map((name) => `moved_${name} as moved_${i}_${name}`);
        const calls = own.map((name) => `moved_${i}_${name}();`);
        return `import { ${taken.join(", ")} } from "../${path}";\n${calls.join("\n")}`;
      });
      return moved.join("\n");
    },
    transform(code: string, id: string) {
      const [file, part] = id.split("?");
      if (!file.startsWith(ROOT) || part !== undefined && part !== "rest") return null;
      const path = file.slice(ROOT.length);
      const brings = bringing.includes(path);
      if (!(path in names) && !(path in restarts) && !brings) return null;
      const edits = new Edits(code, path);
      for (const name of names[path] ?? []) {
        if (!name.includes(".")) edits.moveFunction(name, keyOf(path, name));
      }
      for (const [owner, labels] of classesOf(path)) edits.moveMethods(owner, labels);
      for (const [name, { loadsAfter }] of Object.entries(restarts[path] ?? {})) {
        edits.restart(name, loadsAfter);
      }
      if (brings) edits.edited.prepend(`import "${ROOT}${MORE}";`);
      return edits.finish();
    },
  };
}

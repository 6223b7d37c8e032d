/**
 * Finds the texts of errors in a module, and what each takes from where it stands: so that a function elsewhere can make it.
 * @module
 */

import type { Node } from "acorn";
import { type Scope, scopeOf, walkScopes } from "./scopes.ts";
import { parseModule } from "./syntax_tree.ts";

/**
 * Classes of errors whose first argument is the text and whose second the options, as `Error` has them. A `DeviceLostError`
 * is none of them: it is made when a device is lost or destroyed, whether or not anybody uses it afterwards.
 */
export const KINDS: ReadonlySet<string> = new Set([
  "DisposedError",
  "Error",
  "GpuError",
  "JsonFileError",
  "NoAdapterError",
  "NoMatchingModuleError",
  "OutOfDeviceMemoryError",
  "RangeError",
  "SafetensorsError",
  "ShaderCompileError",
  "SyntaxError",
  "TypeError",
]);

/** Functions and methods that throw an error with the text that they are given. */
const REFUSING = /^(this\.#?)?(fail|defect|refuse(Config)?)$/;

/** Characters of a text without values up to which it costs less where it stands. */
const SHORT = 30;

/** What a function needs to make a text. */
interface Builder {
  /** Values that it is given: its parameters, and the code of each where the error is. */
  readonly values: readonly { readonly name: string; readonly code: string }[];
  /** Constants of the function, each with its name and code. */
  readonly constants: readonly (readonly [name: string, code: string])[];
  /** The text as an expression of the parameters and constants, of names of the module, and of globals. */
  readonly text: string;
  /** Names of the module in the text. */
  readonly names: ReadonlySet<string>;
}

/** The text of an error that is made where it stands; or one that a function gets which throws it. */
export interface Text extends Builder {
  /** Where the code begins that takes its place, and ends. */
  readonly start: number;
  readonly end: number;
  /** The code of the class and options of an error; null for a text alone. */
  readonly error: { readonly kind: string; readonly options: string | null } | null;
  /** Statements before it that declare constants of which it is the only use: the function has them. */
  readonly removed: readonly { readonly start: number; readonly end: number }[];
}

type Tree = Node & {
  readonly callee: Tree;
  readonly object: Tree;
  readonly property: Tree;
  readonly arguments: readonly Tree[];
  readonly name: string;
  readonly kind: string;
  readonly value: unknown;
  readonly quasis: readonly Tree[];
  readonly body: readonly Tree[];
  readonly declarations: readonly { readonly id: Tree; readonly init: Tree | null }[];
};

/** What a text mentions: a name, or a part that has a meaning only where it stands. */
interface Mention {
  readonly node: Tree;
  /** The nodes around it, the outermost first. */
  readonly around: readonly Tree[];
  /** The scope that declares a name; null for a global, and for what is no name. */
  readonly declared: Scope | null;
}

/** Parts that have a meaning only where they stand. */
const BOUND = /^(ThisExpression|AwaitExpression|YieldExpression|Super|MetaProperty|PrivateIdentifier)$/;

/** Parts of which a text that has one stays where it is: they have a `this` of their own, or change a variable. */
const UNFIT = /^(FunctionExpression|ClassExpression|AssignmentExpression|UpdateExpression)$/;

const isWithin = (inner: Node, outer: Node) => outer.start <= inner.start && inner.end <= outer.end;
const isCallee = (node: Tree, outer?: Tree) => outer?.type === "CallExpression" && outer.callee === node;
const isObject = (node: Tree, outer?: Tree) => outer?.type === "MemberExpression" && outer.object === node;

/** What goes with a bound part: the whole of `this.#a.b` and of `this.call(c)`, and `this.a` of `this.a.call()`. */
function withMembers({ node, around }: Mention): Tree {
  let found = node;
  for (let at = around.length - 1; at >= 0; at--) {
    const [outer, next] = [around[at], around[at - 1]];
    const isOwner = found.type === "ThisExpression" || found.type === "Super" || found === node;
    const isMethod = isCallee(outer, next) && !isOwner;
    const isMember = isObject(found, outer) || outer.type === "MemberExpression" && outer.property === node;
    const isCall = isCallee(found, outer) && found.type === "MemberExpression";
    if (isMethod || !isMember && !isCall) break;
    found = outer;
  }
  // a chain such as `this.a?.b.c` has a value only as a whole
  let chain = found;
  for (const outer of around.filter((each) => isWithin(found, each) && each !== found).toReversed()) {
    if (outer.type === "ChainExpression") return outer;
    if (!isObject(chain, outer) && !isCallee(chain, outer)) break;
    chain = outer;
  }
  return found;
}

/** A constant that is declared for a text alone. */
interface Constant {
  readonly statement: Tree;
  readonly name: string;
  readonly init: Tree;
}

/** What a module mentions, and where texts cannot be taken out. */
interface Module {
  readonly code: string;
  readonly mentions: readonly Mention[];
  readonly unfit: readonly Tree[];
  /** Names of the module whose values change. */
  readonly changing: ReadonlySet<string>;
}

/** The constants before a text in its block that nothing else mentions, in the order in which they stand. */
function constantsOf({ node, text, around }: Place, { mentions, unfit }: Module): Constant[] {
  const at = around.findLastIndex(({ type }) => type === "BlockStatement");
  if (at < 0) return [];
  const block = around[at];
  const found: Constant[] = [];
  const before = block.body.slice(0, block.body.indexOf(around[at + 1] ?? node));
  for (const statement of before.toReversed()) {
    if (statement.type !== "VariableDeclaration" || statement.kind !== "const") break;
    const [{ id, init }, ...others] = statement.declarations;
    const users = [text, ...found.map(({ init }) => init)];
    const isSimple = others.length === 0 && id.type === "Identifier" && init !== null;
    const uses = mentions.filter((each) => each.declared?.node === block && each.node.name === id.name);
    const isOnly = uses.every(({ node }) => node === id || users.some((user) => isWithin(node, user)));
    const awaits = mentions.some(({ node }) => /^(Await|Yield)/.test(node.type) && isWithin(node, statement));
    if (!isSimple || !isOnly || awaits || unfit.some((each) => isWithin(each, statement))) continue;
    found.push({ statement, name: id.name, init });
  }
  return found.toReversed();
}

/** What makes a text elsewhere, with constants of its own; null where that cannot be: all of it is bound to its place. */
function builderOf(
  text: Tree,
  own: readonly Constant[],
  { code, mentions, changing }: Module,
): Builder | null {
  const all = [...own.map(({ init }) => init), text];
  const inAll = mentions.filter(({ node }) => all.some((each) => isWithin(node, each)));
  const declares = (node: Tree | undefined, name: string) =>
    own.some((each) => each.name === name && Array.isArray(node?.body) && node.body.includes(each.statement));
  const isOwn = ({ node, declared }: Mention) => declares(declared?.node as Tree | undefined, node.name);
  const isInner = (each: Mention) =>
    isOwn(each) || each.declared !== null && all.some((part) => isWithin(each.declared!.node, part));
  const inner = inAll.filter(isInner);
  const free = inAll.filter((each) => !isInner(each));
  const isBound = ({ node, declared }: Mention) =>
    BOUND.test(node.type) || declared === null && node.name === "arguments" ||
    declared?.outer === null && changing.has(node.name);
  const bound = new Set<Tree>();
  for (const mention of free.filter(isBound)) {
    let part = withMembers(mention);
    const needed = () =>
      inner.some((each) =>
        isWithin(each.node, part) && (isOwn(each) || !isWithin(each.declared!.node, part))
      );
    while (needed()) {
      const outer = mention.around.findLast((each) => isWithin(part, each) && each !== part)!;
      if (!all.some((each) => isWithin(outer, each))) return null;
      part = outer;
    }
    if (part.type === "PrivateIdentifier" || isWithin(text, part)) return null;
    bound.add(part);
  }
  const parts = [...bound].filter((part) => ![...bound].some((each) => each !== part && isWithin(part, each)))
    .toSorted((a, b) => a.start - b.start);
  const values = new Map<string, string>(); // names by code
  const codeOf = (node: Tree) => {
    let [made, at] = ["", node.start];
    for (const { start, end } of parts.filter((part) => isWithin(part, node))) {
      const part = code.slice(start, end);
      if (!values.has(part)) values.set(part, `value_${values.size}`);
      made += code.slice(at, start) + values.get(part);
      at = end;
    }
    return made + code.slice(at, node.end);
  };
  const constants = own.map(({ name, init }) => [name, codeOf(init)] as const);
  const made = codeOf(text);
  const names = new Set<string>();
  for (const { node, declared } of free) {
    if (node.type !== "Identifier" || declared === null || parts.some((part) => isWithin(node, part))) {
      continue;
    }
    if (declared.outer === null) names.add(node.name);
    else values.set(node.name, node.name);
  }
  return { values: [...values].map(([code, name]) => ({ code, name })), constants, text: made, names };
}

/** Whether an expression is a text, as far as one can see, of more than a few characters, or what such as problemOf() gives. */
function isLongText(node: Tree): boolean {
  if (node.type === "CallExpression") return /^problem/.test(node.callee.name);
  const isText = node.type === "TemplateLiteral" || typeof node.value === "string" ||
    /^(Binary|Conditional)Expression$/.test(node.type);
  return isText && node.end - node.start > SHORT;
}

/** A text that has no values and costs less where it stands. */
function isShort(node: Tree): boolean {
  const isPlain = node.type === "Literal" || node.type === "TemplateLiteral" && node.quasis.length === 1;
  return isPlain && node.end - node.start <= SHORT;
}

/** Where a text stands in a module. */
interface Place {
  readonly text: Tree;
  /** The node that goes. */
  readonly node: Tree;
  /** The nodes around it, the outermost first. */
  readonly around: readonly Tree[];
  readonly error: Text["error"];
}

/**
 * The texts of a module without types, in the order in which they stand.
 * @param changing names of the module whose values change
 * @param foreign names that are no functions of the library
 */
export function findTexts(code: string, changing: ReadonlySet<string>, foreign: ReadonlySet<string>): Text[] {
  const program = parseModule(code);
  const [mentions, places, unfit]: [Mention[], Place[], Tree[]] = [[], [], []];
  walkScopes(program, (each, outer, scope) => {
    const [node, around] = [each as Tree, outer as Tree[]];
    if (UNFIT.test(node.type)) unfit.push(node);
    if (node.type === "Identifier" || BOUND.test(node.type)) {
      const declared = node.type === "Identifier" ? scopeOf(node.name, scope) : null;
      mentions.push({ node, around, declared });
    }
    const given = node.arguments ?? [];
    if (given.some(({ type }) => type === "SpreadElement")) return;
    const [text, options] = given;
    if (node.type === "NewExpression" && KINDS.has(node.callee.name) && text && !isShort(text)) {
      const error = {
        kind: node.callee.name,
        options: options ? code.slice(options.start, options.end) : null,
      };
      places.push({ text, node, around, error });
    }
    if (node.type !== "CallExpression") return;
    const callee = code.slice(node.callee.start, node.callee.end);
    if (!REFUSING.test(callee) || foreign.has(callee)) return;
    places.push(
      ...given.filter(isLongText).map((text) => ({
        text,
        node: text,
        around: [...around, node],
        error: null,
      })),
    );
  });
  const module = { code, mentions, unfit, changing };
  const isOutermost = ({ node }: Place) =>
    !places.some((each) => each.node !== node && isWithin(node, each.node));
  return places.filter(isOutermost).flatMap((place) => {
    const { text, node: { start, end }, error } = place;
    if (unfit.some((each) => isWithin(each, text))) return [];
    const constants = constantsOf(place, module);
    const whole = builderOf(text, constants, module);
    const builder = whole ?? builderOf(text, [], module);
    if (builder === null) return [];
    const removed = whole === null ? [] : constants.map(({ statement: { start, end } }) => ({ start, end }));
    return [{ ...builder, start, end, error, removed }];
  });
}

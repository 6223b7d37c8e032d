/**
 * What a bundle has to make errors whose texts are in another file, and what that file has to complete them.
 * @module
 */

/** What an error says whose text is not there; `at` is the number of the text, and of its values. */
const short = (file: string, at: string) => `Cannot show this error: import ./${file} first (${at})`;

/**
 * The module of the first file. What is made before the texts are there is kept until they are: values by the numbers in its
 * message, and errors with whether nobody waits for their texts. Where the file cannot be loaded, errors stay as they are.
 * @param file the name of the file with the texts
 * @param module what it imports to load them; null: nothing does
 */
export const firstCode = (file: string, module: string | null): string =>
  `let all, loading, made = [], errors = new Map();
export const lateText = (number, ...values) =>
  all ? all.textOf(number, values) : \`${short(file, "${number}.${made.push([number, values]) - 1}")}\`;
export const lateErrorWith = (options, number, Kind, ...values) => {
  const error = new Kind(lateText(number, ...values), options);
  if (!all) {
    errors.set(error, true);
    loading ??= ${module === null ? "Promise.resolve()" : `import(${JSON.stringify(module)})`}.catch(() => {
      loading = null;
      made = [];
      errors = new Map();
    });
  }
  return error;
};
export const lateError = (...given) => lateErrorWith(undefined, ...given);
export const completed = async (error) => {
  if (errors.has(error)) errors.set(error, false);
  await loading;
  all?.complete(error);
  return error;
};
export const fill = (found) => {
  all = found;
  found.completeAll(made, errors);
  made = errors = new Map();
};`;

/**
 * The module of the other file. It completes errors in the order in which they were made: a text may have that of an earlier
 * error in it, which begins with a small letter there, or without the part that says what cannot be done. An error that nobody
 * waits for, and that is no cause of another, is printed.
 * @param file its name
 * @param first the module of the first file
 * @param modules those with texts, in the order of their numbers
 */
export const lateCode = (file: string, first: string, modules: readonly string[]): string =>
  `import { fill } from ${JSON.stringify(first)};
${modules.map((path, at) => `import { texts as texts_${at} } from ${JSON.stringify(path)};`).join("\n")}
const texts = [${modules.map((_, at) => `...texts_${at}`).join(", ")}];
const textOf = (number, values) => texts[number](...values);
const PLACE = /(?:([Cc])annot show this error: )?import \\.\\/${
    file.replaceAll(".", "\\.")
  } first \\(\\d+\\.(\\d+)\\)/g;
const known = [];
const filled = (text) =>
  text.replace(PLACE, (short, letter, at) => {
    const whole = known[at];
    if (whole === undefined || letter === "C") return whole ?? short;
    return letter ? whole.replace(/^Cannot/, "cannot") : whole.replace(/^Cannot [^:]*: /, "");
  });
const complete = (error) => {
  for (; error instanceof Error; error = error.cause) {
    const { message, stack } = error;
    const text = filled(message);
    if (text === message) continue;
    error.message = text;
    if (stack?.includes(message)) error.stack = stack.replace(message, () => text);
  }
};
const completeAll = (made, errors) => {
  const byMessage = new Map([...errors.keys()].map((error) => [error.message, error]));
  for (const [at, [number, values]] of made.entries()) {
    try {
      known[at] = filled(textOf(number, values.map((value) => typeof value === "string" ? filled(value) : value)));
    } catch {
      continue; // what it was made of is gone
    }
    complete(byMessage.get(\`${short(file, "${number}.${at}")}\`));
  }
  const causes = new Set([...errors.keys()].map(({ cause }) => cause));
  for (const [error, isAlone] of errors) if (isAlone && !causes.has(error)) console.error(error);
};
fill({ textOf, complete, completeAll });`;

/**
 * Which errors are mistakes in what was asked, and not defects.
 * @module
 */

/** Names of errors that say what is wrong with the request, not with the program. */
const USER_ERRORS: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "SyntaxError",
  "NoMatchingModuleError",
  "SafetensorsError",
  "JsonFileError",
  "HubError",
  "GgufError",
  "ChatTemplateError",
  "DatasetError",
  "CheckpointError",
  "MemoryBudgetError",
  "BrokerError",
]);

/** Messages of JavaScript itself that begin as ours do: they tell of a defect. */
const ENGINE_MESSAGE =
  /^Cannot (?:read|set|add|create|define|redefine|delete) propert|^Cannot (?:access '|assign to read only |convert (?:a |undefined |object |.+ to a BigInt)|destructure |freeze|mix BigInt)/;

/**
 * Whether an error was made on purpose, with a message for the user: `Cannot <action>: <what is required>`. A
 * permission that Deno was not given ("NotCapable") is the user's to give.
 */
export function isUserError(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error.name === "UsageError" || error.name === "NotCapable") return true;
  return /^Cannot [^]+?: /.test(error.message) && !ENGINE_MESSAGE.test(error.message) &&
    (USER_ERRORS.has(error.name) || error.name === "Error");
}

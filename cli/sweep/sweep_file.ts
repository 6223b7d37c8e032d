/**
 * The file of a sweep: read, checked as a whole, and turned into trials.
 * @module
 */

import { basename, extname, join } from "@std/path";
import { camelCase, checkOptions } from "../../options/names.ts";
import { choice, integer, number, problemWith, type Rule, rule, text } from "../../options/rules.ts";
import { checkFlags } from "../../jobs/flags.ts";
import { fileNames } from "../../jobs/finetune/data.ts";
import { UsageError } from "../../jobs/usage_error.ts";
import { givenOf, readYaml } from "../config_file.ts";
import { isPath } from "./files.ts";
import { type Choice, type Distribution, gridOf, type Parameter, randomChoices, rungsOf } from "./search.ts";
import {
  checkTrial,
  OTHER_FLAGS,
  outwardProblems,
  SWEEP_FILE_FLAGS,
  TRIAL_FLAGS,
} from "../../jobs/finetune/trial_flags.ts";

/** A trial: values of the parameters, and all flags that a job sets. */
export interface Trial {
  readonly id: number;
  readonly choice: Choice;
  readonly given: Readonly<Record<string, string | number | boolean>>;
}

/** A sweep that was read. */
export interface SweepPlan {
  readonly name: string;
  readonly method: "grid" | "random" | "successive_halving";
  readonly metric: { readonly name: string; readonly goal: "minimize" | "maximize" };
  readonly trials: readonly Trial[];
  /** Steps after which trials are compared; null where each trains to its end at once. */
  readonly rungs: readonly number[] | null;
  readonly reductionFactor: number;
  readonly model: string;
  readonly ggufFile: string | undefined;
  readonly data: string;
  readonly evalData: string | undefined;
}

const MOST_TRIALS = 10_000;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const anObject: Rule<Record<string, unknown>> = rule("names with their values", isObject);
const sweepName: Rule<string> = rule(
  "up to 48 letters, digits, - and _",
  (value) => typeof value === "string" && /^[A-Za-z0-9_-]{1,48}$/.test(value),
);

/** Fields of the file. */
const FIELDS: Readonly<Record<string, Rule<unknown>>> = {
  name: sweepName,
  method: choice("grid", "random", "successive_halving"),
  metric: anObject,
  finetune: anObject,
  parameters: anObject,
  trials: integer(1, MOST_TRIALS),
  seed: integer(0, Number.MAX_SAFE_INTEGER),
  min_resource: integer(1, 1e9),
  reduction_factor: integer(2, 1000),
};

const METRIC_FIELDS: Readonly<Record<string, Rule<unknown>>> = {
  name: text,
  goal: choice("minimize", "maximize"),
};

const RANGES: readonly Distribution[] = ["uniform", "log_uniform_values", "int_uniform"];
const PARAMETER_FIELDS: Readonly<Record<string, Rule<unknown>>> = {
  values: rule("a list of at least one value", (value) => Array.isArray(value) && value.length > 0),
  value: rule("a value", (value) => value !== undefined && value !== null),
  min: number(),
  max: number(),
  distribution: choice(...RANGES),
};

/** Fields of successive halving alone. */
const HALVING_FIELDS = ["min_resource", "reduction_factor"] as const;
/** What metrics are without held-out data, and with it. */
const DEFAULT_METRICS = { trained: "train_loss", heldOut: "eval_loss" } as const;

/** Checks an object's names and values; what is wrong goes into `problems`. */
function checkFields(
  place: string,
  object: Readonly<Record<string, unknown>>,
  fields: Readonly<Record<string, Rule<unknown>>>,
  problems: string[],
): void {
  const prefix = place === "" ? "" : `${place}.`;
  for (const [name, value] of Object.entries(object)) {
    try {
      checkOptions("", { [name]: value }, Object.keys(fields), "field");
      const problem = problemWith(fields[name], `${prefix}${name}`, value);
      if (problem !== null) problems.push(problem);
    } catch (error) {
      const message = (error as Error).message.replace(/^Cannot : /, "");
      problems.push(place === "" ? message : `${place}: ${message}`);
    }
  }
}

/** What is wrong with single values of a flag, each without the others. */
function checkValues(place: string, name: string, values: readonly unknown[], problems: string[]): void {
  const { [name]: own } = TRIAL_FLAGS;
  for (const value of values) {
    const { given, problems: wrong } = givenOf({ [name]: value }, [name]);
    const single = checkFlags({ [name]: { ...own, needs: undefined } }, given).problems;
    const outward = name === "training-options" ? outwardProblems(given[name]) : [];
    const found = [...wrong, ...single, ...outward];
    problems.push(...found.map((problem) => `${place}: ${problem}`));
  }
}

/** A parameter of the file; null where something is wrong, which is in `problems`. */
function readParameter(key: string, spec: unknown, isGrid: boolean, problems: string[]): Parameter | null {
  const place = `parameters.${key}`;
  const before = problems.length;
  if (!isObject(spec)) {
    problems.push(`${place} must have values, or min and max, received ${JSON.stringify(spec)}`);
    return null;
  }
  checkFields(place, spec, PARAMETER_FIELDS, problems);
  const { given, problems: wrong } = givenOf({ [key]: 0 }, Object.keys(TRIAL_FLAGS), OTHER_FLAGS);
  problems.push(...wrong.map((problem) => `parameters: ${problem}`));
  if (problems.length > before) return null;
  const [name] = Object.keys(given);
  const { values, value, min, max, distribution } = spec as {
    values?: unknown[];
    value?: unknown;
    min?: number;
    max?: number;
    distribution?: Distribution;
  };
  const forms = [values, value, min ?? max].filter((form) => form !== undefined);
  if (forms.length !== 1) {
    problems.push(
      `${place} must have one of values, value, and min with max, received ${JSON.stringify(spec)}`,
    );
    return null;
  }
  if (values !== undefined || value !== undefined) {
    if (distribution !== undefined) problems.push(`${place}.distribution needs min and max`);
    checkValues(place, name, values ?? [value], problems);
    return { name, distribution: "categorical", values: values ?? [value], min: 0, max: 0 };
  }
  if (min === undefined || max === undefined || min >= max) {
    problems.push(`${place} must have min below max, received ${min} and ${max}`);
    return null;
  }
  const isWhole = Number.isInteger(min) && Number.isInteger(max);
  const kind = distribution ??
    (isWhole && TRIAL_FLAGS[name].rule.from === "integer" ? "int_uniform" : "uniform");
  if (isGrid) problems.push(`${place} must have values with method grid, received min and max`);
  if (kind === "int_uniform" && !isWhole) {
    problems.push(`${place} must have integers as min and max with int_uniform, received ${min} and ${max}`);
  }
  if (kind === "log_uniform_values" && min <= 0) {
    problems.push(`${place}.min must be above 0 with log_uniform_values, received ${min}`);
  }
  checkValues(place, name, [min, max], problems);
  return { name, distribution: kind, values: [], min, max };
}

/** Flags of the file's `finetune`, those of files apart. */
function readFinetune(section: Record<string, unknown>, problems: string[]) {
  const names = [...Object.keys(TRIAL_FLAGS), ...Object.keys(SWEEP_FILE_FLAGS)];
  const { given, problems: wrong } = givenOf(section, names, OTHER_FLAGS);
  problems.push(...wrong.map((problem) => `finetune: ${problem}`));
  const single = Object.entries(given).filter(([name]) => Object.hasOwn(TRIAL_FLAGS, name));
  for (const [name, value] of single) checkValues("finetune", name, [value], problems);
  const files: Record<string, string> = {};
  for (const name of Object.keys(SWEEP_FILE_FLAGS)) {
    const value = given[name];
    delete given[name];
    if (value === undefined) {
      if (SWEEP_FILE_FLAGS[name].required) problems.push(`finetune.${name} is required`);
    } else if (typeof value === "string" && value !== "") files[name] = value;
    else problems.push(`finetune.${name} must be a path, received ${JSON.stringify(value)}`);
  }
  return { given, files };
}

/** Problems of trials, each said once, with a trial that has it. */
function checkTrials(trials: readonly Trial[], files: Record<string, string>): string[] {
  const found = new Map<string, Trial>();
  for (const trial of trials) {
    const places = { model: "", data: "", output: "", "eval-data": files["eval-data"] };
    for (const problem of checkTrial(trial.given, places).problems) {
      if (!found.has(problem)) found.set(problem, trial);
    }
  }
  return [...found].map(([problem, { choice }]) => `with ${JSON.stringify(choice)}: ${problem}`);
}

/**
 * The sweep that an object describes.
 * @param name the sweep's, where the object says none
 * @returns null where something is wrong, and all that is
 */
export function planSweep(
  object: Record<string, unknown>,
  name: string,
): {
  readonly plan: SweepPlan | null;
  readonly problems: readonly string[];
  /** The files that it names, by flag. */
  readonly files: Readonly<Record<string, string>>;
} {
  const problems: string[] = [];
  checkFields("", object, FIELDS, problems);
  for (const field of ["method", "finetune", "parameters"]) {
    if (object[field] === undefined) problems.push(`${field} is required`);
  }
  const { method, trials: count, seed = 0, min_resource: minResource = 1, reduction_factor: factor = 4 } =
    object;
  const isHalving = method === "successive_halving";
  const finetune = isObject(object.finetune) ? object.finetune : {};
  const { given, files } = readFinetune(finetune, problems);
  const named = isObject(object.parameters) ? object.parameters : {};
  if (isObject(object.parameters) && Object.keys(named).length === 0) {
    problems.push("parameters must have at least one, received none");
  }
  const read = Object.entries(named).map(([key, spec]) =>
    readParameter(key, spec, method === "grid", problems)
  );
  const parameters = read.filter((parameter) => parameter !== null);
  for (const { name } of parameters) {
    if (name in given) problems.push(`"${name}" must be in finetune or in parameters, received it in both`);
  }
  if (new Set(parameters.map(({ name }) => name)).size < parameters.length) {
    problems.push("parameters must each be named once, received one by two spellings");
  }
  const combinations = parameters.reduce((product, { values }) => product * values.length, 1);
  if (method === "grid" && combinations > MOST_TRIALS) {
    problems.push(`parameters must have at most ${MOST_TRIALS} combinations, received ${combinations}`);
  }
  if (method === "grid" && count !== undefined) problems.push("trials has no effect with method grid");
  if ((method === "random" || isHalving) && count === undefined) {
    problems.push(`trials is required with method ${method}`);
  }
  for (const field of HALVING_FIELDS) {
    if (!isHalving && object[field] !== undefined) {
      problems.push(`${field} has no effect with method ${JSON.stringify(method)}`);
    }
  }
  const maxSteps = Number(given["max-steps"] ?? -1);
  if (isHalving && !(maxSteps > Number(minResource))) {
    problems.push(
      `finetune.max-steps must be above min_resource (${minResource}) with method successive_halving, received ${maxSteps}`,
    );
  }
  const metric = isObject(object.metric) ? object.metric : {};
  checkFields("metric", metric, METRIC_FIELDS, problems);
  const isHeldOut = files["eval-data"] !== undefined || Number(given["eval-split"] ?? 0) > 0;
  const { name: metricName = isHeldOut ? DEFAULT_METRICS.heldOut : DEFAULT_METRICS.trained, goal } =
    metric as {
      name?: string;
      goal?: "minimize" | "maximize";
    };
  if (typeof metricName === "string" && !isHeldOut && camelCase(metricName) !== "trainLoss") {
    problems.push(`metric.name must be train_loss without eval-data or eval-split, received "${metricName}"`);
  }
  const own = object.name ?? name;
  if (object.name === undefined && !sweepName.accepts(own)) {
    problems.push(`name is required where the file's own is none, received ${JSON.stringify(own)}`);
  }
  if (problems.length > 0) return { plan: null, problems, files };

  const choices = method === "grid"
    ? gridOf(parameters)
    : randomChoices(parameters, Number(count), Number(seed));
  const flags = Object.keys(TRIAL_FLAGS);
  const trials = choices.map((choice, id): Trial => {
    const { given: own, problems: wrong } = givenOf(choice, flags);
    problems.push(...wrong);
    return { id, choice, given: { ...given, ...own } as Trial["given"] };
  });
  problems.push(...checkTrials(trials, files));
  if (problems.length > 0) return { plan: null, problems: [...new Set(problems)], files };
  return {
    ...{ problems: [], files },
    plan: {
      name: own as string,
      method: method as SweepPlan["method"],
      metric: {
        name: camelCase(metricName),
        goal: goal ?? (/accuracy|reward|margin/i.test(metricName) ? "maximize" : "minimize"),
      },
      trials,
      rungs: isHalving ? rungsOf(Number(minResource), Number(factor), maxSteps) : null,
      reductionFactor: Number(factor),
      model: files.model,
      ggufFile: files["gguf-file"],
      data: files.data,
      evalData: files["eval-data"],
    },
  };
}

/** Problems of files that are not there. A model that may be the hub's is looked for later. */
async function absentFiles(files: Readonly<Record<string, string>>): Promise<string[]> {
  const isThere = (path: string) => Deno.stat(path).then(() => true, () => false);
  const problems: string[] = [];
  const { model, "gguf-file": ggufFile } = files;
  if (model !== undefined && isPath(model)) {
    const path = ggufFile === undefined ? model : join(model, ggufFile);
    if (!await isThere(path)) {
      problems.push(`finetune.model must be a folder or file of this machine, received "${path}"`);
    }
  }
  for (const flag of ["data", "eval-data"].filter((flag) => files[flag] !== undefined)) {
    for (const path of fileNames(files[flag])) {
      if (!await isThere(path)) {
        problems.push(`finetune.${flag} must be files of this machine, received "${path}"`);
      }
    }
  }
  return problems;
}

/** Reads and checks a sweep's file, and that files are where it says. @throws {UsageError} naming every mistake */
export async function readSweep(path: string): Promise<SweepPlan> {
  const action = `read the sweep "${path}"`;
  const object = await readYaml(action, path, "the fields of a sweep");
  const { plan, problems: wrong, files } = planSweep(object, basename(path, extname(path)));
  const problems = [...wrong, ...await absentFiles(files)];
  if (plan !== null && problems.length === 0) return plan;
  if (problems.length === 1) throw new UsageError(`Cannot ${action}: ${problems[0]}`);
  throw new UsageError(
    `Cannot ${action}: ${problems.length} mistakes must be corrected:\n${
      problems.map((problem) => `  ${problem}`).join("\n")
    }`,
  );
}

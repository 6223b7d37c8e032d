/**
 * Writes docs/configuration.md: every field of every configuration and of the training arguments, with its default, the
 * values it can have and its name on disk, from the tables and the comments in the source.
 * `deno task config-page` writes it; with `--check` it fails where the page is not up to date.
 * @module
 */
import { keyOf, namesOf, type OptionTable } from "../options/table.ts";
import { MethodConfig, type MethodTable } from "../peft/config/method_config.ts";
import * as peft from "../peft/mod.ts";
import { CPOConfig, DPOConfig, KTOConfig, ORPOConfig } from "../train/mod.ts";
import { SFT_SETTINGS } from "../train/sft/sft_config.ts";
import { SETTINGS } from "../train/training_arguments.ts";
import { listFiles } from "./list_files.ts";

const ROOT = new URL("../", import.meta.url).pathname;
/** The page, relative to the root. */
const PAGE = "docs/configuration.md";
/** A comment, and the field below it. */
const FIELD = /\/\*\*((?:(?!\*\/)[^])*?)\*\/\s*(?:readonly |declare )?(\w+)[!?]?:/g;
/** An interface or class with its body, up to the brace in the first column. */
const BODY = /export (?:interface|class) (\w+)[^{]*\{\n([^]*?)\n\}/g;

// deno-lint-ignore no-explicit-any -- tables of different methods side by side
type AnyTable = OptionTable<any>;

/** What comments in the source say of each field, by interface. */
async function readComments(): Promise<Map<string, Map<string, string>>> {
  const found = new Map<string, Map<string, string>>();
  for (const path of await listFiles(ROOT, /\.ts$/, ["peft", "train"])) {
    for (const [, name, body] of (await Deno.readTextFile(`${ROOT}${path}`)).matchAll(BODY)) {
      const fields = new Map<string, string>();
      for (const [, comment, field] of body.matchAll(FIELD)) {
        fields.set(field, comment.replaceAll(/\s*\n\s*\*?\s*/g, " ").trim());
      }
      if (!found.has(name)) found.set(name, fields);
    }
  }
  return found;
}

/** A comment without the default, which has a column of its own. */
function meaning(comment = ""): string {
  const value = /[;,.]? ?[Dd]efault (?:"[^"]*"|-?\d[\d.e-]*\d|-?\d|true|false|null|\{\}|\[\])(?=[.;: ]|$)/;
  return comment
    .replace(new RegExp(`${value.source}: `), "; by default: ")
    .replace(new RegExp(`${value.source}\\. `), ". ")
    .replace(value, "")
    .replace(/^[:;,. ]+/, "").replace(/[;:,. ]+$/, "").replaceAll("|", "\\|");
}

function rows(
  options: AnyTable,
  names: readonly string[],
  comments: ReadonlyMap<string, string>,
  disk: boolean,
) {
  const header = disk ? ["field", "in the file"] : ["setting"];
  const table = [[...header, "default", "value", "meaning"]];
  for (const name of names) {
    const { rule, default: value } = options[name];
    const wanted = rule.wanted.replace(/^map /, "a table that maps ").replaceAll("|", "\\|");
    const places = disk ? [`\`${name}\``, `\`${keyOf(options, name)}\``] : [`\`${name}\``];
    table.push([...places, `\`${JSON.stringify(value)}\``, wanted, meaning(comments.get(name))]);
  }
  const lines = table.map((cells) => `| ${cells.join(" | ")} |`);
  lines.splice(1, 0, `|${" --- |".repeat(table[0].length)}`);
  return lines.join("\n");
}

/** Interfaces that several methods' fields extend, in the order of the page. */
const SHARED: readonly [name: string, title: string][] = [
  ["PeftConfigFields", "Every method"],
  ["TargetedFields", "Methods that choose modules by name"],
  ["BlockwiseFields", "Methods that can be limited to some blocks"],
  ["LycorisFields", "LoHa and LoKr"],
  ["PromptLearningFields", "Prefix tuning, prompt tuning and P-tuning"],
];

/** Settings of trainers that have more than `Trainer`, or other defaults. */
const TRAINERS: readonly (readonly [name: string, settings: AnyTable])[] = [
  ["SFTConfig", SFT_SETTINGS],
  ["DPOConfig", new DPOConfig().settings],
  ["KTOConfig", new KTOConfig().settings],
  ["ORPOConfig", new ORPOConfig().settings],
  ["CPOConfig", new CPOConfig().settings],
];

/** The settings that a trainer adds to `TrainingArguments`, and those whose default is another. */
function ownSettings(settings: AnyTable): string[] {
  const shared = SETTINGS as AnyTable;
  return namesOf<Record<string, unknown>>(settings)
    .filter((name) => settings[name].default !== shared[name]?.default);
}

/** The text of the page. */
export async function configPage(): Promise<string> {
  const comments = await readComments();
  const methods = Object.entries(peft).filter(([, value]) =>
    typeof value === "function" && value.prototype instanceof MethodConfig
  ).map(([name, value]) => ({
    name,
    table: (value as unknown as { prototype: { table: MethodTable<peft.PeftConfigFields> } }).prototype.table,
  })).sort((a, b) => a.name < b.name ? -1 : 1);
  const lines = [
    "# Configuration",
    "",
    "Every field with its default, written from the source by `deno task config-page`. Names and defaults are those of",
    "`peft` 0.21 and `transformers` 5.23 (AdapterHub's for bottleneck adapters), in camelCase; files have them in",
    "snake_case. A field that a method does not have, or a value that it cannot have, is refused when the configuration",
    "is made.",
  ];
  for (const [name, title] of SHARED) {
    const own = [...comments.get(name)!.keys()];
    const owner = methods.find(({ table }) => own.every((field) => Object.hasOwn(table.options, field)))!;
    lines.push("", `## ${title}`, "", rows(owner.table.options, own, comments.get(name)!, true));
  }
  const shared = new Set(SHARED.flatMap(([name]) => [...comments.get(name)!.keys()]));
  for (const { name, table } of methods) {
    const own = comments.get(`${name}Fields`) ?? new Map<string, string>();
    const names = namesOf<Record<string, unknown>>(table.options as AnyTable)
      .filter((field) => own.has(field) || !shared.has(field));
    lines.push("", `## ${name}`, "");
    const title = table.title[0].toUpperCase() + table.title.slice(1);
    lines.push(
      names.length === 0
        ? `${title} has no fields of its own.`
        : `${title}.\n\n${rows(table.options as AnyTable, names, own, true)}`,
    );
    const refused = Object.keys(table.unsupported ?? {})
      .filter((key) => !table.ignored?.includes(key)).map((key) => `\`${key}\``);
    if (refused.length > 0) {
      lines.push("", `Not supported, and refused where a file asks for it: ${refused.join(", ")}.`);
    }
  }
  const settings = comments.get("TrainingArguments")!;
  lines.push("", "## TrainingArguments", "", rows(SETTINGS as AnyTable, namesOf(SETTINGS), settings, false));
  for (const [name, table] of TRAINERS) {
    const own = new Map([...settings, ...comments.get(name)!]);
    lines.push(
      "",
      `## ${name}`,
      "",
      `What it adds to \`TrainingArguments\`, and where its default is another.`,
    );
    lines.push("", rows(table, ownSettings(table), own, false));
  }
  return `${lines.join("\n")}\n`;
}

if (import.meta.main) {
  const path = `${ROOT}${PAGE}`;
  const wanted = `${await Deno.makeTempDir()}/page.md`;
  await Deno.writeTextFile(wanted, await configPage());
  const format = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--config", `${ROOT}deno.json`, wanted],
  });
  if (!(await format.output()).success) throw new Error("Cannot format the page");
  const text = await Deno.readTextFile(wanted);
  if (!Deno.args.includes("--check")) await Deno.writeTextFile(path, text);
  else if (await Deno.readTextFile(path).catch(() => "") !== text) {
    console.error(`${PAGE} is not up to date: run deno task config-page`);
    Deno.exit(1);
  }
}

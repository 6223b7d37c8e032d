/**
 * `completion`: what a shell needs to complete commands and flags.
 * @module
 */

import { choice } from "../options/rules.ts";
import { type Command, flagsOf } from "./command.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

const flags = {
  shell: { rule: choice(...SHELLS), required: true, help: "The shell" },
} as const;

/** Flags whose values are files or folders, by the shell's own completion; the others have choices or none. */
const takesFile = (name: string) =>
  [
    ...["model", "allow-model", "adapter", "data", "eval-data", "output", "config", "file"],
    ...["creds", "nkey", "tlsca", "tlscert", "tlskey"],
  ].includes(name);

/** Flags whose values are folders. */
const takesFolder = (name: string) => name === "run" || name === "folder" || name === "work";

/** What `./run` does beside the commands of this program, with a line on each. */
const OTHER_TASKS: readonly Pick<Command, "name" | "summary">[] = [
  { name: "demo", summary: "Fine-tune the small GPT-2 that ships here" },
  { name: "teach", summary: "Teach SmolLM2 new answers" },
  { name: "test", summary: "Run every check and test" },
  { name: "ok", summary: "Run the checks that need no device" },
  { name: "bench", summary: "Time kernels and training steps" },
  { name: "bundle", summary: "Make dist/peft_webgpu.js for browsers" },
];

/** A text in single quotes, for any of the shells. */
const quoted = (text: string) => `'${text.replaceAll("'", "’")}'`;

/** Lines `name) …;;` of a bash `case`. */
function bash(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const all = flagsOf(command);
    const values = Object.entries(all).flatMap(([name, { rule: { choices } }]) =>
      choices
        ? [`        --${name}) COMPREPLY=($(compgen -W ${quoted(choices.join(" "))} -- "$word"));;`]
        : []
    );
    const flagsThat = (test: (name: string) => boolean) =>
      Object.keys(all).filter(test).map((name) => `--${name}`).join("|") || "--";
    const names = Object.keys({ ...all, help: 0 }).map((name) => `--${name}`).join(" ");
    return [
      `    ${command.name})`,
      `      case $before in`,
      ...values,
      ...command.positional ? [`        ${command.name}) _peft_webgpu_paths -f "$word";;`] : [],
      `        ${flagsThat(takesFile)}) _peft_webgpu_paths -f "$word";;`,
      `        ${flagsThat(takesFolder)}) _peft_webgpu_paths -d "$word";;`,
      `        *) COMPREPLY=($(compgen -W ${quoted(names)} -- "$word"));;`,
      `      esac;;`,
    ].join("\n");
  });
  const tasks = [...commands, ...OTHER_TASKS].map(({ name }) => name).join(" ");
  return [
    "_peft_webgpu_paths() {", // -f files or -d folders; readline escapes what the shell would part
    String.raw`  local line word="${"$"}{2//\\/}"`,
    "  COMPREPLY=()",
    `  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$1" -- "$word")`,
    "  compopt -o filenames 2>/dev/null || true",
    "}",
    "_peft_webgpu() {",
    `  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"`,
    `  if [ "$COMP_CWORD" -eq 1 ]; then`,
    `    COMPREPLY=($(compgen -W ${quoted(tasks)} -- "$word")); return`,
    "  fi",
    `  case "\${COMP_WORDS[1]}" in`,
    ...cases,
    "  esac",
    "}",
    "complete -F _peft_webgpu run ./run",
  ].join("\n");
}

/** Arguments of zsh's `_arguments`. */
function zshFlags(command: Command): string[] {
  const { positional } = command;
  const first = positional ? [quoted(`1:${positional}:_files`)] : [];
  const named = Object.entries(flagsOf(command)).map(([name, { help, rule: { from, choices } }]) => {
    const text = help.replaceAll(/[[\]:]/g, " ");
    const values = choices
      ? `(${choices.join(" ")})`
      : takesFile(name)
      ? "_files"
      : takesFolder(name)
      ? "_files -/"
      : " ";
    return quoted(`--${name}[${text}]${from === "switch" ? "" : `:${name}:${values}`}`);
  });
  return [...first, ...named];
}

function zsh(commands: readonly Command[]): string {
  const names = [...commands, ...OTHER_TASKS].map(({ name, summary }) =>
    quoted(`${name}:${summary.replaceAll(":", " ")}`)
  );
  return [
    "#compdef run ./run",
    "_peft_webgpu() {",
    "  if (( CURRENT == 2 )); then",
    `    local -a commands=(${names.join(" ")})`,
    "    _describe command commands; return",
    "  fi",
    "  local command=$words[2]",
    "  shift words; (( CURRENT-- ))",
    "  case $command in",
    ...commands.map((command) => `    ${command.name}) _arguments ${zshFlags(command).join(" ")};;`),
    "  esac",
    "}",
    "compdef _peft_webgpu run ./run",
  ].join("\n");
}

function fish(commands: readonly Command[]): string {
  const lines = [...commands, ...OTHER_TASKS].map(({ name, summary }) =>
    `complete -c run -f -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`
  );
  for (const command of commands) {
    if (command.positional) lines.push(`complete -c run -n '__fish_seen_subcommand_from ${command.name}' -F`);
    for (const [name, { help, rule: { from, choices } }] of Object.entries(flagsOf(command))) {
      const values = from === "switch"
        ? ""
        : choices
        ? ` -x -a ${quoted(choices.join(" "))}`
        : takesFile(name)
        ? " -r -F"
        : takesFolder(name)
        ? " -x -a '(__fish_complete_directories)'"
        : " -x";
      lines.push(
        `complete -c run -n '__fish_seen_subcommand_from ${command.name}' -l ${name}${values} -d ${
          quoted(help)
        }`,
      );
    }
  }
  return lines.join("\n");
}

const WRITERS = { bash, zsh, fish } as const;

/** The command; it is told of the others. */
export function completion(others: readonly Command[]): Command<typeof flags> {
  const self: Command<typeof flags> = {
    name: "completion",
    summary: "Print a script that lets bash, zsh or fish complete commands and flags",
    flags,
    permissions: [],
    examples: [
      "source <(./run completion --shell bash)",
      "./run completion --shell fish > ~/.config/fish/completions/run.fish",
    ],
    run({ shell }) {
      const script = WRITERS[shell]([...others, self as unknown as Command]);
      console.log(script);
      return Promise.resolve({ shell, script });
    },
  };
  return self;
}

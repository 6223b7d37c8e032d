/**
 * Files of questions and answers.
 * @module
 */

/** A question, and what is known of its answer. */
export interface Question {
  readonly question: string;
  /** What the model is taught to answer. */
  readonly answer?: string;
  /** Texts of which a right answer contains one; none: answers are not counted. */
  readonly expect: readonly string[];
  /** What the question is counted under. */
  readonly kind: string;
}

/**
 * Questions of a .jsonl file. Those that are "taught" must have answers.
 * @param kind of lines that do not name one
 * @throws {TypeError} for a line of another form, naming it, or a file without questions
 */
export async function readQuestions(file: string, kind: "taught" | "not taught"): Promise<Question[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound ? "there is no such file" : (cause as Error).message;
    throw new TypeError(`Cannot read "${file}": ${reason}`, { cause });
  }
  const questions: Question[] = [];
  text.split("\n").forEach((line, i) => {
    if (line.trim() !== "") questions.push(readLine(line, `"${file}", line ${i + 1}`, kind));
  });
  if (questions.length === 0) {
    throw new TypeError(`Cannot read "${file}": at least one question is required, received none`);
  }
  return questions;
}

function readLine(line: string, where: string, kind: "taught" | "not taught"): Question {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = null;
  }
  const isText = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";
  const row = (typeof value === "object" ? value : null) as Record<string, unknown> | null;
  const { question, answer, expect = [], kind: ownKind = kind } = row ?? {};
  const texts = [expect].flat();
  if (
    !isText(question) || !(kind === "taught" ? isText(answer) : answer === undefined) ||
    !texts.every(isText) || !isText(ownKind)
  ) {
    const wanted = kind === "taught" ? '"question" and "answer"' : '"question"';
    throw new TypeError(`Cannot read ${where}: an object with ${wanted} is required, received ${line}`);
  }
  return { question, answer: answer as string | undefined, expect: texts as string[], kind: ownKind };
}

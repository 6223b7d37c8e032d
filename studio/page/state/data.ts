/**
 * The open data.
 * @module
 */
import { effect, signal } from "@preact/signals";
import type { DataFacts, DataSource, MaskedExample, OpenDataOptions, Pair } from "../../protocol.ts";
import { Task } from "./task.ts";

/** What is open; null where nothing is. */
export const data = signal<DataFacts | null>(null);
/** Where it comes from: opened again when the model changes. */
export const dataSource = signal<DataSource | null>(null);
/** The example that is shown. */
export const example = signal<MaskedExample | null>(null);
/** How rows are read. */
export const reading = signal<Omit<OpenDataOptions, "source">>({});
/** Opening. */
export const openingData = new Task();
const showing = new Task();

/** Takes what was opened. */
export function showData(facts: DataFacts): void {
  data.value = facts;
  example.value = facts.example;
}

/** Opens data for the open model; gives whether they are open now. */
export async function openData(source: DataSource): Promise<boolean> {
  data.value = null;
  dataSource.value = source;
  const facts = await openingData.run("Reading the examples", "openData", { source, ...reading.value });
  if (facts) showData(facts);
  return facts !== undefined;
}

/** Shows another example. */
export async function showExample(index: number): Promise<void> {
  const found = await showing.run("Reading the example", "dataExample", { index });
  if (found) example.value = found;
}

const DRAFT = "studio.pairs";

function readDraft(): Pair[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(DRAFT) ?? "null");
    if (Array.isArray(kept) && kept.length > 0) {
      return kept.map(({ question, answer }) => ({ question: String(question), answer: String(answer) }));
    }
  } catch {
    // Without storage, or with what another version left there, it begins empty.
  }
  return [{ question: "", answer: "" }];
}

/** Questions and answers as they are typed; a reload keeps them, in this browser alone. */
export const pairs = signal<readonly Pair[]>(readDraft());
/** What goes before each of them. */
export const systemText = signal("");

effect(() => {
  const text = JSON.stringify(pairs.value);
  try {
    localStorage.setItem(DRAFT, text);
  } catch {
    // Without storage they last as long as the page.
  }
});

/** Those that have both sides. */
export const wholePairs = (): Pair[] =>
  pairs.value.filter(({ question, answer }) => question.trim() !== "" && answer.trim() !== "");

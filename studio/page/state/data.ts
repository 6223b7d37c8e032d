/**
 * The open data.
 * @module
 */
import { effect, signal } from "@preact/signals";
import type { DataFacts, DataSource, MaskedExample, OpenDataOptions, Pair } from "../../protocol.ts";
import { keep, readKept } from "./kept.ts";
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

/** Opens data for the open model, and gives whether it could; where not, what was open stays open. */
export async function openData(source: DataSource): Promise<boolean> {
  const facts = await openingData.run("Reading the examples", "openData", { source, ...reading.value });
  if (!facts) return false;
  dataSource.value = source;
  showData(facts);
  return true;
}

/** Shows another example. */
export async function showExample(index: number): Promise<void> {
  const found = await showing.run("Reading the example", "dataExample", { index });
  if (found) example.value = found;
}

const DRAFT = "studio.pairs";

function readDraft(): Pair[] {
  const kept = readKept(DRAFT);
  if (!Array.isArray(kept) || kept.length === 0) return [{ question: "", answer: "" }];
  return kept.map((pair) => ({ question: String(pair?.question ?? ""), answer: String(pair?.answer ?? "") }));
}

/** Questions and answers as they are typed; a reload keeps them, in this browser alone. */
export const pairs = signal<readonly Pair[]>(readDraft());
/** What goes before each of them. */
export const systemText = signal("");

effect(() => keep(DRAFT, JSON.stringify(pairs.value)));

/** Those that have both sides. */
export const wholePairs = (): Pair[] =>
  pairs.value.filter(({ question, answer }) => question.trim() !== "" && answer.trim() !== "");

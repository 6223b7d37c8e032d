/**
 * The model of the last visit, to open it again by one click; kept in this browser alone.
 * @module
 */
import { signal } from "@preact/signals";
import type { ModelSource } from "../../protocol.ts";
import { keep, readKept } from "./kept.ts";

/** A model that can be opened again without the reader's files. */
export interface LastModel {
  readonly name: string;
  readonly source: Extract<ModelSource, { kind: "builtin" | "hub" }>;
}

const KEY = "studio.model";

function read(): LastModel | null {
  const { name, source } = (readKept(KEY) ?? {}) as Partial<LastModel>;
  const isHub = source?.kind === "hub" && typeof source.repo === "string";
  return typeof name === "string" && (isHub || source?.kind === "builtin") ? { name, source } : null;
}

/** The last one; null on a first visit. */
export const lastModel = signal<LastModel | null>(read());

/** Keeps a model in mind, without its access token. */
export function rememberModel(name: string, source: ModelSource): void {
  if (source.kind !== "builtin" && source.kind !== "hub") return;
  const kept = source.kind === "hub" ? { ...source, token: undefined } : source;
  lastModel.value = { name, source: kept };
  keep(KEY, JSON.stringify(lastModel.value));
}

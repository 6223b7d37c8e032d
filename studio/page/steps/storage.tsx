/**
 * What the studio keeps in this browser, and a way to delete it.
 * @module
 */
import type { JSX } from "preact";
import { signal } from "@preact/signals";
import type { StorageReport } from "../../protocol.ts";
import { showBytes } from "../format.ts";
import { TaskState } from "../parts/wait.tsx";
import { Task } from "../state/task.ts";

const report = signal<StorageReport | null>(null);
const looking = new Task();

const KINDS = { model: "Model", run: "Training", adapter: "Adapter", export: "File to take home" } as const;

async function look(): Promise<void> {
  report.value = await looking.run("Looking at what is kept", "storage", {}) ?? report.value;
}

async function remove(entryId: string): Promise<void> {
  report.value = await looking.run("Deleting it", "deleteStored", { entryId }) ?? report.value;
}

function Entries({ found }: { found: StorageReport }): JSX.Element {
  if (!found.isAvailable) {
    return <p>This browser keeps nothing: what you make here lasts as long as the tab.</p>;
  }
  return (
    <>
      <p class="quiet">
        {found.usage !== null && `${showBytes(found.usage)} used`}
        {found.quota !== null && ` of ${showBytes(found.quota)} that the browser allows`}
        {found.isPersisted
          ? "; it stays until you delete it."
          : "; the browser may clear it when the disk is full."}
      </p>
      {found.entries.length === 0 && <p>Nothing is kept yet.</p>}
      <ul class="rows">
        {found.entries.map(({ entryId, kind, name, bytes, inUse }) => (
          <li key={entryId}>
            <span>{KINDS[kind]}: {name}</span>
            <span class="quiet number">{showBytes(bytes)}</span>
            <button
              type="button"
              class="plain"
              disabled={inUse}
              aria-label={`Delete ${name}`}
              onClick={() => remove(entryId)}
            >
              {inUse ? "in use" : "Delete"}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

/** The list; it is read when it is asked for. */
export function Storage(): JSX.Element {
  return (
    <section>
      <h3>Kept in this browser</h3>
      <TaskState task={looking} />
      {report.value
        ? <Entries found={report.value} />
        : <button type="button" class="calm" onClick={look}>Show what is kept</button>}
    </section>
  );
}

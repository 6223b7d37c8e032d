/**
 * A wait that says what it waits for.
 * @module
 */
import type { JSX } from "preact";
import type { Progress } from "../../protocol.ts";
import { showBytes, showPlural } from "../format.ts";
import type { Task } from "../state/task.ts";
import { Failure } from "./failure.tsx";

function amount({ done, total, unit }: Progress): string {
  if (unit === "bytes") return total === null ? showBytes(done) : `${showBytes(done)} of ${showBytes(total)}`;
  const one = unit.slice(0, -1);
  return total === null
    ? showPlural(done, one)
    : `${done.toLocaleString("en-US")} of ${showPlural(total, one)}`;
}

/** A bar, and beside it what happens and how far it is. */
export function Wait(props: { task: Task; canCancel?: boolean }): JSX.Element | null {
  const { task } = props;
  const waitsFor = task.waitsFor.value;
  if (waitsFor === null) return null;
  const progress = task.progress.value;
  const text = progress?.text ?? waitsFor;
  const part = progress?.total ? Math.min(1, progress.done / progress.total) : null;
  return (
    <div class="wait">
      <div class="wait-words">
        <span>{`${text}…`}</span>
        <span class="quiet number">{progress && progress.done > 0 ? amount(progress) : ""}</span>
        {props.canCancel && <button type="button" class="plain" onClick={() => task.cancel()}>Cancel</button>}
      </div>
      <Bar part={part} label={text} />
    </div>
  );
}

/** A bar of progress. @param props `part`: 0 to 1, or null where nobody can tell */
export function Bar({ part, label }: { part: number | null; label: string }): JSX.Element {
  return (
    <div
      class={part === null ? "bar endless" : "bar"}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={part === null ? undefined : Math.round(100 * part)}
    >
      <div style={{ transform: `scaleX(${part ?? 1})` }} />
    </div>
  );
}

/** The waits that belong to no place of a step: at the foot of the window, so that nothing moves when they come. */
export function Dock({ tasks }: { tasks: readonly Task[] }): JSX.Element | null {
  const shown = tasks.filter(({ waitsFor, error }) => waitsFor.value !== null || error.value !== null);
  if (shown.length === 0) return null;
  return (
    <aside class="dock" aria-label="In progress">
      {shown.map((task, place) => <TaskState key={place} task={task} canCancel />)}
    </aside>
  );
}

/** What a task waits for, or why it failed. */
export function TaskState(props: { task: Task; canCancel?: boolean }): JSX.Element | null {
  const { task } = props;
  if (task.error.value) {
    return <Failure error={task.error.value} onClose={() => task.error.value = null} />;
  }
  return <Wait {...props} />;
}

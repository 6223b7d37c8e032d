/**
 * Trainings of earlier visits that can go on.
 * @module
 */
import type { JSX } from "preact";
import type { ResumableRun } from "../protocol.ts";
import { showAge, showBytes, showNumber } from "./format.ts";
import { Drop } from "./parts/drop.tsx";
import { go } from "./state/road.ts";
import { discardRun, isAlive, resumable, resumeRun } from "./state/training.ts";

function Run({ run }: { run: ResumableRun }): JSX.Element {
  const resume = (files?: Parameters<typeof resumeRun>[1]) => {
    go("train");
    resumeRun(run, files);
  };
  return (
    <section class="unfinished" aria-label={`Unfinished training ${run.name}`}>
      <div>
        <strong>"{run.name}" stopped at step {run.step} of {run.steps}</strong>
        <p class="quiet">
          {run.modelName}, {run.dataName}; saved {showAge(run.savedAt)}, {showBytes(run.bytes)}
          {run.loss === null ? "" : `; loss ${showNumber(run.loss)}`}
        </p>
        {run.needsFiles.length > 0 && (
          <Drop
            text={`To go on, it needs these files again: ${run.needsFiles.join(", ")}`}
            file="Choose the files"
            folder="Choose the folder"
            onFiles={({ files }) => resume(files)}
          />
        )}
      </div>
      <div class="row">
        {run.needsFiles.length === 0 && (
          <button type="button" class="main" onClick={() => resume()}>Go on</button>
        )}
        <button type="button" class="plain" onClick={() => discardRun(run.runId)}>Throw away</button>
      </div>
    </section>
  );
}

/** What was not finished; nothing until the training of this visit has ended. */
export function Unfinished(): JSX.Element | null {
  if (isAlive.value) return null;
  return <>{resumable.value.map((run) => <Run key={run.runId} run={run} />)}</>;
}

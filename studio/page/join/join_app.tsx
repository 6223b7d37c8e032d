/**
 * The page by which a tab joins a training of others.
 * @module
 */
import type { JSX } from "preact";
import { halt } from "../engine.ts";
import { Halt } from "../parts/failure.tsx";
import { ThemeButton } from "../parts/theme_button.tsx";
import { Opening } from "../parts/words.tsx";
import { announcement } from "../state/announcement.ts";
import { Before } from "./before.tsx";
import { During } from "./during.tsx";
import { linkProblem, status } from "./state.ts";

function Top(): JSX.Element {
  return (
    <header class="top">
      <a class="wordmark" href="./">Studio</a>
      <span class="promise quiet">Work for others</span>
      <ThemeButton />
    </header>
  );
}

function NoLink(): JSX.Element {
  const { title, whatToDo, detail } = linkProblem!;
  return (
    <main class="stage">
      <Opening title={title}>{whatToDo}</Opening>
      {detail !== "" && <p class="quiet">The link says: {detail}</p>}
      <div class="row">
        <a class="button calm" href="./">Teach a model of your own</a>
      </div>
    </main>
  );
}

/** Everything. */
export function JoinApp(): JSX.Element {
  const isBefore = ["ready", "joining"].includes(status.value);
  return (
    <>
      <Top />
      {linkProblem
        ? <NoLink />
        : halt.value
        ? <Halt error={halt.value} />
        : <main class="stage">{isBefore ? <Before /> : <During />}</main>}
      <p class="hidden" aria-live="polite">{announcement.value}</p>
    </>
  );
}

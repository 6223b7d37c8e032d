/**
 * What went wrong, and what the reader can do.
 * @module
 */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { StudioError } from "../../protocol.ts";
import { halt } from "../engine.ts";

function Detail({ text }: { text: string }): JSX.Element | null {
  if (text === "") return null;
  return (
    <details class="detail">
      <summary>Details for a report</summary>
      <pre tabIndex={0}>{text}</pre>
    </details>
  );
}

/** Kinds whose detail says where the reader's own data or settings are wrong: it is shown, not folded. */
const REASONED: ReadonlySet<StudioError["kind"]> = new Set(["bad-data", "bad-settings"]);

/** A failure beside what failed. */
export function Failure(props: { error: StudioError; onClose?: () => void }): JSX.Element {
  const { error, onClose } = props;
  return (
    <div class="failure" role="alert">
      <div>
        <strong>{error.title}</strong>
        <p>{error.whatToDo}</p>
        {REASONED.has(error.kind)
          ? error.detail !== "" && <p class="reason quiet">{error.detail}</p>
          : <Detail text={error.detail} />}
      </div>
      {onClose && <button type="button" class="plain" onClick={onClose}>Close</button>}
    </div>
  );
}

/** Pictures of the kinds that have a page of their own; every other one has the first. */
const PICTURES: Readonly<Record<string, string>> = {
  internal: "M16 6v12M16 24v1",
  "no-webgpu": "M6 9h20v12H6zM12 26h8M5 5l22 22",
  "out-of-memory": "M8 6h16v20H8zM12 6v6M16 6v6M20 6v6M8 18h16",
  "other-tab": "M5 9h14v12H5zM13 13h14v12H13z",
  "device-lost": "M4 16h7l3 6 4-12 3 6h7",
};

/** What is offered where the whole page stops. */
function Ways({ kind }: { kind: StudioError["kind"] }): JSX.Element {
  const reload = (
    <button type="button" class="main" onClick={() => location.reload()}>
      Reload the page
    </button>
  );
  if (kind === "no-webgpu") {
    return (
      <>
        {reload}
        <p class="quiet">
          It works today in Chrome and Edge (119 or newer), in Safari 26, and in Firefox 141 or newer on
          Windows. Update the browser, allow graphics acceleration in its settings, and come back.
        </p>
      </>
    );
  }
  if (kind === "out-of-memory") {
    return (
      <button type="button" class="main" onClick={() => halt.value = null}>Go back and choose less</button>
    );
  }
  return reload;
}

/** A page of its own for what keeps the studio from working. */
export function Halt({ error }: { error: StudioError }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [error]);
  return (
    <main class="stage halt">
      <svg viewBox="0 0 32 32" class="picture" aria-hidden="true">
        <path d={PICTURES[error.kind] ?? PICTURES.internal} />
      </svg>
      <h1 ref={heading} tabIndex={-1}>{error.title}</h1>
      <p class="lead">{error.whatToDo}</p>
      <Ways kind={error.kind} />
      <Detail text={error.detail} />
    </main>
  );
}

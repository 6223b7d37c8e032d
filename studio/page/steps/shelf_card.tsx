/**
 * One adapter on the shelf.
 * @module
 */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { AdapterInfo } from "../../protocol.ts";
import { showAge, showBytes, showCount } from "../format.ts";
import { deleteAdapter, renameAdapter } from "../state/shelf.ts";
import { isBusy } from "../state/training.ts";

function Name({ one }: { one: AdapterInfo }): JSX.Element {
  const [isEditing, setEditing] = useState(false);
  const take = (text: string) => {
    setEditing(false);
    const name = text.trim();
    if (name !== "" && name !== one.name) renameAdapter(one.adapterId, name);
  };
  if (!isEditing) {
    return (
      <div class="row between">
        <h2>{one.name}</h2>
        <button
          type="button"
          class="plain"
          aria-label={`Rename ${one.name}`}
          onClick={() => setEditing(true)}
        >
          Rename
        </button>
      </div>
    );
  }
  return (
    <form
      class="row between"
      onSubmit={(event) => {
        event.preventDefault();
        take(new FormData(event.currentTarget).get("name") as string);
      }}
    >
      <input
        type="text"
        name="name"
        aria-label="New name"
        defaultValue={one.name}
        ref={(input) => input?.focus()}
        onKeyDown={(event) => {
          if (event.key === "Escape") setEditing(false);
        }}
      />
      <button type="submit" class="calm">Save</button>
    </form>
  );
}

function Delete({ one }: { one: AdapterInfo }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button
        type="button"
        class="plain"
        aria-label={`Delete ${one.name}`}
        disabled={isBusy.value}
        onClick={() => dialog.current!.showModal()}
      >
        Delete
      </button>
      <dialog ref={dialog} aria-labelledby={`delete-${one.adapterId}`}>
        <h2 id={`delete-${one.adapterId}`}>Delete {one.name}?</h2>
        <p>It will be gone for good, unless you took it home.</p>
        <form method="dialog" class="row">
          <button type="submit" class="calm">Keep it</button>
          <button type="submit" class="danger" onClick={() => deleteAdapter(one.adapterId)}>Delete it</button>
        </form>
      </dialog>
    </>
  );
}

const ORIGINS = { trained: "trained here", loaded: "loaded", mixed: "mixed here" } as const;

/** The card. */
export function ShelfCard({ one }: { one: AdapterInfo }): JSX.Element {
  return (
    <li class={one.problem ? "card faint" : "card"}>
      <Name one={one} />
      <p class="quiet">{one.note}</p>
      <p class="quiet number">
        {one.method}, {showCount(one.parameters)} weights, {showBytes(one.bytes)}
      </p>
      <div class="row between">
        <small class="quiet">{one.problem ?? `${ORIGINS[one.origin]}, ${showAge(one.createdAt)}`}</small>
        <Delete one={one} />
      </div>
    </li>
  );
}

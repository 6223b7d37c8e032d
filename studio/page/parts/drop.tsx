/**
 * A place to drop files or a folder, and buttons for those who do not drag.
 * @module
 */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { NamedFile } from "../../protocol.ts";
import { showPlural } from "../format.ts";

/** What was dropped or picked: files, and what a reader calls them. */
export interface Dropped {
  readonly name: string;
  readonly files: readonly NamedFile[];
}

/** Everything below an entry of a drop. */
async function readEntry(entry: FileSystemEntry, folder: string): Promise<NamedFile[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject)
    );
    return [{ path: folder + file.name, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: NamedFile[] = [];
  while (true) {
    // a reader gives at most 100 entries at a time, then none
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject)
    );
    if (some.length === 0) return found;
    for (const one of some) {
      if (!one.name.startsWith(".")) {
        found.push(...await readEntry(one, one.isFile ? folder : `${folder}${one.name}/`));
      }
    }
  }
}

async function readDrop(transfer: DataTransfer): Promise<Dropped> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) =>
    entry !== null
  );
  const files = (await Promise.all(entries.map((entry) => readEntry(entry, "")))).flat();
  return { name: entries[0]?.name ?? "", files };
}

/** Files of an input; of a picked folder the folder's own name is no part of their paths. */
function readInput(input: HTMLInputElement): Dropped {
  const files = [...input.files ?? []];
  const named = files.map((file) => ({
    path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name,
    file,
  }));
  const [first] = files;
  const own = files.length > 1 ? showPlural(files.length, "file") : first?.name ?? "";
  return { name: first?.webkitRelativePath.split("/")[0] || own, files: named };
}

function Picker(props: {
  label: string;
  accept?: string;
  isFolder?: boolean;
  isSeveral?: boolean;
  onFiles: (dropped: Dropped) => void;
}): JSX.Element {
  return (
    <label class="button calm">
      {props.label}
      <input
        type="file"
        class="hidden"
        accept={props.accept}
        multiple={props.isSeveral}
        {...(props.isFolder ? { webkitdirectory: true } : {})}
        onChange={(event) => {
          const dropped = readInput(event.currentTarget);
          event.currentTarget.value = ""; // the same file may be chosen again
          if (dropped.files.length > 0) props.onFiles(dropped);
        }}
      />
    </label>
  );
}

/** A place to drop. @param props `folder`: label of a button that picks a folder */
export function Drop(props: {
  text: string;
  file: string;
  folder?: string;
  accept?: string;
  onFiles: (dropped: Dropped) => void;
}): JSX.Element {
  const [isOver, setOver] = useState(false);
  return (
    <div
      class={isOver ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={async (event) => {
        event.preventDefault();
        setOver(false);
        const dropped = await readDrop(event.dataTransfer!);
        if (dropped.files.length > 0) props.onFiles(dropped);
      }}
    >
      <p>{props.text}</p>
      <div class="row">
        <Picker label={props.file} accept={props.accept} isSeveral onFiles={props.onFiles} />
        {props.folder && <Picker label={props.folder} isFolder onFiles={props.onFiles} />}
      </div>
    </div>
  );
}

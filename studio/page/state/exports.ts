/**
 * Files to take home.
 * @module
 */
import { signal } from "@preact/signals";
import type { ExportOptions } from "../../protocol.ts";
import { announce } from "./announcement.ts";
import { showBytes } from "../format.ts";
import { Task } from "./task.ts";

/** A file that was made here. */
export interface MadeFile {
  readonly name: string;
  readonly bytes: number;
}

/** Making of files, by what they are. */
export class Export {
  readonly task = new Task();
  /** The file that was saved last. */
  readonly made = signal<MadeFile | null>(null);

  /** Makes the file and has the browser save it. */
  async save(options: ExportOptions): Promise<void> {
    this.made.value = null;
    const file = await this.task.run("Making the file", "export", options);
    if (!file) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file.blob);
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser copies it first
    this.made.value = { name: file.name, bytes: file.bytes };
    savedFiles.value++;
    announce(`Saved ${file.name}, ${showBytes(file.bytes)}`);
  }
}

/** Files saved in this visit. */
export const savedFiles = signal(0);

/**
 * Errors, progress and files, as messages have them.
 * @module
 */

/** What went wrong, in words for a reader who is no programmer. */
export interface StudioError {
  /** For code; the page may show another picture for each. */
  readonly kind: ErrorKind;
  /** One sentence: what happened. */
  readonly title: string;
  /** One or two sentences: what the reader can do. */
  readonly whatToDo: string;
  /** The library's own message, for a report. */
  readonly detail: string;
}

export type ErrorKind =
  | "no-webgpu"
  | "out-of-memory"
  | "storage-full"
  | "storage-missing"
  | "other-tab"
  | "device-lost"
  | "bad-file"
  | "bad-data"
  | "pickle"
  | "unsupported"
  | "hub-login"
  | "hub-gated"
  | "hub-missing"
  | "hub-busy"
  | "hub-silent"
  | "bad-settings"
  | "diverged"
  | "broker-silent"
  | "broker-login"
  | "broker"
  | "busy"
  | "not-open"
  | "cancelled"
  | "internal";

/** What a long request does now. */
export interface Progress {
  readonly phase:
    | "connect"
    | "download"
    | "verify"
    | "read"
    | "upload"
    | "tokenize"
    | "plan"
    | "compile"
    | "write";
  /** Such as `Downloading model.safetensors`. */
  readonly text: string;
  /** The file, where there is one. */
  readonly file: string | null;
  readonly done: number;
  /** null where nobody can tell. */
  readonly total: number | null;
  readonly unit: "bytes" | "rows" | "tensors" | "files";
}

/** A file with its path below the folder that was dropped, or its name. */
export interface NamedFile {
  readonly path: string;
  readonly file: Blob;
}

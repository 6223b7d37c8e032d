/**
 * What a mutant is.
 * @module
 */

/** One change of one place. */
export interface Mutant {
  readonly file: string;
  /** Text that occurs once in the file. */
  readonly search: string;
  readonly replace: string;
  /** Test files, quick ones. */
  readonly tests: readonly string[];
  /** Part of the names of the tests that count; default all of the files. */
  readonly filter?: string;
}

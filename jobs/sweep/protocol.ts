/**
 * What a sweep and its workers write to the broker, and how each is checked before it is believed. All of it is data: a
 * worker finds settings there, never code, and never a path of its own machine.
 * @module
 */

import * as v from "valibot";
import { DataEntry, reader, Sha256, Text, Whole } from "../forms.ts";

/** Grows when these forms change; workers of another one refuse. */
export const PROTOCOL = 1;
/** Records with an entry for each sweep of a broker. */
export const SWEEPS = "sweeps";
/** Bytes of a job or record at most: NATS' own limit. */
const MAX_BYTES = 2 ** 20;

/** Name of the queue, the objects and the records of a sweep. */
export const placeOf = (sweep: string) => `sweep-${sweep}`;
/** Name of the records that forget: who runs a sweep, and how far its trials are. */
export const leasesOf = (sweep: string) => `sweep-${sweep}-alive`;

/** A sweep, for workers to see whether they can take part. */
const SweepRecordForm = v.strictObject({
  protocol: v.number(),
  version: Text,
  name: Text,
  /** The base model: what the sweep's file calls it, and the hash of its files. */
  model: Text,
  base: Sha256,
  /** Times that a job is begun from one step before it counts as failed. */
  maxStarts: v.pipe(Whole, v.minValue(1)),
  /** Hash of the whole plan. */
  plan: Sha256,
  data: v.array(DataEntry),
  evalData: v.nullable(v.array(DataEntry)),
  /** Milliseconds since 1970, by the clock of the machine that began it; shown, and never compared. */
  begun: v.number(),
});
/** {@linkcode SweepRecordForm} */
export type SweepRecord = v.InferOutput<typeof SweepRecordForm>;

/** What every version's record says first. */
const SweepHeadForm = v.object({ protocol: v.number(), version: Text });

/** A job: a trial, and the step to which it is trained; null: to its end. */
const TrialJobForm = v.strictObject({
  trial: Whole,
  until: v.nullable(Whole),
  given: v.record(Text, v.union([v.string(), v.number(), v.boolean()])),
});
/** {@linkcode TrialJobForm} */
export type TrialJob = v.InferOutput<typeof TrialJobForm>;

/** How a job ended. */
const TrialResultForm = v.strictObject({
  trial: Whole,
  steps: Whole,
  worker: Text,
  /** By names in TypeScript; null where it was not finite. */
  metrics: v.record(Text, v.nullable(v.number())),
  /** Why it failed; null where it did not. */
  error: v.nullable(v.pipe(v.string(), v.maxLength(10_000))),
  /** Times that a worker began it. */
  starts: Whole,
  seconds: v.number(),
});
/** {@linkcode TrialResultForm} */
export type TrialResult = v.InferOutput<typeof TrialResultForm>;

/** Who works on a job, and how often it was begun from the same step. */
const ClaimForm = v.strictObject({ worker: Text, step: Whole, starts: Whole, startsHere: Whole });
/** {@linkcode ClaimForm} */
export type Claim = v.InferOutput<typeof ClaimForm>;

/** How far a trial is. */
const ProgressForm = v.strictObject({
  worker: Text,
  step: Whole,
  maxSteps: Whole,
  loss: v.nullable(v.number()),
});
/** {@linkcode ProgressForm} */
export type Progress = v.InferOutput<typeof ProgressForm>;

/** A curve's points: `[step, value]` by the name of what was logged. */
const CurvesForm = v.record(Text, v.array(v.tuple([Whole, v.number()])));
/** {@linkcode CurvesForm} */
export type Curves = v.InferOutput<typeof CurvesForm>;

/** Readers of each form. @throws {TypeError} naming what is wrong */
export const readSweepRecord: (text: string) => SweepRecord = reader("a sweep's record", SweepRecordForm);
export const readSweepHead: (text: string) => { protocol: number; version: string } = reader(
  "a sweep's record",
  SweepHeadForm,
);
export const readResult: (text: string) => TrialResult = reader("a trial's result", TrialResultForm);
export const readClaim: (text: string) => Claim = reader("a job's claim", ClaimForm);
export const readProgress: (text: string) => Progress = reader("a trial's progress", ProgressForm);
export const readCurves: (text: string) => Curves = reader("a trial's curves", CurvesForm);
const readJobText = reader("a job", TrialJobForm);

/** Reads a job as it comes out of a queue. @throws {TypeError} naming what is wrong */
export function readJob(body: Uint8Array): TrialJob {
  if (body.length > MAX_BYTES) {
    throw new TypeError(
      `Cannot read a job: at most ${MAX_BYTES} bytes are required, received ${body.length}`,
    );
  }
  return readJobText(new TextDecoder().decode(body));
}

/** A job's name in its queue, and the end of the keys of its records. */
export const jobId = ({ trial, until }: Pick<TrialJob, "trial" | "until">) => `${trial}.${until ?? "end"}`;
export const resultKey = (id: string) => `result.${id}`;
export const claimKey = (id: string) => `claim.${id}`;
export const progressKey = (trial: number) => `progress.${trial}`;
export const refusalKey = (worker: string) => `refusal.${worker}`;

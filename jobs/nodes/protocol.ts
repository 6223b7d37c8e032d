/**
 * What a training on several machines writes to the broker: settings, never code.
 * @module
 */

import * as v from "valibot";
import type { Broker, ObjectStore, Records, WorkQueue } from "@peft/webgpu/distributed";
import { GRADIENT_COMPRESSIONS } from "@peft/webgpu/train";
import { DataEntry, reader, Sha256, Text } from "../forms.ts";

/** Grows when these forms change; workers of another one refuse. */
export const PROTOCOL = 2;
/** Records with an entry for each training of a broker. */
export const TRAININGS = "trainings";

/** Name of the queue and the objects of a training. */
export const placeOf = (name: string) => `nodes-${name}`;
/** Name of the records that forget: who computes what. */
export const aliveOf = (name: string) => `nodes-${name}-alive`;

const TrainingRecordForm = v.strictObject({
  protocol: v.number(),
  version: Text,
  /** Tells it from every other training, one of the same name too. */
  id: v.pipe(v.string(), v.uuid()),
  name: Text,
  /** The base model: as the one who began it calls it, and the hash of its files. */
  model: Text,
  base: Sha256,
  /** Hash of settings, data and base. */
  plan: Sha256,
  /** Shares of a step. */
  nodes: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(1024)),
  /** How gradients travel. */
  compression: v.picklist(GRADIENT_COMPRESSIONS),
  data: v.array(DataEntry),
  /** Flags of `finetune` that say what is trained. */
  given: v.record(Text, v.union([v.string(), v.number(), v.boolean()])),
});
/** A training, for workers to see whether they can take part, and what they compute. */
export type TrainingRecord = v.InferOutput<typeof TrainingRecordForm>;

const HeadForm = v.object({ protocol: v.number(), version: Text });

/** Readers of each form. @throws {TypeError} naming what is wrong */
export const readTraining: (text: string) => TrainingRecord = reader(
  "a training's record",
  TrainingRecordForm,
);
export const readTrainingHead: (text: string) => { protocol: number; version: string } = reader(
  "a training's record",
  HeadForm,
);

/** What a training has on the broker. */
export interface TrainingPlaces {
  /** Jobs "be a node". */
  readonly queue: WorkQueue;
  /** Data, checkpoints, gradients. */
  readonly store: ObjectStore;
  /** Records that forget. */
  readonly alive: Records;
}

/** Opens them. @param ackWaitMs makes what is not there; null: it must be there */
export async function openTraining(
  broker: Broker,
  name: string,
  ackWaitMs: number | null,
): Promise<TrainingPlaces> {
  const place = placeOf(name);
  const mustExist = ackWaitMs === null;
  const queue = await broker.queue(place, mustExist ? { mustExist } : { ackWaitMs });
  const ttlSeconds = Math.ceil(queue.ackWaitMs / 1000);
  return {
    queue,
    store: await broker.objects(place, { mustExist }),
    alive: await broker.records(aliveOf(name), { mustExist, ttlSeconds }),
  };
}

/** Removes all that a training has on the broker; its name is free then. */
export async function removeTraining(broker: Broker, name: string): Promise<void> {
  await (await broker.records(TRAININGS)).remove(name); // first, so that no worker joins any more
  await broker.remove(placeOf(name));
  await broker.remove(aliveOf(name));
}

export const nodeRefusalKey = (worker: string) => `refusal.${worker}`;

/**
 * Attention on a driver that ends loops after some iterations: which kernels a call takes, and in how many launches.
 * @module
 */
import type { Device } from "../../gpu/mod.ts";
import {
  type AttentionChoice,
  type AttentionKernels,
  attentionReach,
  selectAttention,
  servesAttention,
} from "../../kernels/attention.ts";
import { type AttentionShape, noteChoice, picksOf } from "../picks.ts";

/** Keys (queries in `backwardKeyValue`) that one launch of a stage may take. */
export type AttentionReach = Readonly<Record<keyof AttentionKernels, number>>;

const STAGES = ["forward", "backwardQuery", "backwardKeyValue"] as const;

/** The choice of kernels, and how far a launch of each reaches; tiles where others, which take one, do not, or cannot serve. */
export function chooseKernels(
  device: Device,
  given: AttentionChoice | undefined,
  shape: AttentionShape,
  dropout: boolean,
): { choice: AttentionChoice; reach: AttentionReach } {
  const { Tq, Tk, headSize } = shape;
  const group = shape.heads / shape.keyValueHeads;
  const vector = headSize % 4 === 0;
  const reachOf = (choice: AttentionChoice) =>
    Object.fromEntries(
      STAGES.map((stage) => [
        stage,
        attentionReach(
          stage,
          { ...choice, vector, dropout },
          headSize,
          device.profile.maxLoopIterations,
          group,
        ),
      ]),
    ) as AttentionReach;
  if (!given) noteChoice(device, () => ({ kind: "attention", shape }));
  const choice = given ?? picksOf(device)?.attention(shape) ?? selectAttention(device.profile, Tq);
  const reach = reachOf(choice);
  const serves = servesAttention(choice, headSize, dropout);
  if (choice.variant === "tile" || serves && STAGES.every((stage) => reach[stage] >= Tk)) {
    return { choice, reach };
  }
  const tiles = selectAttention({ kind: "software", subgroupSize: 0 }, Tq);
  return { choice: tiles, reach: reachOf(tiles) };
}

/** Runs `launch` for the rows from 0 to `length`, or for as many at a time as one launch may take. */
export function eachReach(
  length: number,
  reach: number,
  launch: (range: { begin: number; end: number }) => void,
): void {
  for (let begin = 0; begin < length; begin += reach) launch({ begin, end: Math.min(length, begin + reach) });
}

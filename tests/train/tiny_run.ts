/**
 * A GPT-2 of 2 layers and 32 channels with data that it learns, for the tests of the Trainer.
 * @module
 */
import { defaultDevice, type Device } from "../../autograd/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import type { Example, TrainableModel } from "../../train/mod.ts";
import { randomValues } from "../reference/matmul.ts";

export const VOCABULARY = 40;
export const LENGTH = 16;

/** A small GPT-2 in the default device's memory. */
export async function tinyModel(dropout = 0, device?: Device, seed = 3): Promise<GPT2LMHeadModel> {
  const config = new GPT2Config({
    vocabSize: VOCABULARY,
    nPositions: LENGTH,
    nEmbd: 32,
    nLayer: 2,
    nHead: 2,
    bosTokenId: 0,
    eosTokenId: 0,
    residPdrop: dropout,
    embdPdrop: dropout,
    attnPdrop: dropout,
  });
  return new GPT2LMHeadModel(config, { device: device ?? await defaultDevice(), seed });
}

/** Rows that count up in steps of 1 to 3 from a random start. */
export function countingData(size: number, length = LENGTH): Example[] {
  const random = randomValues(9, 2 * size);
  return Array.from({ length: size }, (_, i) => {
    const start = Math.floor((random[2 * i] + 1) * 20);
    const step = 1 + Math.floor((random[2 * i + 1] + 1) * 1.5) % 3;
    return { inputIds: Array.from({ length }, (_, t) => (start + t * step) % VOCABULARY) };
  });
}

/** Every weight, by name. */
export async function weightsOf(model: GPT2LMHeadModel): Promise<Record<string, number[]>> {
  const entries = [...model.namedParameters()].map(async ([name, parameter]) =>
    [name, [...await parameter.data()]] as [string, number[]]
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** Weights that train, by name. */
export async function trainedWeightsOf(
  model: Pick<TrainableModel, "namedParameters">,
): Promise<Record<string, number[]>> {
  const weights: Record<string, number[]> = {};
  for (const [name, parameter] of model.namedParameters()) {
    if (parameter.requiresGrad) weights[name] = [...await parameter.data()];
  }
  return weights;
}

/** Runs `body` with a new folder that is removed after it. */
export async function inFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * How many parameters a model has, and how many of them train.
 * @module
 */

import type { Module } from "../nn/mod.ts";

/** Numbers of parameters: those that train, and all. */
export function countParameters(model: Module): [trainable: number, all: number] {
  let [trainable, all] = [0, 0];
  for (const { size, requiresGrad } of model.parameters()) {
    all += size;
    if (requiresGrad) trainable += size;
  }
  return [trainable, all];
}

/** Those numbers as peft prints them. */
export function describeParameters(trainable: number, all: number): string {
  const [part, whole] = [trainable, all].map((n) => n.toLocaleString("en-US"));
  const percent = (100 * trainable / all).toFixed(4);
  return `trainable params: ${part} || all params: ${whole} || trainable%: ${percent}`;
}

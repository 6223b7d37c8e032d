/**
 * The ten AdamW losses that fixtures hold.
 * @module
 */
import { assertAllClose } from "@std/assert";
import type { CausalLM } from "../../model/mod.ts";
import type { PeftModel } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";

/** The parts of `expected.json` that a run of AdamW needs. */
export interface AdamWJson {
  input_ids: number[][];
  labels: number[][];
  adamw: { lr: number; weight_decay: number; betas: [number, number]; eps: number; losses: number[] };
}

/** Asserts that ten steps of AdamW on what trains have the fixture's losses within 1e-5; the model is left trained. */
export async function assertTenLosses(model: PeftModel<CausalLM>, json: AdamWJson): Promise<void> {
  const { lr, betas, eps, weight_decay: weightDecay } = json.adamw;
  const trained = [...model.parameters()].filter((parameter) => parameter.requiresGrad);
  const optimizer = new AdamW(trained, { lr, betas, eps, weightDecay });
  const losses: number[] = [];
  for (let step = 0; step < 10; step++) {
    using output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    losses.push(await output.loss!.item());
    output.loss!.backward();
    optimizer.step();
    optimizer.zeroGrad();
  }
  optimizer.dispose();
  assertAllClose(losses, json.adamw.losses, { rtol: 0, atol: 1e-5 });
}

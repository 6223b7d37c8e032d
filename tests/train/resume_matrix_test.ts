/**
 * Runs that are killed and resumed go on bit for bit: a few kill points of a few options. bench/resume_matrix.ts does
 * every step of every option.
 */
import { assertEquals } from "@std/assert";
import { CASES, checkResumption } from "../../bench/resume_cases.ts";
import { defaultDevice } from "../../gpu/mod.ts";

const POINTS: Readonly<Record<string, readonly number[]>> = {
  "Adafactor": [2, 6],
  "Lion": [5],
  "accumulation, windows that epochs cut": [4],
  "NEFTune, LoRA with dropout": [3],
  "best model, early stopping": [5],
  "samples, evaluation, loss watchdog": [7],
  "DPO": [4],
  "LoftQ": [4],
};

for (const [name, points] of Object.entries(POINTS)) {
  Deno.test(`a run of 9 steps that is killed after step ${points.join(" or ")} ends as the whole one: ${name}`, async () => {
    const result = await checkResumption(name, CASES[name], {
      device: await defaultDevice(),
      steps: 9,
      points,
    });
    assertEquals(result.points, points.length);
  });
}

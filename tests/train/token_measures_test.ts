/** What is measured of tokens beside their loss. */
import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { MODEL_LOSS, withTokenMeasures } from "../../train/mod.ts";
import { beginLora } from "./preference/preference_rows.ts";
import { tinyModel, VOCABULARY } from "./tiny_run.ts";

Deno.test("withTokenMeasures() refuses an objective with measures of its own, which would be lost", () => {
  const measured = withTokenMeasures(MODEL_LOSS);
  assertThrows(
    () => withTokenMeasures(measured),
    TypeError,
    "Cannot measure tokens: an objective without measures of its own is required, received one with 3 sums",
  );
});

Deno.test("mean logits of an adapted head are those of the logits, from one product with the head", async () => {
  const base = await tinyModel();
  const model = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ["lm_head"] }));
  beginLora(model);
  const inputIds = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]];
  const labels = [[-100, -100, 4, 1, -100], [-100, 2, 6, 5, 3]];
  const { device } = base;
  const run = async (meanLogits: boolean) => {
    const before = device.stats.dispatches;
    const output = model.forward({ inputIds, labels, logProbs: true, meanLogits });
    const launches = device.stats.dispatches - before;
    return { launches, means: await output.meanLogits?.data() };
  };
  const [without, found] = [await run(false), await run(true)];
  assertEquals(without.means, undefined);
  const logits = await model.forward({ inputIds }).logits.data();
  labels.forEach((row, r) =>
    row.slice(1).forEach((label, t) => {
      if (label === -100) return;
      const at = r * row.length + t;
      const own = [...logits.subarray(at * VOCABULARY, (at + 1) * VOCABULARY)];
      const mean = own.reduce((sum, v) => sum + v, 0) / VOCABULARY;
      assertAllClose([found.means![at]], [mean], { rtol: 1e-5, atol: 1e-6 });
    })
  );
  assertEquals(found.launches - without.launches, 3, "the mean in two launches, and its place");
  model.dispose();
});

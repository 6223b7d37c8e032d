/** The head on the rows that have a label, their number filled up as on hardware. */
import { assertAllClose, assertEquals } from "@std/assert";
import { GPT2LMHeadModel } from "../../model/mod.ts";
import { labelRowsOf } from "../../model/label_rows.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { changeProfile } from "../reference/profiles.ts";

const IDS = [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, 8, 13, 21, 34]];
const LABELS = IDS.map((row, b) => row.map((id, t) => t < 5 + b ? -100 : id));

Deno.test("labelRowsOf() repeats the first row up to a multiple, without labels and places", () => {
  const found = labelRowsOf(LABELS, 0, 4)!;
  assertEquals(found.rows, [4, 5, 6, 13, 14, 4, 4, 4]);
  assertEquals(found.targets, [42, 250, 0, 21, 34, -100, -100, -100]);
  assertEquals(found.places.map((place, i) => [i, place]).filter(([, place]) => place >= 0), [
    ...[[4, 0], [5, 1], [6, 2], [13, 3], [14, 4]],
  ]);
  assertEquals(labelRowsOf(IDS, 0, 4), null, "most positions have a label");
});

for (const logProbs of [false, true]) {
  Deno.test(`rows that fill the head up change neither ${logProbs ? "log-probabilities" : "loss"} nor gradients`, async () => {
    const results: { value: Float32Array; grads: Map<string, Float32Array> }[] = [];
    for (const labelRowStep of [1, 8]) {
      const device = await ownDevice();
      const { labelRowStep: before } = device.profile;
      changeProfile(device, { labelRowStep });
      const model = await GPT2LMHeadModel.load(`${FIXTURES}gpt2_tiny`, { device });
      const output = model.forward({ inputIds: IDS, labels: LABELS, logProbs });
      const result = output.logProbs ?? output.loss!;
      result.backward(result.shape.length > 0 ? result : undefined);
      const grads = [...model.namedParameters()].flatMap(([name, { grad }]) =>
        grad ? [[name, grad] as const] : []
      );
      const read = await Promise.all(grads.map(async ([name, grad]) => [name, await grad.data()] as const));
      results.push({
        value: await result.data() as Float32Array,
        grads: new Map(read as [string, Float32Array][]),
      });
      for (const [, grad] of grads) grad.dispose();
      output.dispose?.();
      model.dispose();
      changeProfile(device, { labelRowStep: before });
    }
    const [exact, filled] = results;
    assertAllClose(filled.value, exact.value, { rtol: 1e-6, atol: 1e-6 });
    assertEquals([...filled.grads.keys()], [...exact.grads.keys()]);
    for (const [name, grad] of exact.grads) {
      assertAllClose(filled.grads.get(name)!, grad, { rtol: 1e-5, atol: 1e-6, label: name });
    }
  });
}

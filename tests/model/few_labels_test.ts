/**
 * Labels at a few positions: the head works on those positions alone, with the numbers of all.
 * @module
 */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { Tensor } from "../../autograd/mod.ts";
import { GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { relativeL2 } from "../assert.ts";
import { loadFixture, ownDevice } from "../reference/fixtures.ts";

const INPUT_IDS = [[5, 17, 200, 3, 99, 42, 250, 0], [1, 2, 3, 5, 8, 13, 21, 34]];
const NONE = -100;
const LABELS = [
  [5, NONE, NONE, 3, NONE, NONE, NONE, 0], // the first has no token before it that predicts it
  [NONE, NONE, NONE, NONE, NONE, 13, 21, NONE],
];

function dropGrad(tensor: Tensor): void {
  tensor.grad!.dispose();
  tensor.grad = null;
}

for (const numItemsInBatch of [undefined, 7]) {
  for (const virtual of [0, 3]) {
    Deno.test(`forward() with few labels, ${virtual} virtual tokens and numItemsInBatch ${numItemsInBatch} gives the loss and gradients of labels in a tensor`, async () => {
      const device = await ownDevice({ fresh: true });
      const model = await loadFixture("gpt2_tiny", { device });
      const width = model.facts.hiddenSize;
      const prompt = virtual === 0 ? undefined : Tensor.from(
        Float32Array.from({ length: virtual * width }, (_, i) => Math.sin(i)),
        { device, shape: [virtual, width], requiresGrad: true },
      );
      const run = async (labels: number[][] | Tensor) => {
        const inputs = { inputIds: INPUT_IDS, labels, numItemsInBatch, promptEmbeds: prompt };
        const output = model.forward(inputs);
        assertEquals([...output.logits.shape], [2, virtual + 8, 257], "logits of every position");
        output.loss!.backward();
        const loss = await output.loss!.item();
        output.dispose();
        const trained = [...model.parameters(), ...prompt ? [prompt] : []];
        const grads = await Promise.all(trained.map(({ grad }) => grad!.data()));
        trained.forEach(dropGrad);
        return { loss, grads };
      };
      const few = await run(LABELS);
      const tensor = Tensor.from(Int32Array.from(LABELS.flat()), { device, shape: [2, 8] });
      const all = await run(tensor);
      assertAlmostEquals(few.loss, all.loss, 1e-6);
      for (const [i, grad] of few.grads.entries()) assert(relativeL2(grad, all.grads[i]) < 1e-5);
      for (const made of [model, tensor, prompt]) made?.dispose();
      assertEquals(device.memory.liveBytes, 0);
    });
  }
}

Deno.test("forward() with 8 labels in 1,024 positions makes logits of 8 rows", async () => {
  const device = await ownDevice({ fresh: true });
  const config = new GPT2Config({ vocabSize: 20_000, nPositions: 1024, nEmbd: 16, nLayer: 1, nHead: 1 });
  const model = new GPT2LMHeadModel(config, { device });
  for (const parameter of model.parameters()) parameter.requiresGrad = false;
  model.transformer.ln_f.weight.requiresGrad = true;
  const inputIds = [Array.from({ length: 1024 }, (_, i) => i)];
  const peakOf = async (labelled: number) => {
    device.trim(); // idle buffers count, too
    device.resetPeakMemory();
    const labels = inputIds.map((row) => row.map((id, t) => t >= 1024 - labelled ? id : NONE));
    const { loss } = model.forward({ inputIds, labels });
    loss!.backward();
    await loss!.item();
    loss!.dispose();
    dropGrad(model.transformer.ln_f.weight);
    return device.memory.peakBytes;
  };
  const [all, few] = [await peakOf(1024), await peakOf(8)];
  assert(all - few > 10 * 2 ** 20, `${few} bytes with few labels, ${all} with all`);
  model.dispose();
});

/** `forward({ logProbs: true })`: log-probabilities of labels in place of their loss. */
import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { logSoftmax, sum, Tensor, tidy } from "../../autograd/mod.ts";
import { AutoModelForCausalLM, type CausalLM, type CausalLMInputs } from "../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { relativeL2 } from "../assert.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { tinyModel } from "../train/tiny_run.ts";

const NONE = -100;
const INPUT_IDS = [[5, 17, 20, 3, 9, 12], [1, 2, 3, 5, 8, 13]];
const FEW = [[5, NONE, NONE, 3, NONE, 12], [NONE, NONE, NONE, NONE, NONE, 13]];

/** Log-probabilities by the logits. */
async function expectedOf(model: CausalLM, inputs: CausalLMInputs, labels: number[][], virtual: number) {
  const { logits } = model.forward(inputs);
  const values = await tidy(() => logSoftmax(logits)).data();
  const [rows, length, V] = logits.shape;
  const y = new Float64Array(rows * length);
  labels.forEach((row, b) =>
    row.forEach((label, t) => {
      const at = b * length + virtual + t - 1;
      if (virtual + t > 0 && label !== NONE) y[at] = values[at * V + label];
    })
  );
  return y;
}

for (const virtual of [0, 3]) {
  for (const [name, labels] of [["few labels", FEW], ["all labels", INPUT_IDS]] as const) {
    Deno.test(`forward() with logProbs of ${name} and ${virtual} virtual tokens gives those of the logits, and the loss's gradients`, async () => {
      const device = await ownDevice();
      const model = await tinyModel(0, device);
      const width = model.facts.hiddenSize;
      const promptEmbeds = virtual === 0
        ? undefined
        : Tensor.from(Float32Array.from({ length: virtual * width }, (_, i) => Math.sin(i)), {
          ...{ device, shape: [virtual, width], requiresGrad: true },
        });
      const inputs = { inputIds: INPUT_IDS, promptEmbeds };
      const expected = await expectedOf(model, inputs, labels, virtual);
      const tensor = Tensor.from(Int32Array.from(labels.flat()), { device, shape: [2, 6] });
      const gradsOf = async (loss: Tensor) => {
        loss.backward();
        const trained = [...model.parameters(), ...promptEmbeds ? [promptEmbeds] : []];
        const grads = await Promise.all(trained.map(({ grad }) => grad!.data()));
        for (const parameter of trained) parameter.grad = null;
        return grads;
      };
      const plain = model.forward({ ...inputs, labels, numItemsInBatch: 1 });
      const grads = await gradsOf(plain.loss!);
      for (const given of [labels, tensor]) {
        const output = model.forward({ ...inputs, labels: given, logProbs: true });
        assertEquals(output.loss, undefined);
        assertEquals([...output.logProbs!.shape], [2, virtual + 6]);
        assertAllClose(await output.logProbs!.data(), expected, { rtol: 1e-5, atol: 1e-6 });
        const own = await gradsOf(sum(output.logProbs!));
        for (const [i, grad] of own.entries()) {
          assert(relativeL2(grad, grads[i].map((g) => -g)) < 1e-5, `gradient ${i}`);
        }
        assertThrows(
          () => output.logits,
          TypeError,
          "Cannot compute logits: log-probabilities were asked for in their place",
        );
      }
    });
  }
}

Deno.test("forward() with logProbs agrees with logits of an untied head, and of a head with an adapter", async () => {
  const model = await AutoModelForCausalLM.fromPretrained(`${FIXTURES}llama/llama`);
  const inputs = { inputIds: INPUT_IDS };
  const read = async (inputs: CausalLMInputs) =>
    await (adapted.forward({ ...inputs, logProbs: true })).logProbs!.data();
  let adapted: Pick<CausalLM, "forward"> = model;
  for (const labels of [FEW, INPUT_IDS]) {
    const expected = await expectedOf(model, inputs, labels, 0);
    assertAllClose(await read({ ...inputs, labels }), expected, { rtol: 1e-5, atol: 1e-6 });
  }
  const config = new LoraConfig({
    targetModules: ["lm_head"],
    initLoraWeights: false,
    loraDropout: 0.1,
    loraBias: true,
  });
  const peft = getPeftModel(model, config).eval();
  adapted = peft;
  for (const labels of [FEW, INPUT_IDS]) {
    const expected = await expectedOf(peft as unknown as CausalLM, inputs, labels, 0);
    assertAllClose(await read({ ...inputs, labels }), expected, { rtol: 1e-5, atol: 1e-5 });
  }
  peft.dispose();
});

/**
 * A training step over Gemma's vocabulary of 262,144 words: its logits never exist whole.
 * @module
 */
import { assert, assertAlmostEquals } from "@std/assert";
import { tidy } from "../../../autograd/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../../model/llama/mod.ts";
import { getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import { planMemory } from "../../../plan/mod.ts";
import { ownDevice } from "../../reference/fixtures.ts";

const VOCABULARY = 262_144;
const LENGTH = 256;

Deno.test("a LoRA step of Gemma 3 over 262,144 words and 256 tokens holds a quarter of the logits at a time", async () => {
  const device = await ownDevice({ fresh: true });
  const config = new LlamaConfig("gemma3_text", {
    vocabSize: VOCABULARY,
    hiddenSize: 32,
    intermediateSize: 64,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
    numKeyValueHeads: 1,
    headDim: 32,
  });
  const model = getPeftModel(new LlamaForCausalLM(config, { device }), new LoraConfig({ r: 4 }));
  const plan = planMemory(model, { batch: 1, length: LENGTH });
  device.trim();
  device.resetPeakMemory();
  const live = device.memory.liveBytes;
  const inputIds = [Array.from({ length: LENGTH }, (_, t) => t * 1021 % VOCABULARY)];
  const loss = tidy(() => {
    const { loss } = model.forward({ inputIds, labels: inputIds });
    loss!.backward();
    return loss!;
  });
  assertAlmostEquals(await loss.item(), Math.log(VOCABULARY), 0.2); // random weights know nothing
  loss.dispose();
  const grads = [...model.parameters()].filter(({ requiresGrad }) => requiresGrad).map(({ grad }) => grad);
  assert(grads.length > 0 && grads.every((grad) => grad !== null));
  const whole = LENGTH * VOCABULARY * 4;
  const used = device.memory.peakBytes - live;
  assert(used < whole / 3, `${used} bytes, whole logits ${whole}`);
  assert(plan.head < whole / 3, `${plan.head}`);
  model.dispose();
});

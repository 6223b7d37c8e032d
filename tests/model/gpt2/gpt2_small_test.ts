/**
 * GPT-2 at its real size with random weights, on an adapter whose bindings end at 128 MiB: the example of the README,
 * the counts that `peft` prints, a training step, and the bytes it takes.
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import {
  AdamW,
  AutoModelForCausalLM,
  AutoTokenizer,
  Device,
  getPeftModel,
  GPT2Config,
  GPT2LMHeadModel,
  LoraConfig,
  tidy,
  type WeightDType,
} from "@peft/webgpu";

const MIB = 2 ** 20;

/** A device as the smallest adapters have it: 154 MB of embedding need two bindings. */
async function smallDevice(): Promise<Device> {
  return await Device.create({ limits: { maxStorageBufferBindingSize: 128 * MIB } });
}

/** A folder with a GPT-2 of full size; removed by the caller. */
async function randomGpt2(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "gpt2_" });
  const device = await smallDevice();
  await new GPT2LMHeadModel(new GPT2Config(), { device, seed: 1 }).savePretrained(folder);
  device.destroy();
  return folder;
}

/** What one LoRA step of 64 tokens takes at most, in bytes, above nothing. */
async function lorastep(
  folder: string,
  dtype: WeightDType,
): Promise<{ peakBytes: number; losses: number[] }> {
  const device = await smallDevice();
  const model = await AutoModelForCausalLM.fromPretrained(folder, { device, dtype });
  const peftModel = getPeftModel(model, new LoraConfig({ r: 8, loraAlpha: 32, loraDropout: 0.1 }));
  const optimizer = new AdamW([...peftModel.parameters()].filter((p) => p.requiresGrad), { lr: 1e-3 });
  const ids = [Array.from({ length: 64 }, (_, i) => (i * 997) % 50257)];
  const losses: number[] = [];
  for (let step = 0; step < 2; step++) {
    const loss = tidy(() => {
      const output = peftModel.forward({ inputIds: ids, labels: ids });
      output.loss!.backward();
      return output.loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    losses.push(await loss.item());
    loss.dispose();
  }
  const { peakBytes } = device.memory;
  device.destroy();
  return { peakBytes, losses };
}

Deno.test("GPT-2 small with LoRA has peft's names, counts, logits and fits its bytes", async (t) => {
  const folder = await randomGpt2();
  try {
    await t.step("AutoModelForCausalLM.fromPretrained() loads 124,439,808 parameters", async () => {
      const device = await smallDevice();
      const model = await AutoModelForCausalLM.fromPretrained(folder, { device });
      assertEquals([...model.parameters()].reduce((sum, p) => sum + p.size, 0), 124_439_808);
      assertEquals(model.numParameters(), 124_439_808);
      const peftModel = getPeftModel(
        model,
        new LoraConfig({ r: 8, loraAlpha: 32, targetModules: ["c_attn"], loraDropout: 0.1, bias: "none" }),
      );
      assertEquals([model.numParameters(), model.numParameters(true)], [124_734_720, 294_912]);
      const named = [...peftModel.namedParameters()];
      assertEquals(named.length, 148 + 24);
      assertEquals(named[0][0], "base_model.model.transformer.wte.weight");
      const trained = named.filter(([, p]) => p.requiresGrad).map(([name]) => name);
      const expected = Array.from(
        { length: 12 },
        (_, i) =>
          ["A", "B"].map((part) =>
            `base_model.model.transformer.h.${i}.attn.c_attn.lora_${part}.default.weight`
          ),
      ).flat();
      assertEquals(trained, expected);
      const lines: string[] = [];
      const { log } = console;
      console.log = (line: string) => void lines.push(line);
      try {
        peftModel.printTrainableParameters();
      } finally {
        console.log = log;
      }
      assertEquals(lines, ["trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364"]);
      const tokenizer = await AutoTokenizer.fromPretrained("gpt2");
      const inputs = tokenizer("Hello, PEFT!");
      assertEquals(inputs.inputIds, [[15496, 11, 18468, 9792, 0]]);
      peftModel.eval();
      const { logits } = tidy(() => ({ logits: peftModel.forward(inputs).logits }));
      assertEquals(logits.shape, [1, 5, 50257]);
      const values = await logits.data();
      assert(values.every((value) => Number.isFinite(value)));
      // Beyond the first window of the head the logits are numbers like any other, not zeros.
      const tail = values.subarray(values.length - 1000);
      assert(tail.filter((value) => Math.abs(value) > 1e-3).length > 900);
      device.destroy();
    });
    for (const [dtype, limit] of [["float32", 900e6], ["float16", 500e6]] as const) {
      await t.step(
        `a LoRA step of 64 tokens with ${dtype} weights stays below ${limit / 1e6} MB`,
        async () => {
          const { peakBytes, losses } = await lorastep(folder, dtype);
          assert(peakBytes < limit, `peak ${peakBytes}`);
          for (const loss of losses) assert(Math.abs(loss - Math.log(50257)) < 1, `loss ${loss}`);
        },
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

import { assert, assertAllClose, assertEquals } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import { getPeftModel, PeftModel } from "../../peft/mod.ts";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import {
  assertGradients,
  assertNear,
  expectedOf,
  FIXTURES,
  loadFixture,
  ownDevice,
} from "../reference/fixtures.ts";
import { assertTenLosses } from "./ten_losses.ts";

/** `expected.json` of a fixture. */
interface Json {
  input_ids: number[][];
  labels: number[][];
  loss: number;
  named_parameters: [string, boolean][];
  nb_trainable_parameters: [number, number];
  adamw: { lr: number; weight_decay: number; betas: [number, number]; eps: number; losses: number[] };
  greedy: number[][];
}

/** Every adapter that `tests/oracle/{lora,lora_variants,peft_methods}_fixture.py` made: `lora/c_attn`, `methods/ia3`, … */
const cases = ["lora", "lora_variants", "methods"].flatMap((kind) =>
  [...Deno.readDirSync(`${FIXTURES}${kind}`)].map((entry) => `${kind}/${entry.name}`).sort()
);
assert(cases.length >= 18);

/** Runs `body` with a temporary folder. */
async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const name of cases) {
  const folder = `${FIXTURES}${name}`;

  Deno.test(`PeftModel with ${name} has peft's parameters, logits, loss, gradients and files`, async () => {
    const { json, ...expected } = await expectedOf<Json>(name);
    const device = await ownDevice();
    const base = await loadFixture("gpt2_tiny", { device });
    base.config.nameOrPath = "gpt2_tiny";
    const model = await PeftModel.fromPretrained(base, folder, { isTrainable: true });
    model.eval();
    const listed = [...model.namedParameters()].map(([name, p]) => [name, p.requiresGrad]);
    assertEquals(listed, json.named_parameters);
    assertEquals(model.getNbTrainableParameters(), json.nb_trainable_parameters);

    const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    await assertGradients(model.namedParameters(), { json, ...expected });
    const trained = [...model.namedParameters()].filter(([, p]) => p.grad !== null).map(([name]) => name);
    assertEquals(trained, json.named_parameters.filter(([, on]) => on).map(([name]) => name));
    output.dispose();

    const greedy = await model.generate([json.input_ids[0].slice(0, 5)], {
      maxNewTokens: 10,
      eosTokenId: null,
    });
    assertEquals(greedy, json.greedy);

    await withFolder(async (target) => {
      await model.savePretrained(target);
      const file = (path: string) => Deno.readFile(`${path}/adapter_model.safetensors`);
      assertEquals(await file(target), await file(folder), "byte for byte peft's tensors");
      const config = async (path: string) => {
        const text = await Deno.readTextFile(`${path}/adapter_config.json`);
        return JSON.parse(
          text,
          (key, value) => key.endsWith("_modules") && value?.sort ? value.sort() : value,
        );
      };
      assertEquals(await config(target), await config(folder));
    });

    const merged = await model.mergeAndUnload({ safeMerge: true });
    assert(merged === base);
    using last = noGrad(() => base.lastLogits({ inputIds: json.input_ids }));
    await assertNear(last, expected.tensor("merged.logits"), 2e-5, "merged logits");
    last.dispose();
    base.dispose();
    assertEquals(device.memory.liveBytes, 0, "nothing is left of model and adapter");
  });

  Deno.test(`AdamW on ${name} has PyTorch's ten losses`, async () => {
    const { json } = await expectedOf<Json>(name);
    const device = await ownDevice();
    const model = await PeftModel.fromPretrained(await loadFixture("gpt2_tiny", { device }), folder, {
      isTrainable: true,
    });
    model.eval();
    await assertTenLosses(model, json);
    model.dispose();
  });
}

Deno.test("getPeftModel() with a fixture's configuration makes the same tree as peft", async () => {
  for (const name of cases) {
    const { json } = await expectedOf<Json>(name);
    const device = await ownDevice();
    const config = await readAdapterConfig(`${FIXTURES}${name}`);
    const model = getPeftModel(await loadFixture("gpt2_tiny", { device }), config);
    const listed = [...model.namedParameters()].map(([name, p]) => [name, p.requiresGrad]);
    assertEquals(listed, json.named_parameters, name);
    model.dispose();
  }
});

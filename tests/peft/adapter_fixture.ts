/**
 * What adapters saved by Python's `peft` are checked for: parameters, logits, loss, gradients, ten losses, tokens, files.
 * @module
 */
import { assert, assertAllClose, assertEquals } from "@std/assert";
import { type Device, noGrad, tidy } from "../../autograd/mod.ts";
import { AutoModelForCausalLM, type CausalLM } from "../../model/mod.ts";
import { getPeftModel, PeftModel } from "../../peft/mod.ts";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import { assertGradients, assertNear, expectedOf, FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { assertTenLosses } from "./ten_losses.ts";
import { withFolder } from "./tiny_model.ts";

/** `expected.json` of a fixture. */
export interface AdapterJson {
  /** The base's folder, from the fixture's. */
  base: string;
  input_ids: number[][];
  labels: number[][];
  padded_mask: number[][];
  loss: number;
  named_parameters: [string, boolean][];
  nb_trainable_parameters: [number, number];
  adamw: { lr: number; weight_decay: number; betas: [number, number]; eps: number; losses: number[] };
  greedy: number[][];
  /** The same behind two tokens of padding, where they are not `greedy`. */
  padded_greedy?: number[][];
}

/** The base of a fixture, named as the script named it. */
export async function loadBase(name: string, device: Device): Promise<CausalLM> {
  const { json: { base } } = await expectedOf<AdapterJson>(name);
  const folder = base.replace(/^(\.\.\/)+/, "");
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(FIXTURES + folder, { device });
  model.config.nameOrPath = folder.split("/").at(-1)!;
  return model;
}

/** Tests of an adapter that one of `tests/oracle`'s scripts saved: `lora/c_attn`, `llama_peft/llama.ia3`, … */
export function testAdapterFixture(name: string): void {
  const folder = `${FIXTURES}${name}`;

  Deno.test(`PeftModel with ${name} has peft's parameters, logits, loss, gradients and files`, async () => {
    const { json, ...expected } = await expectedOf<AdapterJson>(name);
    const device = await ownDevice();
    const base = await loadBase(name, device);
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
    const { json } = await expectedOf<AdapterJson>(name);
    const device = await ownDevice();
    const model = await PeftModel.fromPretrained(await loadBase(name, device), folder, {
      isTrainable: true,
    });
    model.eval();
    await assertTenLosses(model, json);
    model.dispose();
  });
}

/** A trainable model with the fixture's parameters. */
export async function trainableModel(name: string) {
  const expected = await expectedOf<AdapterJson>(name);
  const device = await ownDevice();
  const base = await loadBase(name, device);
  const model = getPeftModel(base, await readAdapterConfig(`${FIXTURES}${name}`)).eval();
  for (const [path, parameter] of model.namedParameters()) {
    if (parameter.requiresGrad) parameter.write(Float32Array.from(expected.tensor(`param.${path}`)));
  }
  return { model, base, device, expected };
}

/** Tests of virtual tokens that one of `tests/oracle`'s scripts saved: `prompt/prefix`, … */
export function testPromptFixture(name: string): void {
  const folder = `${FIXTURES}${name}`;

  Deno.test(`PeftModel.fromPretrained() of ${name} gives peft's logits, tokens and file`, async () => {
    const { json, ...expected } = await expectedOf<AdapterJson>(name);
    const device = await ownDevice();
    const base = await loadBase(name, device);
    const model = await PeftModel.fromPretrained(base, folder);
    assertEquals(model.getNbTrainableParameters()[0], 0);
    using logits = noGrad(() => tidy(() => model.forward({ inputIds: json.input_ids }).logits));
    await assertNear(logits, expected.tensor("logits"), 2e-5, "logits");
    const greedy = { maxNewTokens: 10, eosTokenId: null };
    const prompt = [json.input_ids[0].slice(0, 5)];
    assertEquals(await model.generate(prompt, greedy), json.greedy);
    assertEquals(await model.generate(prompt, { ...greedy, useCache: false }), json.greedy, "recomputed");
    const padded = { inputIds: [[0, 0, ...prompt[0]]], attentionMask: [[0, 0, 1, 1, 1, 1, 1]] };
    assertEquals(
      (await model.generate(padded, greedy))[0].slice(2),
      (json.padded_greedy ?? json.greedy)[0],
      "padded on the left",
    );

    const target = await Deno.makeTempDir();
    await model.savePretrained(target);
    const file = (path: string) => Deno.readFile(`${path}/adapter_model.safetensors`);
    assertEquals(await file(target), await file(folder), "byte for byte peft's tensors");
    const config = async (path: string) => JSON.parse(await Deno.readTextFile(`${path}/adapter_config.json`));
    assertEquals(await config(target), await config(folder));
    await Deno.remove(target, { recursive: true });
    logits.dispose();
    model.dispose();
    assertEquals(device.memory.liveBytes, 0, "nothing is left of model and adapter");
  });

  Deno.test(`${name} trains as in peft, and on from our own file`, async () => {
    const { model, device, expected: { json, ...expected } } = await trainableModel(name);
    assertEquals(
      [...model.namedParameters()].map(([path, p]) => [path, p.requiresGrad]),
      json.named_parameters,
    );
    assertEquals(model.getNbTrainableParameters(), json.nb_trainable_parameters);
    const inputs = { inputIds: json.input_ids, labels: json.labels };
    const output = model.forward(inputs);
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    await assertGradients(model.namedParameters(), { json, ...expected });
    output.dispose();

    const target = await Deno.makeTempDir();
    await model.savePretrained(target);
    const again = await PeftModel.fromPretrained(await loadBase(name, device), target, {
      isTrainable: true,
    });
    await Deno.remove(target, { recursive: true });
    await assertTenLosses(again.eval(), json);
  });

  Deno.test(`${name} keeps its tokens' logits beside padding on the right`, async () => {
    const { model, expected: { json, ...expected } } = await trainableModel(name);
    const wanted = expected.tensor("padded.logits"); // row 1 without its padding
    using logits = noGrad(() =>
      tidy(() => model.forward({ inputIds: json.input_ids, attentionMask: json.padded_mask }).logits)
    );
    const values = await logits.data();
    const row = logits.shape[1] * logits.shape[2];
    assertAllClose(values.subarray(row, row + wanted.length), wanted, { rtol: 0, atol: 2e-5 });
    model.dispose();
  });
}

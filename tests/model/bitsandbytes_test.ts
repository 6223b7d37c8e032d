/**
 * Models that bitsandbytes quantised, and models quantised here, held to bitsandbytes (`tests/oracle/bnb_fixture.py`).
 * @module
 */
import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { isQuantized, noGrad } from "../../autograd/mod.ts";
import { dynamicMap } from "../../kernels/dynamic_codes.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { safetensors, type SafetensorsEntry } from "../../io/safetensors.ts";
import { AutoModelForCausalLM, type CausalLM, type Quantization } from "../../model/mod.ts";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";

interface Expected {
  readonly ids: number[][];
  readonly targets: string[];
  readonly logits: number[];
  readonly gradients: Readonly<Record<string, number[]>>;
  readonly losses: number[];
}

const CASES = [...Deno.readDirSync(`${FIXTURES}bnb`)].map(({ name }) => name).filter((name) =>
  name.includes(".")
)
  .sort();
const expectedOf = async (name: string): Promise<Expected> =>
  JSON.parse(await Deno.readTextFile(`${FIXTURES}bnb/${name}/expected.json`));

/** Options that quantise as a fixture was. */
function optionsOf(kind: string) {
  const [quantization, double] = kind.split("_");
  return { quantization: quantization as Quantization, doubleQuant: double !== undefined };
}

async function blocksOf(model: CausalLM): Promise<Map<string, Uint8Array>> {
  const blocks = new Map<string, Uint8Array>();
  for (const [name, parameter] of model.namedParameters()) {
    if (isQuantized(parameter.dtype)) blocks.set(name, await parameter.data() as Uint8Array);
  }
  return blocks;
}

assertEquals(CASES.length, 9);

for (const name of CASES) {
  Deno.test(`a checkpoint of bitsandbytes gives its logits, gradients and losses: ${name}`, async () => {
    const device = await ownDevice();
    const { ids, targets, logits, gradients, losses } = await expectedOf(name);
    const [base, kind] = name.split(".");
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}bnb/${name}`, { device });
    const types = new Map([...model.namedParameters()].map(([path, { dtype }]) => [path, dtype]));
    for (const [path, type] of types) {
      const linear = /(_proj|c_attn|c_fc)\.weight$/.test(path);
      assertEquals(type, linear ? kind : "float32", path);
    }
    {
      using output = noGrad(() => model.forward({ inputIds: ids }));
      assertAllClose(await output.logits.data(), logits, { rtol: 0, atol: 1e-5 });
    }
    assertEquals(
      await model.generate(ids, { maxNewTokens: 3, eosTokenId: null, useCache: true }),
      await model.generate(ids, { maxNewTokens: 3, eosTokenId: null, useCache: false }),
    );
    // quantised here: the same codes
    const full = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}bnb/${base}`, {
      device,
      ...optionsOf(kind),
    });
    const [theirs, ours] = [await blocksOf(model), await blocksOf(full)];
    assertEquals([...ours.keys()], [...theirs.keys()]);
    assert(ours.size >= 4);
    for (const [path, bytes] of theirs) {
      const wrong = ours.get(path)!.filter((byte, i) => byte !== bytes[i]).length;
      // The mean of all scales is summed in another order.
      assert(wrong <= (kind.endsWith("double") ? 8 : 0), `${path}: ${wrong} bytes differ`);
    }
    full.dispose();

    const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, targetModules: targets }))
      .eval();
    const trained = [...peftModel.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    assertEquals(trained.map(([path]) => path), Object.keys(gradients));
    for (const [number, [, parameter]] of trained.entries()) {
      parameter.write(
        Float32Array.from({ length: parameter.size }, (_, i) => 0.1 * Math.sin(1.7 * i + number)),
      );
    }
    const optimizer = new AdamW(trained.map(([, parameter]) => parameter), { lr: 1e-3, weightDecay: 0 });
    const found: number[] = [];
    for (let step = 0; step < 10; step++) {
      using output = peftModel.forward({ inputIds: ids, labels: ids });
      found.push(await output.loss!.item());
      output.loss!.backward();
      for (const [path, { grad }] of step === 0 ? trained : []) {
        assertAllClose(await grad!.data(), gradients[path], { rtol: 1e-5, atol: 1e-5, label: path });
      }
      optimizer.step();
      optimizer.zeroGrad();
    }
    assertAllClose(found, losses, { rtol: 0, atol: 1e-5 });
    optimizer.dispose();
    peftModel.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("dynamicMap() is the table that files have", async () => {
  const file = await safetensors.load(`${FIXTURES}bnb/llama.nf4_double/model.safetensors`);
  const [, table] = [...file].find(([name]) => name.endsWith("nested_quant_map"))!;
  const map = new Float32Array(table.data.slice().buffer);
  assertAllClose(dynamicMap(), map, { rtol: 2e-7, atol: 0 });
});

Deno.test("quantization that cannot be is refused by name, and nothing stays on the device", async () => {
  const device = await ownDevice();
  const load = (options: object, name: string) =>
    AutoModelForCausalLM.fromPretrained(FIXTURES + name, { device, ...options });
  const cases: [object, string, name?: string][] = [
    [{ quantization: "nf5" }, 'quantization must be one of "nf4", "fp4", "int8", received "nf5"'],
    [{ doubleQuant: true }, 'doubleQuant is for quantization "nf4" and "fp4", received null'],
    [
      { quantization: "int8", doubleQuant: true },
      'doubleQuant is for quantization "nf4" and "fp4", received "int8"',
    ],
    [
      { quantization: "nf4" },
      'to nf4, 6 tensors differ: "transformer.h.0.attn.c_attn.weight" [48, 16]: rows of whole blocks of 64 are required',
      "gpt2_variants/relu",
    ],
  ];
  for (const [options, message, name = "bnb/llama"] of cases) {
    await assertRejects(() => load(options, name), TypeError, message);
    assertEquals(device.memory.liveBytes, 0);
  }
});

Deno.test("a checkpoint whose quant_state does not fit its bytes is refused, and what does not fit is said", async () => {
  const device = await ownDevice();
  const NAME = "model.layers.0.self_attn.q_proj.weight";
  const STATE = `${NAME}.quant_state.bitsandbytes__nf4`;
  type Entries = Map<string, SafetensorsEntry>;
  const load = async (kind: string, change: (file: Entries) => void) => {
    const folder = `${FIXTURES}bnb/llama.${kind}`;
    const file = await safetensors.load(`${folder}/model.safetensors`);
    change(file);
    const files = {
      "config.json": await Deno.readFile(`${folder}/config.json`),
      "model.safetensors": safetensors.serialize(file),
    };
    const model = await AutoModelForCausalLM.fromPretrained(memoryFolder(files), { device });
    model.dispose();
  };
  const state = (fields: object) => (file: Entries) => {
    const entry = file.get(STATE)!;
    const described = JSON.parse(new TextDecoder().decode(entry.data));
    const data = new TextEncoder().encode(JSON.stringify({ ...described, ...fields }));
    file.set(STATE, { ...entry, shape: [data.length], data });
  };
  const cut = (name: string) => (file: Entries) => {
    const { dtype, shape, data } = file.get(name)!;
    const half = shape[0] / 2;
    file.set(name, { dtype, shape: [half, ...shape.slice(1)], data: data.slice(0, data.length / 2) });
  };
  await load("nf4", () => {});
  const cases: [kind: string, change: (file: Entries) => void, message: string][] = [
    ["nf4", state({ quant_type: "nf3" }), 'quant_type must be "nf4" or "fp4", found "nf3"'],
    ["nf4", state({ blocksize: 128 }), "blocksize must be 64, found 128"],
    ["nf4", state({ shape: "all" }), 'shape must be [out, in], found "all"'],
    ["nf4", state({ shape: [64, 128] }), "codes of 4096 bytes are required for [64, 128], found 2048"],
    ["nf4", cut(NAME), "codes of 2048 bytes are required for [64, 64], found 1024"],
    ["nf4", cut(`${NAME}.absmax`), "absmax of 256 bytes are required for [64, 64], found 128"],
    [
      "nf4",
      (file) => file.delete(`${NAME}.absmax`),
      "absmax of 256 bytes are required for [64, 64], found none",
    ],
    ["nf4", (file) => file.delete(STATE), "is unexpected"],
    ["nf4_double", state({ nested_blocksize: 64 }), "nested_blocksize must be 256, found 64"],
    ["nf4_double", state({ nested_offset: "0" }), "nested_offset is required"],
    ["int8", cut("model.layers.0.self_attn.q_proj.SCB"), "needs SCB of 256 bytes of F32, found 128 of F32"],
  ];
  for (const [kind, change, message] of cases) {
    await assertRejects(() => load(kind, change), TypeError, message);
    assertEquals(device.memory.liveBytes, 0);
  }
});

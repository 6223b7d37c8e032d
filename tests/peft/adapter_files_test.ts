import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { load, safetensors } from "../../io/safetensors.ts";
import { getPeftModel, getPeftModelStateDict, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import {
  acting,
  bytesOf,
  logitsOf,
  randomise,
  tinyModel,
  trainedNames,
  warningsOf,
  withFolder,
} from "./tiny_model.ts";

Deno.test("savePretrained() and fromPretrained() give the same logits, frozen and in eval mode", async () => {
  const { peftModel, logits } = await acting({ targetModules: "all-linear", modulesToSave: ["ln_f"] });
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder);
    const files = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
    assertEquals(files, ["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    const loaded = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    assertEquals(await logitsOf(loaded), logits);
    assert(!loaded.training && trainedNames(loaded).length === 0);
    assertEquals(loaded.activeAdapters, ["default"]);
    const trainable = await PeftModel.fromPretrained((await tinyModel()).model, folder, {
      isTrainable: true,
    });
    assertEquals(trainedNames(trainable), trainedNames(peftModel));
    assert(trainable.training);
    trainable.eval();
    assertEquals(await logitsOf(trainable), logits);
    for (const model of [loaded, trainable]) model.dispose();
  });
  peftModel.dispose();
});

Deno.test("a file holds the adapter's keys alone, without its name, sorted, with format pt", async () => {
  const { peftModel } = await acting();
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder);
    const file = await safetensors.open(`${folder}/adapter_model.safetensors`);
    const names = file.names();
    assertEquals(names.length, 6);
    assertEquals(names[0], "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight");
    assertEquals(names, names.toSorted());
    assertEquals([...file.metadata], [["format", "pt"]]);
    await file.close();
    const config = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
    assertEquals([config.peft_type, config.inference_mode, config.fan_in_fan_out], ["LORA", true, true]);
    assertEquals(Object.keys(config), Object.keys(config).toSorted());
  });
  peftModel.dispose();
});

Deno.test("an adapter saved under one name loads under another", async () => {
  const { peftModel, logits } = await acting();
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder);
    const { model } = await tinyModel();
    const other = await PeftModel.fromPretrained(model, folder, { adapterName: "mine" });
    assertEquals(other.activeAdapters, ["mine"]);
    assertEquals(await logitsOf(other), logits);
    await other.savePretrained(folder);
    const bytes = (path: string) => Deno.readFile(`${folder}/${path}adapter_model.safetensors`);
    assertEquals(await bytes("mine/"), await bytes(""));
    other.dispose();
  });
  peftModel.dispose();
});

Deno.test("named adapters go into subfolders, chosen ones alone, also where one name is part of another", async () => {
  const { peftModel } = await acting();
  for (const [name, seed] of [["a", 1], ["ab", 2]] as const) {
    peftModel.addAdapter(name, new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
    peftModel.setAdapter(name);
    await randomise(peftModel, seed);
  }
  const logits = await logitsOf(peftModel);
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder, { selectedAdapters: ["ab"] });
    assertEquals([...Deno.readDirSync(folder)].map((entry) => entry.name), ["ab"]);
    await peftModel.savePretrained(folder);
    for (const name of ["a", "ab"]) {
      const tensors = await load(`${folder}/${name}/adapter_model.safetensors`);
      assertEquals(tensors.size, 6);
      assert([...tensors.keys()].every((key) => !key.includes(`.${name}.`)));
    }
    const other = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    await other.loadAdapter(`${folder}/ab`, "second");
    assertEquals(other.activeAdapters, ["default"]);
    other.setAdapter("second");
    other.eval();
    assertEquals(await logitsOf(other), logits);
    other.dispose();
  });
  peftModel.dispose();
});

Deno.test("loadAdapter() keeps what acts and trains, and trains the new one with isTrainable", async () => {
  const { peftModel, logits } = await acting();
  const before = trainedNames(peftModel);
  const folder = `${FIXTURES}lora/regex`;
  assertEquals(await peftModel.loadAdapter(folder, "frozen"), { missingKeys: [], unexpectedKeys: [] });
  assertEquals([trainedNames(peftModel), await logitsOf(peftModel)], [before, logits]);
  await peftModel.loadAdapter(folder, "trained", { isTrainable: true });
  assertEquals(trainedNames(peftModel).filter((name) => !before.includes(name)).length, 8);
  assert(trainedNames(peftModel).every((name) => !name.includes(".frozen.")));
  peftModel.dispose();
});

/** A copy of the c_attn fixture, changed. */
async function changedAdapter(
  folder: string,
  edit: (tensors: Awaited<ReturnType<typeof load>>) => void,
  config: Record<string, unknown> = {},
): Promise<void> {
  const source = `${FIXTURES}lora/c_attn`;
  const tensors = await load(`${source}/adapter_model.safetensors`);
  edit(tensors);
  await Deno.writeFile(
    `${folder}/adapter_model.safetensors`,
    safetensors.serialize(Object.fromEntries(tensors)),
  );
  const json = { ...JSON.parse(await Deno.readTextFile(`${source}/adapter_config.json`)), ...config };
  await Deno.writeTextFile(`${folder}/adapter_config.json`, JSON.stringify(json));
}

const KEY = "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight";

/** Loads a changed adapter into a plain model: an error, and the model is as it was. */
async function assertRefused(
  edit: (tensors: Awaited<ReturnType<typeof load>>) => void,
  config: Record<string, unknown>,
  messages: string[],
): Promise<void> {
  const { device, model } = await tinyModel();
  const [bytes, live, logits] = [await bytesOf(model), device.memory.liveBytes, await logitsOf(model)];
  await withFolder(async (folder) => {
    await changedAdapter(folder, edit, config);
    const error = await assertRejects(() => PeftModel.fromPretrained(model, folder), Error);
    for (const message of messages) assert(error.message.includes(message), `${message} in ${error.message}`);
  });
  assertEquals(await bytesOf(model), bytes, "names and bytes");
  assertEquals(await logitsOf(model), logits);
  assertEquals(device.memory.liveBytes, live);
  assert([...model.parameters()].every((p) => p.requiresGrad));
  model.dispose();
}

Deno.test("an adapter that does not fit is one error with every difference, and the model stays as it was", async () => {
  await assertRefused(
    (tensors) => {
      tensors.delete(KEY);
      const other = KEY.replace("h.1", "h.0");
      tensors.set(other, { ...tensors.get(other)!, shape: [4, 144] });
      tensors.set(KEY.replace("h.1", "h.9"), tensors.get(other)!);
    },
    {},
    [
      "3 tensors differ",
      `"${KEY}" is missing`,
      `"${KEY.replace("h.1", "h.0")}" expected [144, 4], found [4, 144]`,
      `"${KEY.replace("h.1", "h.9")}" is unexpected`,
    ],
  );
});

Deno.test("an adapter for another base, another rank, another method or without targets here is refused", async () => {
  await assertRefused(() => {}, { r: 8 }, ["expected [8, 48], found [4, 48]"]);
  await assertRefused(() => {}, { target_modules: ["q_proj", "v_proj"] }, [
    'Cannot apply lora: targetModules ["q_proj", "v_proj"] match no module',
  ]);
  await assertRefused(() => {}, { target_modules: "(.*)*x" }, ["match no module"]);
  await assertRefused(() => {}, { target_modules: "(?=a)b" }, ["lookahead"]);
  await assertRefused(() => {}, { peft_type: "NO_SUCH_METHOD" }, ['Cannot use peft_type "NO_SUCH_METHOD"']);
  await assertRefused(() => {}, { peft_type: "constructor" }, ['Cannot use peft_type "constructor"']);
  await assertRefused(() => {}, { peft_type: undefined }, [
    "Cannot use peft_type undefined: a configuration such as new LoraConfig({ … }), or a file that names its method, is required",
  ]);
  await assertRefused(() => {}, { r: 0 }, ["`r` should be a positive integer value"]);
  await assertRefused(() => {}, { lora_alpha: "high" }, ["lora_alpha must be a number"]);
  await assertRefused(() => {}, { target_modules: 7 }, ["target_modules must be"]);
  await assertRefused((tensors) => tensors.clear(), {}, ["6 tensors differ"]);
  await assertRefused(
    (tensors) => tensors.set(KEY, { ...tensors.get(KEY)!, dtype: "I32" }),
    {},
    [`"${KEY}" must be F32, F16 or BF16, found I32`],
  );
});

Deno.test("loadAdapter() of one that does not fit leaves the others acting and training", async () => {
  const { device, peftModel, logits } = await acting();
  const [bytes, trained, live] = [await bytesOf(peftModel), trainedNames(peftModel), device.memory.liveBytes];
  await withFolder(async (folder) => {
    await changedAdapter(folder, (tensors) => tensors.delete(KEY));
    await assertRejects(() => peftModel.loadAdapter(folder, "second"), TypeError, "1 tensor differs");
    await assertRejects(() => peftModel.loadAdapter(folder, "default"), RangeError, "already exists");
  });
  assertEquals(await bytesOf(peftModel), bytes);
  assertEquals([trainedNames(peftModel), device.memory.liveBytes], [trained, live]);
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(Object.keys(peftModel.peftConfig), ["default"]);
  peftModel.dispose();
});

Deno.test("strict false warns of missing and unexpected keys, reports them, and loads the rest", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new LoraConfig({ r: 2 }));
  const extra = KEY.replace("h.1", "h.9");
  await withFolder(async (folder) => {
    await changedAdapter(folder, (tensors) => {
      tensors.set(extra, tensors.get(KEY)!);
      tensors.delete(KEY);
    });
    let result: unknown;
    const warnings = await warningsOf(async () =>
      result = await peftModel.loadAdapter(folder, "second", { strict: false })
    );
    assertEquals(result, { missingKeys: [KEY], unexpectedKeys: [extra] });
    assertEquals(warnings, [
      `Found missing adapter keys while loading the checkpoint: [${KEY}]`,
      `Found unexpected adapter keys while loading the checkpoint: [${extra}]`,
    ]);
  });
  peftModel.dispose();
});

Deno.test("a tensor that a file lacks begins as a new adapter's with strict false", async () => {
  const { model } = await tinyModel();
  const missing = KEY.replace("lora_B", "lora_A");
  await withFolder(async (folder) => {
    await changedAdapter(folder, (tensors) => tensors.delete(missing));
    let loaded: PeftModel | undefined;
    await warningsOf(async () => loaded = await PeftModel.fromPretrained(model, folder, { strict: false }));
    const A = getPeftModelStateDict(loaded!).get(missing)!;
    const values = [...await A.data()];
    const bound = 1 / Math.sqrt(A.shape[1]);
    assert(values.every((value) => Math.abs(value) <= bound), `uniform up to ${bound}, received ${values}`);
    assert(new Set(values).size > values.length / 2, `drawn, received ${values}`);
    loaded!.dispose();
  });
});

Deno.test("entries of target_modules that match nothing here are a warning in a file", async () => {
  const { model } = await tinyModel();
  await withFolder(async (folder) => {
    await changedAdapter(folder, () => {}, { target_modules: ["c_attn", "q_proj"] });
    let loaded: PeftModel | undefined;
    const warnings = await warningsOf(async () => loaded = await PeftModel.fromPretrained(model, folder));
    assert(warnings[0].startsWith('While loading lora: entries of targetModules match no module: "q_proj"'));
    loaded!.dispose();
  });
});

/** The nearest value of a dtype, ties to even, from its bits. */
const ROUNDINGS: Readonly<Record<"F16" | "BF16", (value: number) => number>> = {
  F16(value) {
    const unit = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(value))), -14) - 10); // the values here are small
    const [below, rest] = [Math.floor(value / unit), value / unit - Math.floor(value / unit)];
    return value === 0 ? 0 : unit * (rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below);
  },
  BF16(value) {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
    const kept = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
    return new Float32Array(Uint32Array.of(kept).buffer)[0];
  },
};

Deno.test("half precision adapters load as float32, bit for bit", async () => {
  const device = await ownDevice();
  for (const dtype of ["F16", "BF16"] as const) {
    await withFolder(async (folder) => {
      await changedAdapter(folder, (tensors) => {
        for (const [name, { shape, data }] of tensors) {
          const values = new Float32Array(data.slice().buffer);
          tensors.set(name, { dtype, shape, data: safetensors.fromFloat32(dtype, values) });
        }
      });
      const loaded = await PeftModel.fromPretrained(await loadFixture("gpt2_tiny", { device }), folder);
      const exact = await PeftModel.fromPretrained(
        await loadFixture("gpt2_tiny", { device }),
        `${FIXTURES}lora/c_attn`,
      );
      const [rounded, logits] = [await logitsOf(loaded), await logitsOf(exact)];
      assertNotEquals(rounded, logits);
      for (const [name, parameter] of exact.namedParameters()) {
        if (!/lora_/.test(name)) continue;
        const values = await parameter.data() as Float32Array<ArrayBuffer>;
        parameter.write(values.map(ROUNDINGS[dtype]));
      }
      assertEquals(await bytesOf(loaded), await bytesOf(exact), dtype);
      assertEquals(await logitsOf(exact), rounded, dtype);
      assert([...loaded.parameters()].every((p) => p.dtype === "float32"));
      loaded.dispose();
      exact.dispose();
    });
  }
});

Deno.test("a folder without configuration or tensors, or with a file cut short, is an error", async () => {
  const { device, model } = await tinyModel();
  const live = device.memory.liveBytes;
  await withFolder(async (folder) => {
    await assertRejects(() => PeftModel.fromPretrained(model, folder), Error, "adapter_config.json");
    await changedAdapter(folder, () => {});
    const path = `${folder}/adapter_model.safetensors`;
    const bytes = await Deno.readFile(path);
    for (const length of [0, 4, 100, bytes.length - 1]) {
      await Deno.writeFile(path, bytes.slice(0, length));
      await assertRejects(() => PeftModel.fromPretrained(model, folder), Error, "Cannot read");
    }
    await Deno.remove(path);
    await assertRejects(() => PeftModel.fromPretrained(model, folder), Error, "adapter_model.safetensors");
    await Deno.writeTextFile(`${folder}/adapter_config.json`, "[1");
    await assertRejects(() => PeftModel.fromPretrained(model, folder), Error, "adapter");
  });
  assertEquals(device.memory.liveBytes, live);
  model.dispose();
});

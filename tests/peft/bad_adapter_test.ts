/**
 * Bad input, every method against every check: the error is clear, and the model keeps its bytes, names and flags, and
 * the device its live bytes.
 * @module
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Device } from "../../autograd/mod.ts";
import { load, safetensors } from "../../io/safetensors.ts";
import { GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import type { Module } from "../../nn/mod.ts";
import { getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { formatOf, readConfig } from "../../peft/registry.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { type Case, CASES } from "./contract_cases.ts";
import { bytesOf, logitsOf, tinyModel, warningsOf, withFolder } from "./tiny_model.ts";

/** What must not change: names, bytes, flags, live bytes. */
async function stateOf(model: Module, device: Device): Promise<unknown> {
  return {
    modules: [...model.namedModules()].map(([name, { training }]) => [name, training]),
    flags: [...model.namedParameters()].map(([name, parameter]) => [name, parameter.requiresGrad]),
    bytes: await bytesOf(model),
    live: device.memory.liveBytes,
  };
}

/** The tiny model's adapter, saved in a folder. */
async function withSaved(test: Case, body: (folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const peftModel = getPeftModel((await tinyModel()).model, test.config());
    await peftModel.savePretrained(folder);
    peftModel.dispose();
    await body(folder);
  });
}

/** Changes the configuration of a saved adapter. */
async function editConfig(folder: string, fields: Record<string, unknown>): Promise<void> {
  const path = `${folder}/adapter_config.json`;
  await Deno.writeTextFile(path, JSON.stringify({ ...JSON.parse(await Deno.readTextFile(path)), ...fields }));
}

/** What an adapter's configuration file says. */
function jsonOf({ config }: Case): Record<string, unknown> {
  return formatOf(config()).configOf(config(), "default");
}

/** Loading a folder into a model is an error, and the model stays as it was. */
async function assertRefused(model: GPT2LMHeadModel, device: Device, folder: string): Promise<void> {
  model.transformer.wpe.requiresGrad_(false); // flags that are not all the same
  const before = await stateOf(model, device);
  const error = await assertRejects(() => PeftModel.fromPretrained(model, folder), Error);
  assert(/^Cannot /.test(error.message), error.message);
  assertEquals(await stateOf(model, device), before);
  model.dispose();
}

/** A model like the tiny one but for some fields. */
async function otherModel(fields: Partial<ConstructorParameters<typeof GPT2Config>[0]>) {
  const device = await ownDevice();
  const { model: tiny } = await tinyModel();
  const model = new GPT2LMHeadModel(new GPT2Config({ ...tiny.config, ...fields }), { device });
  tiny.dispose();
  return { device, model };
}

const CHECKS: Readonly<Record<string, (test: Case, type: string) => Promise<void>>> = {
  "for a base of another width is refused": async (test) => {
    await withSaved(test, async (folder) => {
      const { model, device } = await otherModel({ nEmbd: 96 });
      await assertRefused(model, device, folder);
    });
  },

  "for a base of another depth is refused": async (test) => {
    await withSaved(test, async (folder) => {
      const { model, device } = await otherModel({ nLayer: 2 });
      await assertRefused(model, device, folder);
    });
  },

  "under the name of another method is refused": async (test, type) => {
    await withSaved(test, async (folder) => {
      await editConfig(folder, { peft_type: ["LORA", "BITFIT"].includes(type) ? "IA3" : "LORA" });
      const { model, device } = await tinyModel();
      await assertRefused(model, device, folder);
    });
  },

  "without one of its tensors is refused beside one that acts, which goes on": async (test) => {
    await withSaved(test, async (folder) => {
      const path = `${folder}/${formatOf(test.config()).weightsFile}`;
      const [first, ...others] = [...await load(path)];
      const tensors = others.length > 0 ? others : [[`${first[0]}_of_another`, first[1]] as typeof first];
      await Deno.writeFile(path, safetensors.serialize(Object.fromEntries(tensors)));
      const { model, device } = await tinyModel();
      const peftModel = getPeftModel(model, test.config());
      const [before, logits] = [await stateOf(peftModel, device), await logitsOf(peftModel.eval())];
      peftModel.train();
      await assertRejects(
        () => peftModel.loadAdapter(folder, "second"),
        TypeError,
        first[0].split(".").at(-2),
      );
      assertEquals(await stateOf(peftModel, device), before);
      assertEquals(await logitsOf(peftModel.eval()), logits);
      assertEquals(Object.keys(peftModel.peftConfig), ["default"]);
      peftModel.dispose();
    });
  },

  "cannot be deleted while it is merged": async (test) => {
    const { model, device } = await tinyModel();
    const peftModel = getPeftModel(model, test.config());
    await peftModel.mergeAdapter();
    const before = await stateOf(peftModel, device);
    const error = assertThrows(() => peftModel.deleteAdapter("default"), RangeError);
    assert(
      error.message.includes("Cannot delete adapter(s) ['default'] while they are merged"),
      error.message,
    );
    assertEquals(await stateOf(peftModel, device), before);
    peftModel.dispose();
  },

  "with an unknown field in its file is read, with a warning": async (test) => {
    const json = jsonOf(test);
    const known = readConfig(json);
    const inner = typeof json.config === "object" ? json.config as Record<string, unknown> : null; // AdapterHub's file
    const warnings = await warningsOf(() => {
      const more = inner
        ? { ...json, config: { ...inner, some_new_field: 1 } }
        : { ...json, some_new_field: 1 };
      assertEquals(readConfig(more), known);
    });
    assertEquals(warnings.length, 1);
    assert(/^Unexpected fields \[some_new_field\] in the .* configuration are ignored\.$/.test(warnings[0]));
  },

  "with its method's name alone in its file has the defaults, or says what it needs": (_test, type) => {
    const needed: Record<string, string> = {
      ADALORA: "total_step",
      PREFIX_TUNING: "num_virtual_tokens",
      PROMPT_TUNING: "num_virtual_tokens",
      P_TUNING: "num_virtual_tokens",
      OFT: "oft_block_size",
      TRAINABLE_TOKENS: "token_indices",
    };
    if (needed[type]) assertThrows(() => readConfig({ peft_type: type }), RangeError, needed[type]);
    else assertEquals(readConfig({ peft_type: type }).peftType, type);
    return Promise.resolve();
  },

  "with a field of another type in its file is refused by the field's name": (test, type) => {
    let tried = 0;
    const json = jsonOf(test);
    const fields = typeof json.config === "object" ? json.config as Record<string, unknown> : json;
    for (const [field, value] of Object.entries(fields)) {
      if (typeof value !== "number" && typeof value !== "boolean") continue;
      // Written and never read, or an option of a part that is refused when it is switched on.
      if (field === "inference_mode" || field === "qalora_group_size" || /phm/i.test(field)) continue;
      if (type === "ADALORA" && field === "r") continue; // ignored, with a warning
      const wrong = { ...fields, [field]: "some" };
      const error = assertThrows(
        () => readConfig(fields === json ? wrong : { ...json, config: wrong }),
        RangeError,
      );
      assert(error.message.includes(field), `${field}: ${error.message}`);
      tried++;
    }
    assert(tried > 0);
    return Promise.resolve();
  },

  "with lists, patterns and common fields of another kind in its file is refused by the field's name": (
    test,
  ) => {
    const json = jsonOf(test);
    const inner = typeof json.config === "object" ? json.config as Record<string, unknown> : null;
    const hostile: unknown[] = [5, -1, true, { a: [1] }, [null], [[]], [{}]];
    let tried = 0;
    for (const field of Object.keys({ ...json, ...inner })) {
      const values = /^(?:target_modules|exclude_modules|modules_to_save|feedforward_modules)$/.test(field)
        ? hostile
        : /^layers_(?:pattern|to_transform)$/.test(field)
        ? hostile.filter((value) => value !== 5)
        : /_pattern$/.test(field)
        ? [5, true, "x", [1], { a: "x" }]
        : /^(?:base_model_name_or_path|revision|tokenizer_name_or_path|prompt_tuning_init_text)$/.test(field)
        ? hostile
        : /^(?:token_dim|num_layers|num_attention_heads|num_transformer_submodules)$/.test(field)
        ? [-1, true, "x", [1], {}]
        : [];
      for (const value of values) {
        const wrong = inner && Object.hasOwn(inner, field)
          ? { ...json, config: { ...inner, [field]: value } }
          : { ...json, [field]: value };
        const error = assertThrows(
          () => readConfig(wrong),
          RangeError,
          undefined,
          `${field} ${JSON.stringify(value)}`,
        );
        assert(error.message.includes(field), `${field}: ${error.message}`);
        tried++;
      }
    }
    assert(tried > 0);
    return Promise.resolve();
  },
};

/** Which cases a check is for; one that is not listed is for all of them. */
const APPLIES: Readonly<Record<string, (test: Case, type: string) => boolean>> = {
  // FourierFT's file says nothing of the base's size, that of trainable tokens nothing of its depth.
  "for a base of another width is refused": (_test, type) => type !== "FOURIERFT",
  "for a base of another depth is refused": (_test, type) => type !== "TRAINABLE_TOKENS",
  "cannot be deleted while it is merged": ({ merges }) => merges,
  // AdapterHub's file names no method, BitFit's is known by the values of its fields.
  "with its method's name alone in its file has the defaults, or says what it needs": (test, type) =>
    typeof jsonOf(test).config !== "object" && type !== "BITFIT",
  "with a field of another type in its file is refused by the field's name": (_test, type) =>
    !["BITFIT", "LN_TUNING"].includes(type),
  // AdapterHub's file has no such fields.
  "with lists, patterns and common fields of another kind in its file is refused by the field's name": (
    _test,
    type,
  ) => !["BOTTLENECK", "BITFIT"].includes(type),
};

for (const criterion of Object.keys(APPLIES)) {
  if (!(criterion in CHECKS)) throw new Error(`there is no check "${criterion}"`);
}

for (const [type, cases] of Object.entries(CASES)) {
  for (const [name, test] of Object.entries(cases)) {
    for (const [criterion, check] of Object.entries(CHECKS)) {
      if (!(APPLIES[criterion]?.(test, type) ?? true)) continue;
      Deno.test(`an adapter of ${name} ${criterion}`, () => check(test, type));
    }
  }
}

Deno.test("readConfig() without a method names every method", () => {
  const error = assertThrows(() => readConfig({ r: 4 }), RangeError);
  for (const type of Object.keys(CASES)) {
    assert(error.message.includes(`"${type}"`), `${type} in ${error.message}`);
  }
});

Deno.test("getPeftModel() and PeftModel.fromPretrained() refuse what is no model", async () => {
  const { model } = await tinyModel();
  const wrong: [unknown, string][] = [
    [Promise.resolve(model), "a Promise; await it first"],
    ["some/folder", 'the string "some/folder"'],
    [undefined, "undefined"],
  ];
  for (const [given, received] of wrong) {
    const message = `Cannot wrap the model: a model is required, received ${received}`;
    assertThrows(() => getPeftModel(given as typeof model, new LoraConfig()), TypeError, message);
    await assertRejects(
      () => PeftModel.fromPretrained(given as typeof model, "some/adapter"),
      TypeError,
      message,
    );
  }
  model.dispose();
});

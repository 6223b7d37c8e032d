/**
 * A configuration made from another by spreading it: `new LoraConfig({ ...config, r: 16 })`.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as root from "@peft/webgpu";
import { LlamaConfig } from "@peft/webgpu/model";

type Configuration = new (fields?: object) => object;

/** What a configuration cannot do without. */
const REQUIRED: Readonly<Record<string, object>> = {
  AdaLoraConfig: { totalStep: 10 },
  PrefixTuningConfig: { numVirtualTokens: 2 },
  PromptEncoderConfig: { numVirtualTokens: 2 },
  PromptTuningConfig: { numVirtualTokens: 2 },
  TrainableTokensConfig: { tokenIndices: [1] },
};

for (const [name, exported] of Object.entries(root)) {
  if (typeof exported !== "function" || !/^[A-Z].*(?:Config|Arguments)$/.test(name)) continue;
  Deno.test(`${name} takes what a configuration brings along that is spread`, () => {
    const Config = exported as unknown as Configuration;
    const config = new Config(REQUIRED[name]);
    assert(Object.keys(config).length > 5);
    assertEquals(JSON.stringify(new Config({ ...config })), JSON.stringify(config));
  });
}

Deno.test("a field beside a configuration that is spread takes its place", () => {
  const lora = new root.LoraConfig({ r: 4, loraAlpha: 32 });
  const other = new root.LoraConfig({ ...lora, r: 16 });
  assertEquals([other.r, other.loraAlpha, other.peftType], [16, 32, "LORA"]);
  const gpt2 = new root.GPT2Config({ nEmbd: 64, nHead: 2 });
  assertEquals(new root.GPT2Config({ ...gpt2, nLayer: 3 }).toJSON(), { ...gpt2.toJSON(), n_layer: 3 });
  const llama = new LlamaConfig("llama", { hiddenSize: 64 });
  const deeper = new LlamaConfig("llama", { ...llama, numHiddenLayers: 3 });
  assertEquals(deeper.toJSON(), { ...llama.toJSON(), num_hidden_layers: 3 });
});

Deno.test("a Llama whose rotary parameters a spread configuration would lose is refused, and fromJSON() keeps them", () => {
  const config = LlamaConfig.fromJSON({ model_type: "llama", hidden_size: 64, rope_theta: 100_000 });
  assertThrows(
    () => new LlamaConfig("llama", { ...config, numHiddenLayers: 3 }),
    RangeError,
    "use LlamaConfig.fromJSON({ ...config.toJSON(), … })",
  );
  const deeper = LlamaConfig.fromJSON({ ...config.toJSON(), num_hidden_layers: 3 });
  assertEquals([deeper.numHiddenLayers, deeper.rope], [3, config.rope]);
});

Deno.test("a configuration of another method that is spread is refused by its type", () => {
  assertThrows(
    () => new root.LoraConfig({ ...new root.IA3Config() } as object),
    RangeError,
    "received feedforwardModules, initIa3Weights, peftType",
  );
});

import { assertEquals } from "@std/assert";
import { promptSizes } from "../../peft/virtual_tokens/prompt_init.ts";

Deno.test("promptSizes() makes a prefix as wide as the keys of a layer, as peft does where query heads share them", () => {
  // Qwen3-0.6B: 16 heads of 128 in a model 1024 wide, 8 of keys and values
  const facts = { hiddenSize: 1024, numLayers: 28, numHeads: 16, numKeyValueHeads: 8, headSize: 128 };
  const model = { ...facts, embeddings: null as never, random: null as never };
  assertEquals(promptSizes("PREFIX_TUNING", model), { tokenDim: 1024, numLayers: 28, numAttentionHeads: 8 });
  assertEquals(promptSizes("PROMPT_TUNING", model), { tokenDim: 1024, numLayers: 28, numAttentionHeads: 16 });
  // SmolLM2-135M: 9 heads of 64, 3 of keys and values
  const small = { ...model, hiddenSize: 576, numLayers: 30, numHeads: 9, numKeyValueHeads: 3, headSize: 64 };
  assertEquals(promptSizes("PREFIX_TUNING", small), { tokenDim: 192, numLayers: 30, numAttentionHeads: 3 });
  assertEquals(promptSizes("P_TUNING", small), { tokenDim: 576, numLayers: 30, numAttentionHeads: 9 });
});

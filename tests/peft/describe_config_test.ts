import { assert, assertEquals } from "@std/assert";
import {
  BottleneckConfig,
  describeConfig,
  LoraConfig,
  OFTConfig,
  PromptTuningConfig,
} from "../../peft/mod.ts";
import { CASES } from "./contract_cases.ts";

Deno.test("describeConfig() names the method, its sizes, the variants it asks for and its modules", () => {
  assertEquals(describeConfig(new LoraConfig({ r: 4, loraAlpha: 16, targetModules: ["c_attn", "c_fc"] })), [
    ["method", "LoRA"],
    ["r", "4"],
    ["lora_alpha", "16"],
    ["target_modules", "c_attn, c_fc"],
  ]);
  assertEquals(
    describeConfig(new LoraConfig({ useDora: true, rankPattern: { c_fc: 2 }, modulesToSave: ["ln_f"] })),
    [
      ["method", "LoRA"],
      ["r", "8"],
      ["lora_alpha", "8"],
      ["use_dora", "true"],
      ["rank_pattern", '{"c_fc":2}'],
      ["modules_to_save", "ln_f"],
    ],
  );
  assertEquals(describeConfig(BottleneckConfig.named("par_bn")), [
    ["method", "bottleneck adapters"],
    ["reduction_factor", "2"],
    ["non_linearity", "relu"],
    ["scaling", "4"],
    ["mh_adapter", "false"],
    ["output_adapter", "true"],
    ["is_parallel", "true"],
  ]);
  assertEquals(describeConfig(new OFTConfig({ oftBlockSize: 8, targetModules: "all-linear" })), [
    ["method", "OFT"],
    ["r", "0"],
    ["oft_block_size", "8"],
    ["target_modules", "all-linear"],
  ]);
  assertEquals(describeConfig(new PromptTuningConfig({ numVirtualTokens: 3 })), [
    ["method", "prompt tuning"],
    ["num_virtual_tokens", "3"],
    ["prompt_tuning_init", "RANDOM"],
  ]);
});

Deno.test("describeConfig() knows the fields of every method by their names in files", () => {
  for (const cases of Object.values(CASES)) {
    for (const [name, { config }] of Object.entries(cases)) {
      const own = config();
      const known = own.peftType === "BOTTLENECK"
        ? Object.keys((own.toJSON() as { config: object }).config)
        : Object.keys(own.toJSON());
      const lines = describeConfig(own);
      for (const [label, value] of lines.slice(1)) {
        assert(known.includes(label), `${name}: ${label}`);
        assert(value !== "" && value !== "undefined" && value !== "null", `${name}: ${label}`);
      }
    }
  }
});

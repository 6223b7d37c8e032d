/**
 * Small changes that make a formula or a guard wrong, with the tests that must notice each. Run by `check_mutants.ts`.
 * @module
 */
import { ATTENTION_MUTANTS } from "./attention_mutants.ts";
import type { Mutant } from "./mutant.ts";

const OPS = "tests/autograd/ops";

/** Every mutant. */
export const MUTANTS: readonly Mutant[] = [
  // Gradients and the tape
  {
    file: "autograd/tape.ts",
    search: "if (present.isShared) {",
    replace: "if (false) {",
    tests: ["tests/autograd/tape_test.ts"],
    filter: "another branch still holds",
  },
  {
    file: "kernels/pointwise.ts",
    search: '"-(p / q) / q"',
    replace: '"-p / (q * q)"',
    tests: [`${OPS}/pointwise_test.ts`],
    filter: "leaves float32's range",
  },
  {
    file: "kernels/snippets.ts",
    search: "0.134145",
    replace: "0.044715",
    tests: [`${OPS}/pointwise_test.ts`],
    filter: "geluNew() and its gradient",
  },
  {
    file: "kernels/layer_norm.ts",
    search: " - g_mean - n * gn_mean",
    replace: " - g_mean",
    tests: [`${OPS}/layer_norm_test.ts`],
    filter: "only the gradients that are wanted",
  },
  {
    file: "kernels/softmax.ts",
    search: "y[base + i] * (dy[base + i] - rowSum)",
    replace: "y[base + i] * dy[base + i]",
    tests: [`${OPS}/softmax_test.ts`],
    filter: "softmax() and its gradient",
  },
  {
    file: "kernels/random_elementwise.ts",
    search: "1.0 / (1.0 - params.p)",
    replace: "1.0",
    tests: [`${OPS}/dropout_test.ts`],
    filter: "zeros and scales",
  },
  // Products
  {
    file: "autograd/ops/_matmul.ts",
    search: "return rangesFrom(operand, row * operand.ld + column, null);",
    replace: "return [operand.tensor.view];",
    tests: [`${OPS}/matmul_test.ts`],
    filter: "takes several launches",
  },
  {
    file: "kernels/mixed_lora.ts",
    search: "if (iterations === Infinity) return Infinity;",
    replace: "if (iterations > 0) return Infinity;",
    tests: [`${OPS}/mixed_lora_test.ts`],
    filter: "float64 reference",
  },
  // Losses
  {
    file: "kernels/cross_entropy.ts",
    search: "select(0x7fc00000u, bitcast<u32>(count[0]), count[0] > 0.0)",
    replace: "bitcast<u32>(max(count[0], 1.0))",
    tests: [`${OPS}/cross_entropy_test.ts`],
    filter: "ignored labels alone",
  },
  {
    file: "kernels/cross_entropy.ts",
    search: "let hit = select(0.0, 1.0, i32(col) == label);",
    replace: "let hit = 0.0;",
    tests: [`${OPS}/cross_entropy_test.ts`],
    filter: "every way to sum",
  },
  ...ATTENTION_MUTANTS,
  // Rows, loops and sampling
  {
    file: "kernels/rows.ts",
    search: "if (row >= params.rows) { return; } // of a folded grid",
    replace: "// of a folded grid",
    tests: ["tests/kernels/surplus_workgroups_test.ts"],
  },
  {
    file: "kernels/sample.ts",
    search: "vec3<bool>(sums >= vec3f(goal))",
    replace: "vec3<bool>(sums > vec3f(goal))",
    tests: ["tests/model/generation/sampling_test.ts"],
    filter: "exactly topP",
  },
  // Optimizers and schedules
  {
    file: "kernels/adamw.ts",
    search: "(m / (sqrt(v) / rates.z + rates.w))",
    replace: "(m / (sqrt(v) + rates.w))",
    tests: [`${OPS}/adamw_step_test.ts`],
    filter: "fill no vector",
  },
  {
    file: "kernels/grad_norm.ts",
    search: "min(1.0, params.maxNorm / (length + 1e-6))",
    replace: "params.maxNorm / (length + 1e-6)",
    tests: [`${OPS}/grad_norm_test.ts`],
    filter: "clipping and not clipping",
  },
  {
    file: "train/optimizers/lr_scheduler.ts",
    search: "Math.cos(Math.PI * numCycles * 2 * progress)",
    replace: "Math.cos(Math.PI * numCycles * progress)",
    tests: ["tests/train/optimizers/lr_scheduler_test.ts"],
  },
  // PEFT
  {
    file: "peft/lora/lora_linear.ts",
    search: "alpha / (config.useRslora ? Math.sqrt(rank) : rank)",
    replace: "alpha / rank",
    tests: ["tests/peft/lora_test.ts"],
    filter: "the scaling is alpha / r",
  },
  {
    file: "peft/adapters/mixed_batch.ts",
    search: "scaling: layer.scaling.get(present[i])!",
    replace: "scaling: layer.scaling.initial(present[i])!",
    tests: ["tests/peft/mixed_batch_test.ts"],
    filter: "scalings as they are now",
  },
  {
    file: "peft/lora/lora_linear.ts",
    search: "patternValue(config.alphaPattern, path, config.loraAlpha)",
    replace: "config.loraAlpha",
    tests: ["tests/peft/hotswap_test.ts"],
    filter: "alpha",
  },
  // Memory
  {
    file: "autograd/checkpoint.ts",
    search: "random.from(place, () => body(again, constants, true))",
    replace: "body(again, constants, true)",
    tests: ["tests/autograd/checkpoint_test.ts"],
    filter: "dropout included",
  },
  {
    file: "autograd/checkpoint.ts",
    search: "if (settingsKey() !== settings) {",
    replace: "if (false) {",
    tests: ["tests/autograd/checkpoint_test.ts"],
    filter: "refuses changed settings",
  },
  {
    file: "model/label_rows.ts",
    search: "const at = b * length + virtual + t - 1;",
    replace: "const at = b * length + virtual + t;",
    tests: ["tests/model/few_labels_test.ts"],
    filter: "virtual tokens and numItemsInBatch",
  },
  {
    file: "kernels/adafactor.ts",
    search: "sqrt(state[r] / means[batch])",
    replace: "sqrt(state[r])",
    tests: ["tests/train/optimizers/optimizer_fixture_test.ts"],
    filter: "adafactor takes",
  },
  {
    file: "kernels/lion.ts",
    search: "sign(betas.x * m + betas.y * g)",
    replace: "sign(betas.z * m + betas.w * g)",
    tests: ["tests/train/optimizers/optimizer_fixture_test.ts"],
    filter: "lion takes",
  },
  {
    file: "kernels/random_elementwise.ts",
    search: "2.0 * u - 1.0",
    replace: "u",
    tests: [`${OPS}/add_noise_test.ts`],
  },
  {
    file: "autograd/ops/loss_tally.ts",
    search: "(last - count + i) % TALLY_STEPS",
    replace: "i",
    tests: [`${OPS}/grad_norm_test.ts`],
    filter: "LossTally keeps",
  },
  {
    file: "kernels/adamw_8bit.ts",
    search: "m = select(vec4f(0.0), m, inside);",
    replace: "m = select(vec4f(0.0), m, vec4<bool>(true));",
    tests: [`${OPS}/adamw_8bit_step_test.ts`],
    filter: "updates weights as float64 does",
  },
  {
    file: "kernels/dynamic_codes.ts",
    search: "if (code == 0u) { return -1.0; }",
    replace: "",
    tests: [`${OPS}/adamw_8bit_step_test.ts`],
    filter: "updates weights as float64 does",
  },
  {
    file: "plan/copy_model.ts",
    search: "parameter.storage.allocate(bytes[i])",
    replace: "parameter.storage.allocate(4 * parameter.size)",
    tests: ["tests/plan/memory_plan_test.ts"],
    filter: "Llama in NF4",
  },
  // Generation
  {
    file: "kernels/sample.ts",
    search: "rowMax + params.temperature * log(params.minP)",
    replace: "rowMax + log(params.minP)",
    tests: ["tests/model/generation/generation_options_test.ts"],
    filter: "TokenSampler with minP",
  },
  {
    file: "kernels/ban_repeats.ts",
    search: "if (lid.x == 0u && params.appends == 1u)",
    replace: "if (false)",
    tests: ["tests/model/generation/generation_options_test.ts"],
    filter: "no_repeat_ngram_size",
  },
  {
    file: "model/generation/kv_cache.ts",
    search: "for (const { parent, row } of moved) copy(spare, parent, layer, row);",
    replace: "for (const { parent, row } of moved) copy(layer, parent, layer, row);",
    tests: ["tests/model/generation/beam_search_test.ts"],
    filter: "repetition_penalty",
  },
  {
    file: "model/generation/beam_search.ts",
    search: "score: beam.score - ENDED",
    replace: "score: beam.score",
    tests: ["tests/model/generation/beam_search_test.ts"],
    filter: "stopStrings",
  },
  {
    file: "model/generation/kept_cache.ts",
    search: "before.settings === settings && ",
    replace: "",
    tests: ["tests/model/generation/kept_cache_test.ts"],
    filter: "under other adapters",
  },
  {
    file: "model/generation/kept_cache.ts",
    search: "commonStart(row.slice(0, -1), before.rows[i])",
    replace: "Math.min(row.length - 1, before.rows[i].length)",
    tests: ["tests/model/generation/kept_cache_test.ts"],
    filter: "gpt2_tiny",
  },
  {
    file: "kernels/cross_entropy.ts",
    search: "d *= 1.0 - (logit / params.cap)",
    replace: "d *= 1.0 - 0.9 * (logit / params.cap)",
    tests: [`${OPS}/cross_entropy_test.ts`],
    filter: "soft cap",
  },
  {
    file: "model/llama/rope.ts",
    search: "growth ** (size / (size - 2))",
    replace: "growth",
    tests: ["tests/model/llama/llama_test.ts"],
    filter: "llama_dynamic_long gives",
  },
  {
    file: "peft/bottleneck/bottleneck_adapter.ts",
    search: "blockNorm ? blockNorm.forward(joined) : joined",
    replace: "joined",
    tests: ["tests/peft/bottleneck_test.ts"],
    filter: "gemma3_seq_bn has",
  },
  {
    file: "autograd/picks.ts",
    search: '${group > 1 ? ` G${group}` : ""}',
    replace: "",
    tests: ["tests/tuning/model_shapes_test.ts"],
    filter: "picks for recorded shapes",
  },
  // Files
  {
    file: "io/url_file.ts",
    search: ' && response.headers.get("ETag") === etag',
    replace: "",
    tests: ["tests/io/url_file_test.ts"],
    filter: "changed while it was open",
  },
  {
    file: "io/files.ts",
    search: "!real.startsWith(root + path.sep)",
    replace: "!real.startsWith(root)",
    tests: ["tests/io/files_test.ts"],
    filter: "only begins like its own",
  },
  {
    file: "io/atomic_file.ts",
    search: 'fs.open(temporary, "wx", ',
    replace: 'fs.open(temporary, "w", ',
    tests: ["tests/io/atomic_file_test.ts"],
    filter: "another process put",
  },
  {
    file: "io/atomic_file.ts",
    search:
      "      await handle.sync();\n    } finally {\n      await handle.close();\n    }\n    await fs.rename",
    replace: "    } finally {\n      await handle.close();\n    }\n    await fs.rename",
    tests: ["tests/io/atomic_file_test.ts"],
    filter: "syncs it before the rename",
  },
  {
    file: "model/generation/shared_cache.ts",
    search: "columns - tokens - 1,",
    replace: "columns - tokens,",
    tests: ["tests/model/generation/continuous_batch_test.ts"],
    filter: "gpt2_tiny that computes 5 tokens",
  },
  {
    file: "model/generation/batch_prefill.ts",
    search: "to: past - starts[i] }",
    replace: "to: 0 }",
    tests: ["tests/model/generation/continuous_batch_test.ts"],
    filter: "of gpt2_tiny that begin alike",
  },
  {
    file: "model/generation/prompt_cache.ts",
    search: "if (entry.adapter !== adapter) continue;",
    replace: "",
    tests: ["tests/model/generation/continuous_batch_test.ts"],
    filter: "not shared between adapters",
  },
];

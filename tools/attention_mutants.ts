/**
 * Mutants of attention in its several designs, and of the layers and subgroups around it.
 * @module
 */
import type { Mutant } from "./mutant.ts";

const OPS = "tests/autograd/ops";

/** All of them. */
export const ATTENTION_MUTANTS: readonly Mutant[] = [
  {
    file: "autograd/ops/_attention_launch.ts",
    search: "{ ...params, B: count, batch0, ...range }",
    replace: "{ ...params, B: count, batch0: 0, ...range }",
    tests: [`${OPS}/attention_test.ts`],
    filter: "over the binding limit",
  },
  {
    file: "autograd/ops/_attention_launch.ts",
    search: "const values = { ...params, B: count, batch0 };",
    replace: "const values = { ...params, B: count, batch0: 0 };",
    tests: [`${OPS}/attention_test.ts`],
    filter: "over the binding limit",
  },
  {
    file: "kernels/attention_tile.ts",
    search: "`exp(t${r}_${g} - next${r})`",
    replace: "`exp(min(t${r}_${g} - next${r}, vec4f(0.0)))`",
    tests: [`${OPS}/non_finite_test.ts`],
    filter: "attention passes NaN",
  },
  {
    file: "kernels/attention_subgroup.ts",
    search: '*= ${ofRow("shrink", r)};',
    replace: "*= 1.0;",
    tests: [`${OPS}/attention_subgroup_test.ts`],
    filter: "at odd sizes",
  },
  {
    file: "gpu/subgroups.ts",
    search: "word === (i < size ? size - 1 : 2 * size - 1) + (i + 1) % size",
    replace: "word >= 0 * i",
    tests: ["tests/gpu/device_test.ts"],
    filter: "not one subgroup",
  },
  {
    file: "kernels/attention_tile.ts",
    search: "return [`  for (var j = params.begin; j < limit; j += ${STEP}u) {`];",
    replace: "return [`  for (var j = 0u; j < limit; j += ${STEP}u) {`];",
    tests: [`${OPS}/attention_test.ts`],
    filter: "takes several launches",
  },
  {
    file: "kernels/attention_tile.ts",
    search: "i == start && member == 0u",
    replace: "i == start",
    tests: [`${OPS}/attention_groups_test.ts`],
    filter: "groups of 1, 2, 3 and 8",
  },
  {
    file: "autograd/ops/_linear_products.ts",
    search: "residual: addend });",
    replace: "residual: null });",
    tests: [`${OPS}/linear_test.ts`],
    filter: "what other ops have sent",
  },
  {
    file: "kernels/rms_norm.ts",
    search: "x[base + i] * inverse * mean",
    replace: "x[base + i] * mean",
    tests: [`${OPS}/rms_norm_test.ts`],
    filter: "agree with the float64 reference",
  },
  {
    file: "kernels/attention_seen.ts",
    search: '(documents ? ` & (${keys} >= vec4u(origin${r}))` : "")',
    replace: '""',
    tests: [`${OPS}/attention_documents_test.ts`],
    filter: "do not see each other",
  },
  {
    file: "kernels/attention_tile.ts",
    search: "` & (vec4u(j${r}) >= origin_${g})`",
    replace: '""',
    tests: [`${OPS}/attention_documents_test.ts`],
    filter: "do not see each other",
  },
  {
    file: "kernels/attention_seen.ts",
    search: "max(first + ${rows - 1}u + params.window",
    replace: "max(first + params.window",
    tests: [`${OPS}/attention_groups_test.ts`],
    filter: "in a window",
  },
];

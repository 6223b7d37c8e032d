/**
 * Bundles by area for browsers: files that hold what a page needs from the start, and others that they load on first use.
 * @module
 */

import type { OutputChunk, Plugin } from "rollup";
import { gzip, partOf } from "./bundle.ts";
import { COLD, RESTARTED } from "./cold_functions.ts";
import { isMoved, lateFunctions, MORE, type Names, PLACES, type Restarted } from "./late_functions.ts";
import { lateModules } from "./late_modules.ts";
import { lateTexts } from "./late_texts.ts";
import { build, type BuildOptions, withoutTypes } from "./rollup_build.ts";
import { splitModules } from "./split_modules.ts";
import { withoutTraining } from "./without_training.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Modules that a page with a model has loaded before it answers, beside the area's own. */
const ARCHITECTURES = ["model/gpt2/model.ts", "model/llama/model.ts"];

/** What attention has in common for every kind of adapter and every architecture: files less to ask for. */
const FOR_ALL = ["autograd/ops/attention.ts", "kernels/attention_places.ts", "kernels/attention_seen.ts"];

/** Modules that the first file names, and a page needs only for some things. */
const LATE = [
  "autograd/ops/gated_product.ts",
  "autograd/ops/key_value_attention.ts",
  "autograd/ops/log_probs.ts",
  "autograd/ops/mixed_lora.ts",
  "gpu/rehearsal.ts",
  "kernels/attention_forward.ts",
  "kernels/attention_subgroup.ts",
  "kernels/attention_tile.ts",
  "kernels/ban_repeats.ts",
  "kernels/ban_words.ts",
  "kernels/matmul_decoded.ts",
  "kernels/matmul_grouped.ts",
  "kernels/matmul_select_hardware.ts",
  "kernels/matmul_shared.ts",
  "kernels/matmul_split_k.ts",
  "kernels/sample.ts",
  "kernels/weights/bitsandbytes.ts",
  "kernels/weights/gguf.ts",
  "kernels/weights/half.ts",
  "kernels/weights/snippets.ts",
  "model/gpt2/gguf.ts",
  "model/llama/gguf.ts",
  "model/tokenizer/chat.ts",
  "model/tokenizer/chat_template.ts",
  "nn/load_state_dict.ts",
  "peft/adapters/mixed_batch.ts",
  "peft/adapters/mixed_methods.ts",
  "peft/adapters/prompt_tuner.ts",
  "peft/lora/dora.ts",
  "peft/lora/lora_embedding.ts",
  "peft/lora/named_starts.ts",
  "peft/methods/other_methods.ts",
  "peft/operations/status.ts",
  "peft/targets/pattern.ts",
  "peft/trainable_tokens/token_adapter.ts",
  "peft/virtual_tokens/prompt_learning.ts",
  "train/optimizers/adafactor.ts",
  "train/optimizers/adamw_8bit.ts",
  "train/optimizers/lion.ts",
  "train/optimizers/sgd.ts",
  "train/reports/run_log.ts",
  "train/reports/tensorboard.ts",
];

/** What layers of one input share launches by: Llama's family, not GPT-2. */
const JOINT = [
  "autograd/ops/_joint_matmul.ts",
  "autograd/ops/joint_linear.ts",
  "kernels/matmul_joint.ts",
];

/** Those that training needs from the start. */
const FOR_TRAINING = [
  "autograd/checkpoint.ts",
  "autograd/ops/add_noise.ts",
  "autograd/ops/documents.ts",
  "autograd/ops/dropout.ts",
  "gpu/capture.ts",
  "kernels/attention_backward.ts",
  "model/labelled_forward.ts",
  "model/packed_rows.ts",
];

/**
 * Modules of a first file whose asynchronous functions no page calls itself: what calls them waits for the text of an error.
 * Classes that pages have objects of are not among them.
 */
const INNER = [
  /^(?:autograd\/ops|io|kernels|nn|options)\//,
  /^gpu\/(?!default_device|device\.ts)/,
  /^model\/(?:architectures|checkpoint|safetensors_weights|storage)\.ts/,
  /^model\/generation\/(?!generation\.ts|text_streamer)/,
  /^peft\/(?:adapters\/(?!tuner)|config|files|layers|lora|registry|targets)/,
];

/** Files beside the first with calls that cannot wait: they bring the functions that moved. */
const BRINGING_ALL = ["entries/model.ts", "entries/peft.ts"];

/** An area: a build of its own, whose files share no code with those of others. */
interface Area {
  /** Modules of its files, by their names; the first is the one that a page begins with. */
  readonly entries: Readonly<Record<string, string>>;
  readonly late: ReadonlySet<string>;
  /** Late modules that a module brings though it does not name them, by its path. */
  readonly brought: Readonly<Record<string, readonly string[]>>;
  /** Modules of the first file though it loads them on first use: what every page uses. */
  readonly with?: readonly string[];
  /** Functions and methods of the first file that a page's first calls do without, and calls that begin again for them. */
  readonly cold?: Names;
  readonly restarted?: Restarted;
  readonly plugins?: readonly (Plugin & { transform(code: string, path: string): { code: string } | null })[];
}

/** Late modules of a folder. */
const lateIn = (folder: string) => LATE.filter((path) => path.startsWith(folder));

/** Those that a page needs later which only answers: weights of other formats than float32, merging, modules that adapters train. */
const LATE_IN_INFERENCE = [
  "autograd/host_random.ts",
  "autograd/ops/cast.ts",
  "autograd/ops/draw.ts",
  "peft/layers/modules_to_save.ts",
  "peft/layers/quantized_base.ts",
  "peft/lora/lora_factors.ts",
];

/** Those that a page loads later which trains: adapters that lie in files, gradients of other kinds of adapters. */
const LATE_IN_TRAINING = [
  "autograd/half_activations.ts",
  "autograd/ops/rms_norm.ts",
  "kernels/attention_backward.ts",
  "peft/files/adapter_files.ts",
  "peft/files/match_keys.ts",
  "train/optimizers/curves.ts",
  "train/optimizers/load_groups.ts",
  "train/optimizers/loraplus.ts",
];

/** Products on hardware, which its attention brings. */
const FOR_HARDWARE = [
  "kernels/matmul_select_hardware.ts",
  "kernels/matmul_shared.ts",
  "kernels/matmul_split_k.ts",
];

/** What the files beside the first bring, so that calls that cannot wait need no more. */
const BROUGHT = {
  "kernels/attention_forward.ts": FOR_HARDWARE,
  "kernels/matmul_grouped.ts": ["kernels/matmul_split_k.ts"],
  "peft/files/adapter_source.ts": ["peft/files/match_keys.ts"],
  "model/llama/model.ts": [...JOINT, "autograd/ops/key_value_attention.ts", "autograd/ops/rms_norm.ts"],
  "peft/adapters/prompt_tuner.ts": ["autograd/ops/key_value_attention.ts"],
  "peft/adapters/merging.ts": ["peft/lora/lora_factors.ts"],
  "peft/bottleneck/bottleneck_adapter.ts": ["autograd/host_random.ts"],
  "peft/layers/modules_to_save.ts": ["peft/layers/quantized_base.ts"],
  "peft/operations/eva.ts": ["autograd/ops/draw.ts"],
  "peft/operations/weighted_adapter.ts": ["autograd/ops/draw.ts", "nn/load_state_dict.ts"],
  "train/checkpoint.ts": ["train/optimizers/load_groups.ts"],
  "entries/peft.ts": [
    ...[...LATE, ...LATE_IN_TRAINING].filter((path) => path.startsWith("peft/")),
    ...LATE_IN_INFERENCE,
  ],
  "entries/model.ts": [
    ...[...lateIn("kernels/"), ...lateIn("model/"), ...lateIn("nn/")],
    ...["autograd/ops/draw.ts", "autograd/ops/key_value_attention.ts", "model/packed_rows.ts"],
  ],
  "entries/tokenizer.ts": lateIn("model/tokenizer/"),
  "entries/train.ts": [
    ...[...LATE, ...LATE_IN_TRAINING].filter((path) => path.startsWith("train/")),
    "autograd/half_activations.ts",
    "autograd/ops/log_probs.ts",
    "gpu/rehearsal.ts",
    "kernels/weights/half.ts",
  ],
};

/** The same where gradients are computed. */
const BROUGHT_IN_TRAINING = {
  ...BROUGHT,
  "kernels/attention_forward.ts": ["kernels/attention_backward.ts", ...FOR_HARDWARE],
};

/** The areas, by the names of their first files. */
export const AREAS = {
  inference: {
    entries: {
      inference: "entries/inference.ts",
      inference_adapters: "entries/peft.ts",
      inference_models: "entries/model.ts",
      inference_more: MORE,
      inference_tokenizer: "entries/tokenizer.ts",
    },
    late: new Set([
      ...LATE.filter((path) => !path.startsWith("train/")),
      ...LATE_IN_INFERENCE,
      ...FOR_TRAINING,
      ...JOINT,
    ]),
    brought: BROUGHT,
    with: ["peft/files/adapter_source.ts"],
    cold: COLD,
    restarted: RESTARTED,
    plugins: [withoutTraining()],
  },
  training: {
    entries: {
      training: "entries/training.ts",
      training_adapters: "entries/peft.ts",
      training_models: "entries/model.ts",
      training_tokenizer: "entries/tokenizer.ts",
      training_trainers: "entries/train.ts",
    },
    late: new Set([...LATE, ...LATE_IN_TRAINING, ...JOINT]),
    brought: BROUGHT_IN_TRAINING,
  },
} as const satisfies Readonly<Record<string, Area>>;

/** The file beside an area's first that a page imports to have a late module; null where there is none. */
export function fileThatBrings(area: keyof typeof AREAS, path: string): string | null {
  const { entries, brought }: Area = AREAS[area];
  const found = Object.entries(entries).findLast(([, entry]) => brought[entry]?.includes(path));
  return found ? `${found[0]}.js` : null;
}

/** Paths in full. */
const atRoot = (entries: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(entries).map(([name, path]) => [name, ROOT + path]));

/**
 * Bundles an area.
 * @param options `shortest`: look for the shortest code, which takes three times as long; default true. `external`: where
 *   packages are imported from; default the files beside the bundles. `whole`: the package that has what an area lacks, for
 *   messages; default the file beside the first that brings it. `cold`: functions that are left to a file of their own, in
 *   place of the area's. `isPlain`: code as long as it is written
 * @throws Error with the messages of the build
 */
export async function bundleArea(
  name: keyof typeof AREAS,
  { shortest = true, external = partOf, whole, cold, isPlain }: {
    shortest?: boolean;
    external?: BuildOptions["external"];
    whole?: string;
    cold?: Names;
    isPlain?: boolean;
  } = {},
): Promise<OutputChunk[]> {
  const { entries, late, brought, with: used = [], plugins: own = [], ...area }: Area = AREAS[name];
  const cure = (file: string) =>
    whole === undefined ? `import "./${file}" first` : `import it and all else from "${whole}"`;
  const others = area.cold
    ? [...own, lateFunctions(cold ?? area.cold, area.restarted ?? {}, cure(`${name}_more.js`), BRINGING_ALL)]
    : own;
  const plain = async (path: string) => {
    let { code } = await withoutTypes(path);
    for (const { transform } of others) code = transform(code, path)?.code ?? code;
    return code;
  };
  const brings = area.cold ? [ROOT + MORE] : []; // texts may call what has moved
  const isInner = (path: string) => INNER.some((inner) => inner.test(path));
  const texts = whole === undefined ? lateTexts(`${name}_texts.js`, plain, brings, isInner) : null;
  const plugins = [...others, ...texts ? [texts.plugin] : []];
  const first = [entries[name], ...used, ...FOR_ALL, ...ARCHITECTURES];
  const without = await build({
    entries: atRoot(Object.fromEntries(first.map((path) => [path, path]))),
    external,
    plugins: [lateModules(late, null), ...plugins],
    isTrial: true,
  });
  const found = first.map((path) => usedExports(eagerFiles(without, `${path}.js`)));
  const models = found.slice(-ARCHITECTURES.length).map((modules) => new Set(modules.keys()));
  const eager = new Map(found.flatMap((modules) => [...modules]));
  const core = found.slice(0, -ARCHITECTURES.length).reduce(
    (all, modules) => all.union(new Set(modules.keys())),
    models.reduce((all, model) => all.intersection(model)),
  );
  await texts?.useOnly(eager.keys());
  const { parts, imports } = splitModules(eager, async (path) => {
    const code = await plain(path);
    return texts?.plugin.transform(code, path)?.code ?? code;
  }, (name) => !isMoved(name));
  const cureOf = (path: string) => {
    const file = fileThatBrings(name, path);
    return file === null ? "a part of it is not loaded, or in another bundle" : cure(file);
  };
  return await build({
    entries: { ...atRoot(entries), ...texts ? { [`${name}_texts`]: texts.entry } : {} },
    external,
    plugins: [...plugins, parts, lateModules(late, new Set(eager.keys()), brought, cureOf), imports],
    isCore: (path) => path !== PLACES && (core.has(path) || /^\0|\?late$/.test(path)),
    chunkPrefix: `${name}_`,
    shortest,
    isPlain,
  });
}

/** The modules that files have code of, by their paths: names of the exports that are used. */
function usedExports(files: readonly OutputChunk[]): Map<string, ReadonlySet<string>> {
  const modules = files.flatMap(({ modules }) => Object.entries(modules));
  return new Map(
    modules.filter(([, { renderedLength }]) => renderedLength > 0)
      .map((
        [path, { renderedExports }],
      ) => [path, new Set(renderedExports.filter((name) => !isMoved(name)))]),
  );
}

/** The files that one loads before it runs, itself among them. */
export function eagerFiles(files: readonly OutputChunk[], first: string): OutputChunk[] {
  const byName = new Map(files.map((file) => [file.fileName, file]));
  const found = new Set([first]);
  for (const name of found) {
    for (const needed of byName.get(name)!.imports) if (byName.has(needed)) found.add(needed);
  }
  return [...found].map((name) => byName.get(name)!);
}

/** Bytes of files after gzip. */
export async function gzipLength(files: readonly { readonly code: string }[]): Promise<number> {
  let sum = 0;
  for (const { code } of files) sum += (await gzip(new TextEncoder().encode(code))).byteLength;
  return sum;
}

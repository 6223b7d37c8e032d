/**
 * Which test files run in one process, and which begin first.
 * @module
 */

/** Test files that one process runs. */
export interface TestGroup {
  readonly name: string;
  readonly files: readonly string[];
  /** Whether they share their modules, the default device with its compiled kernels above all. */
  readonly joined: boolean;
  /** Whether they compute without a pause; others wait for the device most of their time. */
  readonly steady: boolean;
  /** Whether they compute little with very many kernels: where these are not in the driver's cache, all time goes to it. */
  readonly compiles: boolean;
}

/** Files that measure time: each runs alone. */
const ALONE: ReadonlySet<string> = new Set([
  "tests/io/safetensors_header_test.ts",
  "tests/model/tokenizer/tokenizer_test.ts",
]);
/** What takes longest begins first, so that nothing long is left over at the end. */
const FIRST: readonly string[] = [
  "tests/examples/teach_test.ts",
  "tests/peft/contract_test.ts",
  "tests/autograd/ops, part 1 of 3",
  "tests/autograd/ops, part 2 of 3",
  "tests/autograd/ops, part 3 of 3",
  "tests/studio/smollm2_road_test.ts",
  "tests/model/llama/smollm2_test.ts",
  "tests/examples/demo_test.ts",
  "tests/model/gpt2/gpt2_small_test.ts",
  "tests/plan/memory_plan_test.ts",
  "tests/packages/npm_test.ts",
  "tests/studio/join_test.ts",
  "tests/distributed/nodes_test.ts",
  "tests/distributed/nodes_faults_test.ts",
  "tests/cli/cli_test.ts",
  "tests/cli/chat_test.ts",
  "tests/cli/commands_test.ts",
  "tests/distributed/sweep_test.ts",
  "tests/docs/snippets_test.ts",
  "tests/browser, bundles by area",
];
/** What computes without a pause: large models, and pages in a browser. */
const STEADY =
  /^tests\/(?:browser|studio|plan|examples\/(?:teach|demo)|model\/(?:llama\/smollm2|gpt2\/gpt2_small))/;
/** What launches hundreds of kernels, each for a few numbers. */
const COMPILING = /^tests\/(?:autograd\/ops|kernels)/;
/** Folders with many quick files: a process each would cost more than their tests. */
const GROUPED = ["tests/io", "tests/tools", "tests/nn", "tests/bench"];
/**
 * Folders, with those below them, whose files share a device in a few processes: to compile the same kernels for each file
 * would take as long as many of the tests do. A folder that is named itself, after the one above it, does not
 * count as below that. Their tests count
 * bytes on an `ownDevice()` alone: on the shared one those of earlier files may be collected at any time.
 */
const JOINED: Readonly<Record<string, number>> = {
  "tests/autograd": 1,
  "tests/autograd/ops": 3,
  "tests/kernels": 1,
  "tests/model": 3,
  "tests/peft": 4,
  "tests/train": 3,
};

/** Files of several folders in one process, by its name: those that need the same bundles, which take long to make. */
const SHARING: Readonly<Record<string, readonly string[]>> = {
  "tests/browser, bundles by area": [
    "tests/browser/areas_test.ts",
    "tests/browser/begin_again_test.ts",
    "tests/browser/errors_test.ts",
    "tests/examples/page_test.ts",
    "tests/tools/bundle_areas_test.ts",
  ],
  "tests/browser, the bundle of everything": [
    "tests/browser/browser_test.ts",
    "tests/browser/push_test.ts",
  ],
};

/** Files of these folders that count bytes on the shared device, each in a process of its own. */
const APART: ReadonlySet<string> = new Set([
  "tests/train/preference/preference_trainer_test.ts",
  "tests/train/trainer_non_finite_test.ts",
  "tests/train/trainer_test.ts",
]);

/** The process that a file belongs to. @param places how many files of each joined folder came before */
function placeOf(file: string, places: Map<string, number>): { name: string; joined: boolean } {
  if (ALONE.has(file) || APART.has(file) || FIRST.includes(file)) return { name: file, joined: false };
  const sharing = Object.keys(SHARING).find((name) => SHARING[name].includes(file));
  if (sharing !== undefined) return { name: sharing, joined: true };
  const joined = Object.keys(JOINED).findLast((folder) => file.startsWith(`${folder}/`));
  if (joined !== undefined) {
    const place = places.get(joined) ?? 0;
    places.set(joined, place + 1);
    const parts = JOINED[joined];
    return { name: parts === 1 ? joined : `${joined}, part ${place % parts + 1} of ${parts}`, joined: true };
  }
  return { name: GROUPED.find((folder) => file.startsWith(`${folder}/`)) ?? file, joined: false };
}

/** Cuts test files into processes: those of quick folders together, the others alone, the longest
 * first, and some with nothing beside them. */
export function groupTests(
  files: readonly string[],
  chosen: readonly string[],
): { together: TestGroup[]; alone: TestGroup[] } {
  const wanted = files.filter((file) =>
    chosen.length === 0 ||
    chosen.some((path) => file === path || file.startsWith(`${path.replace(/\/+$/, "")}/`))
  );
  const groups = new Map<string, TestGroup & { files: string[] }>();
  const places = new Map<string, number>();
  for (const file of wanted) {
    const { name, joined } = placeOf(file, places);
    const group = groups.get(name);
    if (group) group.files.push(file);
    else {
      const steady = STEADY.test(name), compiles = COMPILING.test(name);
      groups.set(name, { name, files: [file], joined, steady, compiles });
    }
  }
  const all = [...groups.values()];
  const late = ({ name, joined }: TestGroup) => {
    const at = FIRST.indexOf(name);
    return at >= 0 ? at : FIRST.length + Number(!joined);
  };
  return {
    together: all.filter(({ name }) => !ALONE.has(name)).sort((a, b) => late(a) - late(b)),
    alone: all.filter(({ name }) => ALONE.has(name)),
  };
}

/**
 * Writes a module that imports the files of a group, so that they share what they import.
 * @param root the repository, ending in a slash
 * @param folder where the module is written
 * @returns its path
 */
export async function joinFiles(
  { name, files }: TestGroup,
  root: string,
  folder: string,
): Promise<string> {
  const path = `${folder}/${name.replaceAll(/\W+/g, "_")}_test.ts`;
  await Deno.writeTextFile(
    path,
    files.map((file) => `import ${JSON.stringify(`file://${root}${file}`)};\n`).join(""),
  );
  return path;
}

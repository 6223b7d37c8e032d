/**
 * Proves that Python loads what this library writes: trains adapters on tests/fixtures/gpt2_tiny, saves them, and
 * lets tests/oracle/check_ours.py load them with transformers and peft and compare the logits. Not part of CI, since it
 * needs Python with tests/oracle/requirements.txt. Run: `PYTHON=.venv/bin/python deno task python [case...]`.
 * @module
 */

const ROOT = new URL("../", import.meta.url).pathname;
const MODEL = `${ROOT}tests/fixtures/gpt2_tiny`;
const INPUT_IDS = [[207, 55, 218, 12, 180, 159, 113, 85], [60, 117, 167, 166, 199, 213, 201, 46]];

/** Fields of LoraConfig, one adapter each. */
const CASES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  list: { r: 4, loraAlpha: 8, targetModules: ["c_attn"] },
  all_linear: { r: 2, loraAlpha: 4, targetModules: "all-linear" },
  rslora: { r: 4, loraAlpha: 8, targetModules: ["c_attn"], useRslora: true },
  regex: { r: 2, targetModules: ".*\\.h\\.[02]\\.mlp\\.c_(fc|proj)" },
  bias_all: { r: 2, targetModules: ["c_attn"], bias: "all" },
  bias_lora_only: { r: 2, targetModules: ["c_attn"], bias: "lora_only" },
  modules_to_save: { r: 2, targetModules: ["c_attn"], modulesToSave: ["ln_f"] },
  patterns: { r: 2, targetModules: ["c_attn", "c_fc"], rankPattern: { c_fc: 3 }, alphaPattern: { c_fc: 5 } },
  layers: { r: 2, targetModules: ["c_attn"], layersToTransform: [1] },
  lora_bias: { r: 2, targetModules: ["c_attn"], loraBias: true },
  embeddings: { r: 2, targetModules: ["wte", "wpe", "c_fc"] },
  dora_embedding: { r: 2, targetModules: ["wte"], useDora: true },
  lm_head: { r: 2, targetModules: ["lm_head", "c_attn"] },
  tokens: { r: 2, targetModules: ["c_attn"], trainableTokenIndices: [207, 60, 61] },
  orthogonal: { r: 2, targetModules: ["c_attn"], initLoraWeights: "orthogonal" },
  eva: { r: 2, targetModules: ["c_attn"], initLoraWeights: "eva" },
};

/** Configurations of other methods, by the name of their class: those that `peft` has on GPT-2's Conv1D. */
const OTHERS: Readonly<
  Record<
    string,
    readonly [
      config: string,
      fields: Readonly<Record<string, unknown>>,
      save?: Readonly<Record<string, unknown>>,
    ]
  >
> = {
  pissa_converted: ["LoraConfig", { r: 2, initLoraWeights: "pissa" }, { convertToLora: true }],
  olora_converted: ["LoraConfig", { r: 2, initLoraWeights: "olora" }, { convertToLora: true }],
  only_tokens: ["TrainableTokensConfig", { tokenIndices: [207, 60, 61] }],
  adalora: ["AdaLoraConfig", {
    initR: 4,
    targetR: 2,
    totalStep: 3,
    targetModules: ["c_attn", "mlp.c_proj"],
  }],
  vera: ["VeraConfig", { r: 5, targetModules: ["c_fc", "mlp.c_proj"] }],
  vera_drawn: ["VeraConfig", {
    r: 5,
    saveProjection: false,
    projectionPrngKey: 3,
    targetModules: "all-linear",
  }],
  fourierft: ["FourierFTConfig", {
    nFrequency: 60,
    nFrequencyPattern: { c_attn: 20 },
    targetModules: "all-linear",
  }],
  ia3: ["IA3Config", {}],
  ln_tuning: ["LNTuningConfig", {}],
};

/** Trains and saves one adapter, and returns what Python says of it; empty when it agrees. */
async function checkCase(
  config: string,
  fields: Readonly<Record<string, unknown>>,
  folder: string,
  save: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  // A computed name: this file type-checks before the library is complete.
  const lib = await import(`${ROOT}entries/all.ts`);
  const model = await lib.AutoModelForCausalLM.fromPretrained(MODEL);
  const peftModel = lib.getPeftModel(model, new lib[config]({ taskType: "CAUSAL_LM", ...fields }));
  const trainable = [...peftModel.parameters()].filter((parameter) => parameter.requiresGrad);
  const optimizer = new lib.AdamW(trainable, { lr: 0.05 });
  for (let step = 0; step < 3; step++) {
    peftModel.forward({ inputIds: INPUT_IDS, labels: INPUT_IDS }).loss.backward();
    optimizer.step();
    if (config === "AdaLoraConfig") await peftModel.updateAndAllocate(step + 1);
    optimizer.zeroGrad();
  }
  peftModel.eval();
  await peftModel.savePretrained(folder, save);
  const { logits } = peftModel.forward({ inputIds: INPUT_IDS });
  const compare = `${folder}/logits.safetensors`;
  await lib.safetensors.save(compare, {
    logits: { dtype: "F32", shape: logits.shape, data: await logits.data() },
  });
  const { code, stdout, stderr } = await new Deno.Command(Deno.env.get("PYTHON") ?? "python3", {
    args: [
      `${ROOT}tests/oracle/check_ours.py`,
      MODEL,
      ...["--adapter", folder, "--ids", JSON.stringify(INPUT_IDS), "--compare", compare],
    ],
  }).output();
  const decoder = new TextDecoder();
  console.log(decoder.decode(stdout).replaceAll(/^/gm, "    ").trimEnd());
  return code === 0 ? "" : decoder.decode(stderr);
}

if (import.meta.main) {
  let failed = 0;
  const lora = Object.entries(CASES).map(([name, fields]) => [name, ["LoraConfig", fields, {}]] as const);
  const all = [...lora, ...Object.entries(OTHERS)];
  const wanted = all.filter(([name]) => Deno.args.length === 0 || Deno.args.includes(name));
  for (const [name, [config, fields, save]] of wanted) {
    const folder = await Deno.makeTempDir();
    const problem = await checkCase(config, fields, folder, save).finally(() =>
      Deno.remove(folder, { recursive: true })
    );
    console.log(`${name} ... ${problem === "" ? "ok" : "FAILED"}`);
    if (problem !== "") console.log(problem);
    if (problem !== "") failed++;
  }
  console.log(`${wanted.length - failed} passed, ${failed} failed`);
  Deno.exit(failed === 0 ? 0 : 1);
}

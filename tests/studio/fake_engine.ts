/**
 * An engine that computes nothing: it answers the page at once with made-up figures, and fails on demand, so that the
 * page's looks and its messages can be tested without a device. Opening `fail/KIND` from the hub fails with that kind, so
 * does reading data from `fail_KIND.csv`, and joining as the user `fail/KIND`; a file `assets/problem` makes the start fail with the kind it names. The first training
 * waits at step 20 until it was paused once, so that no page is too slow to press the button.
 * @module
 */
import type {
  AdapterInfo,
  CallName,
  Calls,
  EngineEvent,
  ErrorKind,
  FromEngine,
  JoinEvent,
  MaskedExample,
  StudioError,
  ToEngine,
  TrainEvent,
  TrainingResult,
  TrainingSettings,
} from "../../studio/protocol.ts";

const scope = globalThis as unknown as {
  postMessage(message: FromEngine): void;
  onmessage: ((event: MessageEvent<ToEngine>) => void) | null;
};

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const WORDS =
  "Ahoy, mateys! Hear the tale of Captain Pip, a hungry owl of the seven seas, who dropped anchor near the garden.";
const pieces = WORDS.split(/(?= )/);

class Failed extends Error {
  readonly error: StudioError;
  constructor(kind: ErrorKind) {
    super(kind);
    this.error = {
      kind,
      title: `What a failure of the kind "${kind}" is called.`,
      whatToDo: "What the reader can do about it stands here, in one or two sentences.",
      detail: `Cannot do something: something else is required, received "${kind}"`,
    };
  }
}

/** Fails with the kind that a name such as `fail/hub-login` or `fail_bad-data.csv` asks for. */
function failWhereAsked(name: string): void {
  const kind = /^fail[/_](.*?)(?:\.\w+)?$/.exec(name)?.[1];
  if (kind) throw new Failed(kind as ErrorKind);
}

const example = (index: number): MaskedExample => ({
  index,
  tokens: pieces.map((text, place) => ({ text, trained: place > 4 })),
});

const settings = (method = "lora"): TrainingSettings => ({
  name: "Pirate",
  method,
  options: {},
  steps: 60,
  batchSize: 8,
  gradientAccumulation: 1,
  learningRate: 0.006,
  schedule: "linear",
  warmupSteps: 0,
  optimizer: "adamw",
  weightDecay: 0,
  maxGradNorm: 1,
  seed: 0,
  gradientCheckpointing: false,
  halfActivations: false,
  packing: false,
  evalEvery: 15,
  sampleEvery: 15,
  checkpointEvery: 20,
  samplePrompts: ["Once upon a time", "The captain"],
});

let shelf: AdapterInfo[] = [];
let paused: (() => void) | null = null;
let isPaused = false;
let wasPaused = false;
let askedToPause: (() => void) | null = null;
let stopping: { keep: boolean } | null = null;
const cancelled = new Set<number>();

function put(name: string, origin: AdapterInfo["origin"], method = "LoRA"): AdapterInfo {
  const made: AdapterInfo = {
    adapterId: `a${shelf.length + 1}`,
    name,
    method,
    parameters: 53_248,
    bytes: 214_000,
    modelName: "Built-in storyteller",
    problem: null,
    isActive: false,
    createdAt: Date.now(),
    origin,
    note: "60 steps, loss 1.42",
    canMix: true,
    canExportGguf: true,
    form: "text",
  };
  shelf.push(made);
  return made;
}

async function train(id: number, chosen: TrainingSettings): Promise<TrainingResult> {
  const tell = (train: TrainEvent) => scope.postMessage({ event: "train", id, train });
  stopping = null;
  tell({
    ...{ type: "begin", runId: "r1", settings: chosen, step: 0, steps: chosen.steps },
    ...{ trainableParameters: 53_248, parameters: 900_000, history: [] },
  });
  tell({ type: "phase", phase: "compiling", text: "Preparing the device's programs" });
  await sleep(30);
  tell({ type: "phase", phase: "training", text: "Learning" });
  let loss = 4;
  for (let step = 1; step <= chosen.steps; step++) {
    await sleep(8);
    if (step === 20 && !wasPaused) await new Promise<void>((resolve) => askedToPause = resolve);
    if (isPaused) {
      tell({ type: "phase", phase: "paused", text: "Paused" });
      await new Promise<void>((resolve) => paused = resolve);
      tell({ type: "phase", phase: "training", text: "Learning" });
    }
    if (cancelled.has(id)) throw new Failed("cancelled");
    loss = 1.3 + 2.7 * Math.exp(-step / 18) + 0.12 * Math.sin(step * 2.1);
    tell({
      ...{
        type: "step",
        step,
        epoch: step / 30,
        loss,
        learningRate: chosen.learningRate * (1 - step / chosen.steps),
      },
      ...{ gradNorm: 0.5 + Math.abs(Math.sin(step)), tokensPerSecond: 3200 + 300 * Math.sin(step) },
      ...{ tokensSeen: step * 800, deviceBytes: 41e6, peakDeviceBytes: 52e6, stepMs: 8 },
      leftMs: step < 2 ? null : (chosen.steps - step) * 8,
    });
    if (step % 15 === 0) {
      tell({ type: "evaluation", step, loss: loss + 0.15, perplexity: Math.exp(loss + 0.15) });
      tell({
        ...{
          type: "sample",
          step,
          prompt: "Once upon a time",
          text: " there be a hungry owl, Captain Pip, arr!",
        },
        tokens: pieces.map((text, place) => ({
          text,
          loss: place < 3 ? null : loss * Math.abs(Math.sin(place)) * 1.5,
        })),
      });
    }
    if (step % 20 === 0) tell({ type: "checkpoint", step, bytes: 640_000, takenMs: 4 });
    if (stopping) break;
  }
  const { keep } = stopping ?? { keep: true };
  const result = { runId: "r1", step: chosen.steps, loss, evalLoss: loss + 0.15, takenMs: chosen.steps * 8 };
  return {
    ...result,
    end: stopping ? "stopped" : "done",
    adapter: keep ? put(chosen.name, "trained") : null,
  };
}

type Answers = {
  [Name in CallName]: (params: Calls[Name]["params"], id: number) =>
    | Calls[Name]["result"]
    | Promise<Calls[Name]["result"]>;
};

const event = (message: EngineEvent) => scope.postMessage(message);
const storageFacts = { isAvailable: true, quota: 2e9, usage: 31e6, isPersisted: false };
const find = (id: string) => shelf.find(({ adapterId }) => adapterId === id)!;

/** Bases whose hash is all of one digit: that of the built-in model, and that of any other. */
const hashOf = (isBuiltin: boolean) => (isBuiltin ? "a" : "b").repeat(64);

const answers: Answers = {
  chooseBase: async ({ source }) => {
    await sleep(30);
    if (source.kind === "hub") failWhereAsked(source.repo);
    const isBuiltin = source.kind === "builtin";
    const name = isBuiltin ? "Built-in storyteller" : source.kind === "hub" ? source.repo : "a folder";
    return { name, hash: hashOf(isBuiltin), bytes: 3.7e6 };
  },
  join: async ({ user }, id) => {
    await sleep(30);
    failWhereAsked(user ?? "");
    const tell = (join: JoinEvent) => event({ event: "join", id, join });
    tell({ type: "joined", worker: "tab-of-tests" });
    const rest = { kind: "node", name: "pirate", trial: null, steps: 40 } as const;
    for (let step = 0; !cancelled.has(id); step++) {
      if (step === 1) tell({ type: "said", text: 'training "pirate": this worker is a node' });
      const loss = step < 5 ? null : 2.5 - step / 40;
      if (step <= 20) tell({ type: "job", job: { ...rest, step, computed: step, loss } });
      await sleep(20);
    }
    return { worker: "tab-of-tests", jobs: 1, steps: 20, computed: 20 };
  },
  start: async ({ assetsUrl }) => {
    const asked = await fetch(`${assetsUrl}problem`).catch(() => null);
    const kind = asked?.ok ? (await asked.text()).trim() as ErrorKind : null;
    return {
      problem: kind ? new Failed(kind).error : null,
      gpu: {
        ...{ name: "a device of the tests", isSoftware: false, maxBufferSize: 2e9, maxBindingSize: 2e9 },
        ...{ memoryBudget: 4e9, isBudgetGuessed: true },
      },
      storage: storageFacts,
      version: "0.1.0",
    };
  },
  openModel: async ({ source }, id) => {
    if (source.kind === "hub") failWhereAsked(source.repo);
    for (let done = 0; done <= 4; done++) {
      event({
        ...{ event: "progress", id },
        progress: {
          ...{ phase: "download", text: "Downloading model.safetensors", file: "model.safetensors" },
          ...{ done: done * 9e5, total: 3.6e6, unit: "bytes" },
        },
      });
      await sleep(20);
    }
    return {
      ...{ name: "Built-in storyteller", modelType: "gpt2", parameters: 909_000, format: "float32" },
      ...{ deviceBytes: 3.64e6, contextLength: 128, vocabularySize: 768, layers: 4, hasChatTemplate: false },
      ...{ linearModules: ["c_attn", "c_proj", "c_fc", "lm_head"], ggufProblem: null, notes: [] },
    };
  },
  closeModel: () => null,
  openData: async ({ source }) => {
    await sleep(60);
    if (source.kind === "files") failWhereAsked(source.files[0].path);
    return {
      name: source.kind === "sample"
        ? "Pirate stories"
        : source.kind === "pairs"
        ? "Typed here"
        : source.files[0].path,
      format: "Texts",
      form: "text",
      files: [{ name: "pirate.jsonl", bytes: 63_057, fileFormat: "jsonl" }],
      ...{ rows: 120, trainExamples: 108, heldOutExamples: 16, cutExamples: 2, droppedRows: 0, length: 128 },
      badRows: source.kind === "files" ? [{ file: source.files[0].path, line: 7, problem: "no text" }] : [],
      badRowCount: source.kind === "files" ? 1 : 0,
      tokens: {
        ...{ total: 15_200, learned: 14_100, shortest: 88, median: 121, longest: 128 },
        histogram: [4, 9, 22, 41, 32].map((count, place) => ({
          from: 80 + 10 * place,
          to: 90 + 10 * place,
          count,
        })),
      },
      example: example(0),
    };
  },
  dataExample: ({ index }) => example(index),
  methods: () =>
    [["lora", "LoRA", true], ["dora", "DoRA", false], ["ia3", "(IA)³", false]].map((
      [method, title, first],
    ) => ({
      ...{
        method: method as string,
        title: title as string,
        purpose: "What it is for, in one line.",
        problem: null,
      },
      ...{
        isRecommended: first as boolean,
        learningRate: 0.006,
        trainableParameters: 53_248,
        deviceBytes: 852_000,
      },
      ...{ canExportGguf: first as boolean, canMix: first as boolean },
      options: [
        {
          ...{
            name: "r",
            title: "Rank",
            help: "Size of the add-on",
            type: "integer",
            default: 8,
            min: 1,
            max: 256,
          } as const,
        },
        {
          ...{
            name: "targetModules",
            title: "Where",
            help: "Parts",
            type: "modules",
            default: ["c_attn"],
          } as const,
        },
      ],
    })),
  suggest: async ({ method }) => {
    if (method) await sleep(300); // time in which a person goes on changing settings
    return settings(method);
  },
  plan: async ({ settings }) => {
    await sleep(30);
    const fits = settings.batchSize < 64;
    return {
      ...{ weights: 3.6e6, adapter: 2.1e5, gradients: 2.1e5, optimizer: 4.3e5, activations: 31e6, head: 6e6 },
      ...{ total: fits ? 41e6 : 5e9, budget: 4e9, fits, trainableParameters: 65_536 },
      advice: fits ? [] : [{ text: "8 examples per batch", settings: { batchSize: 8 }, total: 41e6 }],
    };
  },
  train: ({ settings }, id) => train(id, settings),
  resumeRun: (_, id) => train(id, settings()),
  pause: async () => {
    isPaused = wasPaused = true;
    askedToPause?.();
    await sleep(20);
    return { step: 1 };
  },
  continue: () => {
    isPaused = false;
    paused?.();
    return { step: 1 };
  },
  stop: ({ keep }) => {
    stopping = { keep };
    isPaused = false;
    askedToPause?.();
    paused?.();
    return { step: 1 };
  },
  resumable: () => [],
  discardRun: () => null,
  chat: async ({ speaker, messages }, id) => {
    const text = speaker?.kind === "base"
      ? " there was a dog who liked the sun."
      : " there be a sea dog, arr!";
    for (const word of text.split(/(?= )/)) {
      await sleep(15);
      if (cancelled.has(id)) throw new Failed("cancelled");
      event({ event: "piece", id, text: word, tokens: 1 });
    }
    const promptTokens = messages.at(-1)!.content.length;
    return { text, promptTokens, tokens: 9, tokensPerSecond: 60, end: "stop", forgottenMessages: 0 };
  },
  adapters: () => shelf,
  loadAdapter: ({ files }) => put(files[0].path, "loaded"),
  activate: () => shelf,
  mix: ({ name }) => put(name, "mixed"),
  rename: ({ adapterId, name }) => {
    shelf = shelf.map((one) => one.adapterId === adapterId ? { ...one, name } : one);
    return find(adapterId);
  },
  deleteAdapter: ({ adapterId }) => shelf = shelf.filter((one) => one.adapterId !== adapterId),
  export: async ({ what }) => {
    await sleep(30);
    const blob = new Blob([what]);
    return { name: `${what}.bin`, mimeType: "application/octet-stream", bytes: blob.size, blob };
  },
  storage: () => ({ ...storageFacts, entries: [] }),
  deleteStored: () => ({ ...storageFacts, entries: [] }),
};

scope.onmessage = async ({ data }) => {
  if ("cancel" in data) return void cancelled.add(data.cancel);
  const { id, call, params } = data;
  try {
    const answer = answers[call] as (params: unknown, id: number) => unknown;
    scope.postMessage({ id, ok: true, result: await answer(params, id) } as FromEngine);
  } catch (error) {
    const read = error instanceof Failed ? error.error : new Failed("internal").error;
    scope.postMessage({ id, ok: false, error: read });
  }
};

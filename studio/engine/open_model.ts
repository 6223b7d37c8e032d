/**
 * The model that is open: its weights on the device, its tokenizer, and what a reader is told of it.
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type Device,
  type FolderInput,
  type Tokenizer,
} from "@peft/webgpu";
import { Projection } from "@peft/webgpu/tensor";
import type { ModelFacts, ModelSource, OpenModelOptions, WeightStorage } from "../protocol.ts";
import { AdapterSeat } from "./adapter_seat.ts";
import { CANCELLED } from "./errors.ts";
import { findModel } from "./model_source.ts";
import type { FoundModel, OpenContext } from "./open_context.ts";

/** How a conversation is written for a model without a template of its own, once it was taught questions and answers. */
export const PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}" +
  "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}";

/** An open model. */
export interface OpenModel {
  readonly base: CausalLM;
  readonly tokenizer: Tokenizer;
  readonly facts: ModelFacts;
  readonly source: ModelSource;
  readonly storage: WeightStorage;
  readonly found: FoundModel;
  /** What tells whether an adapter was made for a model like it. */
  readonly key: string;
  /** Adapters that are on it. */
  readonly seat: AdapterSeat;
}

/** How weights lie on the device: the format of most of the bytes. */
function formatOf(base: CausalLM): string {
  const bytes = new Map<string, number>();
  for (const { dtype, storage } of base.parameters()) {
    bytes.set(dtype, (bytes.get(dtype) ?? 0) + storage.buffer.byteLength);
  }
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "none";
}

/** Names of the layers that adapters can take. */
function linearModules(base: CausalLM): string[] {
  const names = [...base.namedModules()].filter(([, module]) => module instanceof Projection)
    .map(([path]) => path.split(".").at(-1)!);
  return [...new Set(names)];
}

function factsOf(
  base: CausalLM,
  tokenizer: Tokenizer,
  { name }: FoundModel,
  deviceBytes: number,
): ModelFacts {
  const { facts } = base;
  const notes: string[] = [];
  if (tokenizer.eosTokenId === null && facts.eosTokenIds.length === 0) {
    notes.push("The model names no token that ends a text: answers end at the longest length.");
  }
  if (tokenizer.vocabSize > facts.vocabSize) {
    notes.push(
      `The tokenizer has ${tokenizer.vocabSize} tokens, the model ${facts.vocabSize}: they may not belong together.`,
    );
  }
  return {
    name,
    modelType: facts.modelType,
    parameters: [...base.parameters()].reduce((sum, { size }) => sum + size, 0),
    format: formatOf(base),
    deviceBytes,
    contextLength: facts.maxPositions,
    vocabularySize: facts.vocabSize,
    layers: facts.numLayers,
    hasChatTemplate: tokenizer.chatTemplate !== null,
    linearModules: linearModules(base),
    ggufProblem: base.ggufFormat ? null : `llama.cpp has no names for ${facts.displayName} models`,
    notes,
  };
}

/** What `fromPretrained` is told of the storage. */
export function storageOptions(storage: WeightStorage) {
  return storage === "nf4" || storage === "int8" ? { quantization: storage } : { dtype: storage };
}

/** A model whose files were found and whose tokenizer is read; nothing of it is on the device yet. */
export interface FoundFiles {
  readonly found: FoundModel;
  readonly tokenizer: Tokenizer;
}

/** Finds a model's files, downloading them where need be, and reads its tokenizer. @throws {Refusal} or what the library throws */
export async function findFiles(source: ModelSource, context: OpenContext): Promise<FoundFiles> {
  const { progress } = context;
  const tell = (phase: "connect" | "read", text: string) =>
    progress({ phase, text, file: null, done: 0, total: null, unit: "files" });
  tell("connect", "Looking for the model");
  const found = await findModel(source, context);
  checkSignal(context);
  tell("read", "Reading the tokenizer");
  const { ggufFile } = found;
  const tokenizer = await AutoTokenizer.fromPretrained(found.input as FolderInput, { ggufFile });
  checkSignal(context);
  return { found, tokenizer };
}

function checkSignal({ signal }: OpenContext): void {
  if (signal.aborted) throw CANCELLED;
}

/** Loads the weights of a model. @throws what the library throws; nothing of it stays on the device then */
export async function loadModel(
  { source, storage = "auto" }: OpenModelOptions,
  { found, tokenizer }: FoundFiles,
  device: Device,
  context: OpenContext,
): Promise<OpenModel> {
  const before = device.memory.liveBytes;
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(found.input, {
    ...storageOptions(storage),
    ...{ device, ggufFile: found.ggufFile },
    onProgress: (report) => {
      checkSignal(context);
      if (!("loaded" in report)) return;
      const { loaded: done, total } = report;
      context.progress({
        ...{ phase: "upload", text: "Loading weights on to the device", file: null },
        ...{ done, total, unit: "tensors" },
      });
    },
  });
  base.config.nameOrPath = found.baseName;
  await device.sync();
  const { modelType, hiddenSize, numLayers, vocabSize } = base.facts;
  return {
    ...{ base, tokenizer, source, storage, found },
    facts: factsOf(base, tokenizer, found, device.memory.liveBytes - before),
    key: [modelType, hiddenSize, numLayers, vocabSize].join("-"),
    seat: new AdapterSeat(base),
  };
}

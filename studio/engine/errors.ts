/**
 * What went wrong, in words for a reader who is no programmer.
 * @module
 */

import { DeviceLostError, MemoryBudgetError, NoAdapterError, OutOfDeviceMemoryError } from "@peft/webgpu";
import { ChatTemplateError } from "@peft/webgpu/model";
import { HubError } from "@peft/webgpu/io";
import type { BrokerError, BrokerFailure } from "@peft/webgpu/distributed";
import type { CallName, ErrorKind, StudioError } from "../protocol.ts";

/** An error whose words are known where it happens. */
export class Refusal extends Error {
  /** For those who tell errors by their names. */
  override name = "Refusal";
  /** What the page shows. */
  readonly error: StudioError;

  /** @param detail what a report needs beside; default the title */
  constructor(kind: ErrorKind, title: string, whatToDo: string, detail: string = title) {
    super(`${title} ${whatToDo}`);
    this.error = { kind, title, whatToDo, detail };
  }
}

/** The reason of a request that the page cancelled. */
export const CANCELLED = new Refusal("cancelled", "Cancelled.", "Start it again when you like.");

/** Kind, title and cure of errors that the library throws. */
type Words = readonly [kind: ErrorKind, title: string, whatToDo: string];

function hubWords({ failure, status }: HubError): Words {
  if (status === 403) {
    return [
      "hub-gated",
      "The hub does not let you download this model yet.",
      "Open the model's page on the hub, accept its terms, and paste an access token of your account here.",
    ];
  }
  if (failure === "unauthorized") {
    return [
      "hub-login",
      "The hub asks who you are, or there is no such model.",
      "Check the name; for a private or gated model, paste an access token of your account.",
    ];
  }
  if (failure === "not-found") {
    return [
      "hub-missing",
      "The hub has no such model, revision or file.",
      'Check the name: it looks like "owner/model". A model needs config.json and .safetensors files, or a .gguf file.',
    ];
  }
  if (status === 429) {
    return [
      "hub-busy",
      "The hub asks to wait: too many requests came from your network.",
      "Wait a few minutes and try again; what was downloaded is kept.",
    ];
  }
  if (failure === "offline") {
    return [
      "hub-silent",
      "The hub does not answer.",
      "Check your connection and try again: what was downloaded is kept, and the download goes on from there.",
    ];
  }
  if (failure === "status") {
    return [
      "hub-busy",
      "The hub cannot serve the model now.",
      "Try again later; what was downloaded is kept.",
    ];
  }
  return [
    "bad-file",
    "The hub sent something other than what it announced.",
    "Try again; if it happens again, choose another model.",
  ];
}

/** An error and those that caused it. */
function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let at = error; at instanceof Error && chain.length < 10; at = at.cause) chain.push(at);
  return chain;
}

const PICKLE: Words = [
  "pickle",
  "This is a pickle file, which can run programs and is never opened.",
  "Use the .safetensors or .gguf file instead; in Python, save_pretrained() writes safetensors.",
];
const MODEL: Words = [
  "bad-file",
  "The model's files cannot be read.",
  "A model folder needs config.json, model.safetensors and tokenizer.json as they are on the hub; check that all are there and whole.",
];
const GGUF: Words = [
  "bad-file",
  "This GGUF file cannot be read.",
  "It may be cut off or of a kind that is not supported; download it again, or choose another one.",
];
const DATA: Words = [
  "bad-data",
  "The data cannot be read.",
  "Correct what is named below, or leave bad rows out; each row needs a text, or a question with its answer.",
];
const TEMPLATE: Words = [
  "bad-data",
  "These rows do not fit the model's chat template.",
  "Check the roles (system, user, assistant, in turns), or choose a model that was made for chats.",
];
const ADAPTER: Words = [
  "bad-file",
  "This adapter does not fit the open model, or is incomplete.",
  "Open the model that it was made for, and load the adapter again.",
];
const GGUF_ADAPTER: Words = [
  "bad-file",
  "This GGUF file holds no adapter for the open model, or is cut off.",
  "Open the model that it was made for, and load a LoRA adapter's file; a model's own file is opened in the first step.",
];
const UNMERGEABLE: Words = [
  "unsupported",
  "An adapter of this method cannot be put into the model's weights.",
  "Take home the .zip for peft instead, or train a LoRA adapter.",
];
const SETTINGS: Words = [
  "bad-settings",
  "These settings do not work for this model and these data.",
  "Change the setting that is named below.",
];
const DIVERGED: Words = [
  "diverged",
  "The training diverged: the loss is no longer a number.",
  "Start again with a lower learning rate, such as a third of it; earlier checkpoints are kept.",
];
/** What a broker's failure is to a reader. */
const BROKER: Readonly<Record<BrokerFailure, Words>> = {
  unreachable: [
    "broker-silent",
    "No broker answers at this address.",
    "Check the link and your connection. The broker must accept WebSockets there (nats-server's websocket block); a page that came over https reaches brokers by wss:// alone, with a certificate that this browser trusts.",
  ],
  credentials: [
    "broker-login",
    "The broker does not let you in.",
    "Check the user and password, or the token, with whoever sent you the link.",
  ],
  certificate: [
    "broker-silent",
    "This browser does not trust the broker's certificate.",
    "The broker needs one of an authority that browsers know.",
  ],
  full: [
    "broker",
    "The broker's store has no room left.",
    "Tell whoever sent you the link, and join again later.",
  ],
  other: [
    "broker",
    "The broker cannot do what this work needs.",
    "It must be a NATS server with JetStream. Show the text below to whoever sent you the link.",
  ],
};
const WORK: Words = [
  "broker",
  "The work ended early.",
  "Others go on with it. Join again, or show the text below to whoever sent you the link.",
];
const SILENT: Words = [
  "hub-silent",
  "The address does not answer, or does not let pages read it.",
  "Check it and your connection; the server must allow other origins (CORS).",
];

/** What an error of a call is about, by its message. */
function wordsOfCall(message: string, call: CallName | null): Words | null {
  if (/pickle/i.test(message)) return PICKLE;
  if (
    /fetch failed|failed to fetch|load failed|networkerror|error sending request|times in turn|Cannot fetch/i
      .test(message)
  ) return SILENT;
  switch (call) {
    case "join":
      return WORK;
    case "chooseBase":
    case "openModel":
      return /gguf/i.test(message) ? GGUF : MODEL;
    case "openData":
    case "dataExample":
      return /chat template/i.test(message) ? TEMPLATE : DATA;
    case "loadAdapter":
      return /gguf|general\.|adapter\.type/i.test(message) ? GGUF_ADAPTER : ADAPTER;
    case "plan":
    case "train":
    case "resumeRun":
      if (/finite loss/.test(message)) return DIVERGED;
      return /Cannot train on/.test(message) ? DATA : SETTINGS;
    case "chat":
    case "mix":
    case "export":
      if (/Cannot merge/.test(message)) return UNMERGEABLE;
      return /adapter|merge/i.test(message) ? ADAPTER : null;
    default:
      return null;
  }
}

function wordsOf(error: unknown, call: CallName | null): Words {
  const chain = chainOf(error);
  const names = chain.map(({ name }) => name);
  const hub = chain.find((cause) => cause instanceof HubError);
  if (names.includes("QuotaExceededError") || /storage is full/.test(chain[0]?.message ?? "")) {
    return [
      "storage-full",
      "The browser's storage is full.",
      "Delete models or runs that you no longer need under Storage, or free space on the disk; the newest checkpoint is kept.",
    ];
  }
  if (hub) return hubWords(hub);
  const broker = chain.find(({ name }) => name === "BrokerError") as BrokerError | undefined; // its class is loaded late
  if (broker) return BROKER[broker.failure];
  if (chain.some((cause) => cause instanceof NoAdapterError)) return NO_WEBGPU;
  if (chain.some((cause) => cause instanceof DeviceLostError)) {
    return [
      "device-lost",
      "The graphics device was lost: its driver crashed, or the computer took it away.",
      "Open the model again; a training goes on from its newest checkpoint.",
    ];
  }
  if (chain.some((cause) => cause instanceof MemoryBudgetError || cause instanceof OutOfDeviceMemoryError)) {
    return [
      "out-of-memory",
      "There is too little device memory for this.",
      "Choose smaller batches, shorter rows, gradient checkpointing or a smaller model; other tabs take memory too.",
    ];
  }
  if (names.includes("NotReadableError")) {
    return [
      "bad-file",
      "A file can no longer be read.",
      "It was changed, moved or removed since you chose it: choose it again.",
    ];
  }
  if (chain.some((cause) => cause instanceof ChatTemplateError)) return TEMPLATE;
  const isKnown = chain.length > 0 && /^Cannot |fetch|network/i.test(chain[0].message);
  const known = isKnown ? wordsOfCall(chain.map((cause) => cause.message).join("\n"), call) : null;
  if (known) return known;
  return [
    "internal",
    "Something went wrong that should not have.",
    "Reload the page; what was stored is kept. The text below helps to fix it.",
  ];
}

/** Why there is no device. */
export const NO_WEBGPU: Words = [
  "no-webgpu",
  "This browser has no WebGPU, which computes the model.",
  "Use a current Chrome, Edge, Firefox or Safari on a computer with graphics hardware, and switch hardware acceleration on in its settings.",
];

/**
 * What a page shows of an error.
 * @param call in which it happened; null: somewhere else
 */
export function studioError(error: unknown, call: CallName | null = null): StudioError {
  if (error instanceof Refusal) return error.error;
  const [kind, title, whatToDo] = wordsOf(error, call);
  const detail = error instanceof Error ? error.message : String(error);
  return { kind, title, whatToDo, detail };
}

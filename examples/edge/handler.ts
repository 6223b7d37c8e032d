/**
 * A request handler for any runtime that has `Request`, `Response` and a GPU device of its own: an edge worker, a desktop
 * program's page, a server. It asks for no adapter and touches no file: the device and the model come from outside.
 *
 *     POST {"prompt": "Once upon a time", "maxNewTokens": 20}  ->  {"text": "Once upon a time there …"}
 *
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  type FolderInput,
  initDevice,
  PeftModel,
} from "@peft/webgpu";

/** What the handler serves. */
export interface Served {
  /** The runtime's device. */
  readonly gpuDevice: GPUDevice;
  /** Folder of the model: a `URL`, a `memoryFolder()`, in Deno and Node also a path. */
  readonly model: FolderInput;
  /** Folder of an adapter, if there is one. */
  readonly adapter?: FolderInput;
}

const MAX_TOKENS = 256;
const MAX_CHARACTERS = 4000;

const refuse = (status: number, error: string) => Response.json({ error }, { status });

/** What a request asks for, or why it cannot be answered. */
async function readPrompt(request: Request): Promise<{ prompt: string; maxNewTokens: number } | string> {
  const body: unknown = await request.json().catch(() => null);
  if (typeof body !== "object" || body === null) return "a JSON object is required";
  const { prompt, maxNewTokens = 20 } = body as { prompt?: unknown; maxNewTokens?: unknown };
  if (typeof prompt !== "string" || prompt === "" || prompt.length > MAX_CHARACTERS) {
    return `prompt must be a text of 1 to ${MAX_CHARACTERS} characters`;
  }
  const isCount = typeof maxNewTokens === "number" && Number.isInteger(maxNewTokens);
  if (!isCount || maxNewTokens < 1 || maxNewTokens > MAX_TOKENS) {
    return `maxNewTokens must be an integer from 1 to ${MAX_TOKENS}`;
  }
  return { prompt, maxNewTokens };
}

/**
 * Loads the model once, and answers requests with it, one at a time.
 *
 * @throws as `initDevice` and `fromPretrained`.
 */
export async function makeHandler(served: Served): Promise<(request: Request) => Promise<Response>> {
  const device = await initDevice({ device: served.gpuDevice });
  const tokenizer = await AutoTokenizer.fromPretrained(served.model);
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(served.model, { device });
  const model = served.adapter === undefined ? base : await PeftModel.fromPretrained(base, served.adapter);
  let last: Promise<unknown> = Promise.resolve();
  return async (request) => {
    if (request.method !== "POST") return refuse(405, "POST is required");
    const asked = await readPrompt(request);
    if (typeof asked === "string") return refuse(400, asked);
    const { prompt, maxNewTokens } = asked;
    const answer = last.then(() =>
      model.generate(prompt, { tokenizer, maxNewTokens, signal: request.signal })
    );
    last = answer.catch(() => {});
    try {
      const [ids] = await answer;
      return Response.json({ text: tokenizer.decode(ids, { skipSpecialTokens: true }) });
    } catch (error) {
      const isAsked = error instanceof RangeError; // more tokens than the model has positions for
      return refuse(isAsked ? 400 : 500, (error as Error).message);
    }
  };
}

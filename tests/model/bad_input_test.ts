import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Tensor } from "../../autograd/mod.ts";
import { DisposedError, OutOfDeviceMemoryError } from "../../gpu/mod.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { load, serialize } from "../../io/safetensors.ts";
import {
  AutoModelForCausalLM,
  type CausalLMInputs,
  GPT2Config,
  GPT2LMHeadModel,
  KVCache,
} from "../../model/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";

const device = await ownDevice({ fresh: true });
const model = await loadFixture("gpt2_tiny", { device });
const NONE = [[-100, -100, -100]];

/** What a caller may get wrong, the error's class, and what it says. V is 257, n_positions 64. */
const BAD: [label: string, CausalLMInputs, typeof TypeError | typeof RangeError, string][] = [
  [
    "an id of -1",
    { inputIds: [[1, -1]] },
    RangeError,
    "Cannot use inputIds: integers from 0 to 256 are required, received -1 at [0, 1]",
  ],
  ["an id of 257", { inputIds: [[1], [257]] }, RangeError, "received 257 at [1, 0]"],
  ["an id of 2^31", { inputIds: [[2 ** 31]] }, RangeError, "received 2147483648 at [0, 0]"],
  ["an id of 1.5", { inputIds: [[1.5]] }, RangeError, "received 1.5 at [0, 0]"],
  ["an id that is NaN", { inputIds: [[NaN]] }, RangeError, "received NaN at [0, 0]"],
  [
    "more than n_positions",
    { inputIds: [new Array(65).fill(1)] },
    RangeError,
    "Cannot run GPT-2 on 65 tokens: at most n_positions 64 are allowed",
  ],
  [
    "no rows",
    { inputIds: [] },
    TypeError,
    "Cannot use inputIds: at least one row of at least one token is required, received none",
  ],
  ["an empty row", { inputIds: [[]] }, TypeError, "at least one row of at least one token is required"],
  [
    "ragged rows",
    { inputIds: [[1, 2], [3]] },
    TypeError,
    "Cannot use inputIds: rows must be equally long (pad them), received 2 tokens in row 0 and 1 in row 1",
  ],
  [
    "ids without rows",
    { inputIds: [1, 2] as never },
    TypeError,
    "Cannot use inputIds: rows of numbers such as [[1, 2]] are required, received [1,2]",
  ],
  [
    "a text",
    { inputIds: "Ahoy" as never },
    TypeError,
    'Cannot use inputIds: rows of numbers such as [[1, 2]] are required, received "Ahoy"',
  ],
  ["nothing", undefined as never, TypeError, "either inputIds or inputsEmbeds is required"],
  ["neither ids nor embeddings", {}, TypeError, "either inputIds or inputsEmbeds is required"],
  [
    "a mask of another length",
    { inputIds: [[1, 2, 3]], attentionMask: [[1, 1]] },
    TypeError,
    "Cannot use attentionMask: shape [1, 3] is required, received [1, 2]",
  ],
  ["a mask of more rows", { inputIds: [[1]], attentionMask: [[1], [1]] }, TypeError, "received [2, 1]"],
  ["a ragged mask", { inputIds: [[1, 2], [1, 2]], attentionMask: [[1, 1], [1]] }, TypeError, "equally long"],
  [
    "an empty mask",
    { inputIds: [[1]], attentionMask: [] },
    TypeError,
    "Cannot use attentionMask: at least one",
  ],
  [
    "a position past the table",
    { inputIds: [[1]], positionIds: [[64]] },
    RangeError,
    "Cannot use positionIds: integers from 0 to 63 are required, received 64 at [0, 0]",
  ],
  [
    "positions of another shape",
    { inputIds: [[1, 2]], positionIds: [[0, 1, 2]] },
    TypeError,
    "Cannot use positionIds: the shape of inputIds [1, 2] is required, received [1, 3]",
  ],
  [
    "labels of another shape",
    { inputIds: [[1, 2, 3]], labels: [[1, 2]] },
    TypeError,
    "Cannot use labels: the shape of inputIds [1, 3] is required, received [1, 2]",
  ],
  [
    "a label of 257",
    { inputIds: [[1, 2, 3]], labels: [[1, 2, 257]] },
    RangeError,
    "Cannot use labels: integers from 0 to 256 or -100 are required, received 257 at [0, 2]",
  ],
  ["a label of -1", { inputIds: [[1, 2, 3]], labels: [[1, -1, 2]] }, RangeError, "received -1 at [0, 1]"],
  [
    "labels all -100",
    { inputIds: [[1, 2, 3]], labels: NONE },
    RangeError,
    "Cannot compute the loss: at least one label after the first of its row is required, all others being -100",
  ],
  [
    "a label on the first token alone",
    { inputIds: [[1, 2, 3]], labels: [[1, -100, -100]] },
    RangeError,
    "at least one label after the first",
  ],
  [
    "one token with labels",
    { inputIds: [[1]], labels: [[1]] },
    RangeError,
    "at least one label after the first of its row is required",
  ],
  [
    "a mask of another shape with a cache wanted",
    { inputIds: [[1, 2]], attentionMask: [[1]], useCache: true },
    TypeError,
    "received [1, 1]",
  ],
];

for (const [label, inputs, Kind, message] of BAD) {
  Deno.test(`forward() refuses ${label} before any GPU work`, () => {
    const [before, dispatches] = [device.memory.liveBytes, device.stats.dispatches];
    assertThrows(() => model.forward(inputs), Kind, message);
    assertEquals(device.stats.dispatches, dispatches, "nothing was launched");
    assertEquals(device.memory.liveBytes, before, "nothing was kept");
  });
}

Deno.test("forward() and generate() refuse inputs that do not exist, and name the ones that were meant", async () => {
  const inputIds = [[1, 2, 3]];
  const refused: [object, string][] = [
    [{ input_ids: inputIds }, 'unknown input "input_ids", did you mean "inputIds"?'],
    [
      { inputIds, attention_mask: [[1, 1, 0]] },
      'unknown input "attention_mask", did you mean "attentionMask"?',
    ],
    [{ inputIds, tokenTypeIds: [[0, 0, 0]] }, 'unknown input "tokenTypeIds", the inputs are "inputIds", '],
    [inputIds, "inputs by name are required, such as { inputIds }, received an array"],
  ];
  for (const [inputs, message] of refused) {
    assertThrows(() => model.forward(inputs), TypeError, `Cannot run the model: ${message}`);
  }
  await assertRejects(
    () => model.generate({ inputIds, attention_mask: [[0, 1, 1]] } as object),
    TypeError,
    'Cannot generate: unknown input "attention_mask", did you mean "attentionMask"?',
  );
});

Deno.test("forward() and generate() say that a model was disposed", async () => {
  const gone = new GPT2LMHeadModel(model.config, { device });
  gone.dispose();
  const message = "Cannot run GPT-2: the model was disposed; load it again";
  assertThrows(() => gone.forward({ inputIds: [[1]] }), DisposedError, message);
  assertThrows(() => gone.forward({ inputIds: [[1, 2]], labels: [[1, 2]] }), DisposedError, message);
  await assertRejects(() => gone.generate([[1]], { maxNewTokens: 1 }), DisposedError, message);
});

Deno.test("forward() refuses tensors of another type or shape", () => {
  const before = device.memory.liveBytes;
  using floats = Tensor.from([[1, 2]], { device });
  using flat = Tensor.from(Int32Array.of(1, 2), { device });
  using ids = Tensor.from(Int32Array.of(1, 2), { device, shape: [1, 2] });
  const message = "Cannot use inputIds: an int32 tensor of shape [B, T] is required, received";
  assertThrows(() => model.forward({ inputIds: floats }), TypeError, `${message} float32 [1, 2]`);
  assertThrows(() => model.forward({ inputIds: flat }), TypeError, `${message} int32 [2]`);
  assertThrows(
    () => model.forward({ inputIds: ids, attentionMask: floats }),
    TypeError,
    "Cannot use attentionMask: an integer tensor [1, 2] is required, received float32 [1, 2]",
  );
  assertThrows(
    () => model.forward({ inputIds: ids, labels: [[1]] }),
    TypeError,
    "Cannot use labels: the shape of inputIds [1, 2] is required, received [1, 1]",
  );
  assert(device.memory.liveBytes <= before + 3 * 256);
});

Deno.test("forward() refuses a cache of other rows or without room", () => {
  using cache = new KVCache(model.config, device, 2, 4);
  assertThrows(
    () => model.forward({ inputIds: [[1]], pastKeyValues: cache }),
    RangeError,
    "Cannot extend the cache: 1 rows with room for 1 tokens are required, received 2 rows of 4",
  );
  assertThrows(
    () => model.forward({ inputIds: [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], pastKeyValues: cache }),
    RangeError,
    "2 rows with room for 5 tokens are required, received 2 rows of 4",
  );
  assertEquals(cache.length, 0);
});

Deno.test("after refused inputs the model computes what it did before", async () => {
  const logits = async () => {
    using output = model.forward({ inputIds: [[1, 2, 3]] });
    return await output.logits.data();
  };
  const before = await logits();
  for (const [, inputs] of BAD) assertThrows(() => model.forward(inputs));
  assertEquals(await logits(), before);
});

const config = JSON.parse(await Deno.readTextFile(`${FIXTURES}gpt2_tiny/config.json`));
const weights = await load(`${FIXTURES}gpt2_tiny/model.safetensors`);

/** The tiny model's folder in memory, with changes. */
function folder(
  change: { config?: unknown; bytes?: Uint8Array<ArrayBuffer>; edit?: (w: typeof weights) => void },
) {
  const edited = new Map(weights);
  change.edit?.(edited);
  const files: Record<string, Uint8Array<ArrayBuffer>> = {
    "model.safetensors": change.bytes ?? serialize(Object.fromEntries(edited)),
  };
  if (change.config !== null) {
    files["config.json"] = new TextEncoder().encode(JSON.stringify(change.config ?? config));
  }
  return memoryFolder(files, "a folder");
}

async function assertRefused(change: Parameters<typeof folder>[0], message: string): Promise<string> {
  const fresh = await ownDevice({ fresh: true });
  const error = await assertRejects(
    () => GPT2LMHeadModel.load(folder(change), { device: fresh }),
    Error,
    message,
  );
  assertEquals(fresh.memory.peakBytes, 0, "nothing was allocated");
  return error.message;
}

Deno.test("load() lists every missing, mis-shaped and unexpected tensor in one error, before allocation", async () => {
  const message = await assertRefused({
    edit: (tensors) => {
      tensors.delete("transformer.h.1.ln_1.bias");
      tensors.delete("transformer.wpe.weight");
      const wte = tensors.get("transformer.wte.weight")!;
      tensors.set("transformer.wte.weight", { ...wte, shape: [48, 257] });
      tensors.set("transformer.h.7.ln_1.bias", tensors.get("transformer.h.0.ln_1.bias")!);
      const bias = tensors.get("transformer.ln_f.bias")!;
      tensors.set("transformer.ln_f.bias", { ...bias, dtype: "I32" });
    },
  }, "5 tensors differ");
  for (
    const line of [
      '"transformer.h.1.ln_1.bias" is missing',
      '"transformer.wpe.weight" is missing',
      '"transformer.wte.weight" expected [257, 48], found [48, 257]',
      '"transformer.h.7.ln_1.bias" is unexpected',
      '"transformer.ln_f.bias" expected F32, F16 or BF16, found I32',
    ]
  ) assert(message.includes(line), `${line} in ${message}`);
});

Deno.test("load() lists at most twenty tensors", async () => {
  const message = await assertRefused({ edit: (tensors) => tensors.clear() }, "40 tensors differ");
  assert(message.endsWith("; and 20 more"), message);
});

Deno.test("load() refuses a file cut short anywhere", async () => {
  const whole = serialize(Object.fromEntries(weights));
  for (const length of [0, 7, 8, 500, whole.length - 1]) {
    await assertRefused({ bytes: whole.slice(0, length) }, "Cannot read");
  }
});

Deno.test("load() refuses folders without configuration or weights, and pickles", async () => {
  await assertRefused(
    { config: null },
    'Cannot load model "a folder": config.json is required, received a folder without it',
  );
  const json = new TextEncoder().encode(JSON.stringify(config));
  await assertRejects(
    () => GPT2LMHeadModel.load(memoryFolder({ "config.json": json }, "bare"), { device }),
    Error,
    "model.safetensors or model.safetensors.index.json is required, received neither",
  );
  const pickled = memoryFolder({ "config.json": json, "pytorch_model.bin": new Uint8Array(8) }, "old");
  await assertRejects(
    () => GPT2LMHeadModel.load(pickled, { device }),
    Error,
    "a pickle file, which is never opened",
  );
});

Deno.test("load() refuses configurations no GPT-2 can have", async () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ n_layer: 0 }, "Cannot configure GPT-2: n_layer must be a positive integer, received 0"],
    [{ n_layer: 1e9 }, "n_layer must be"],
    [{ n_embd: -48 }, "n_embd must be a positive integer, received -48"],
    [{ n_embd: "48" }, 'n_embd must be a positive integer, received "48"'],
    [{ n_head: 5 }, "n_embd must be a multiple of n_head 5, received 48"],
    [{ vocab_size: 2.5 }, "vocab_size must be a positive integer, received 2.5"],
    [{ vocab_size: 1e12 }, "vocab_size must be a positive integer"],
    [{ n_inner: -1 }, "n_inner must be a positive integer or null, received -1"],
    [{ n_inner: 1e12 }, "n_inner must be"],
    [{ activation_function: "constructor" }, "activation_function must be one of"],
    [{ resid_pdrop: 1.5 }, "resid_pdrop must be a number from 0 to 1, received 1.5"],
    [{ layer_norm_epsilon: 0 }, "layer_norm_epsilon must be a positive number, received 0"],
    [{ scale_attn_weights: "yes" }, 'scale_attn_weights must be true or false, received "yes"'],
    [{ tie_word_embeddings: 1 }, "tie_word_embeddings must be true or false, received 1"],
    [{ model_type: "llama" }, 'Cannot load the model: model_type must be "gpt2", received "llama"'],
    [{ add_cross_attention: true }, "add_cross_attention must be false, received true"],
    [{ n_layer: 2 }, '"transformer.h.2.ln_1.weight" is unexpected'],
    [{ tie_word_embeddings: false }, '"lm_head.weight" is missing'],
    [{ eos_token_id: "end" }, "eos_token_id must be"],
    [{ eos_token_id: [256, 1.5] }, "eos_token_id must be"],
    [{ pad_token_id: 1.5 }, "pad_token_id must be"],
  ];
  for (const [change, message] of cases) await assertRefused({ config: { ...config, ...change } }, message);
});

Deno.test("load() and new GPT2LMHeadModel() past the memory limit leave nothing behind, and smaller ones work", async () => {
  const small = await ownDevice({ fresh: true });
  small.memoryLimitBytes = 300_000; // the model takes 400 KB
  await assertRejects(
    () => GPT2LMHeadModel.load(folder({}), { device: small }),
    OutOfDeviceMemoryError,
    "the limit is 300000 bytes",
  );
  assertEquals(small.memory.liveBytes, 0);
  const tiny = new GPT2Config({ vocabSize: 257, nEmbd: 48, nHead: 4, nLayer: 3, nPositions: 64 });
  assertThrows(() => new GPT2LMHeadModel(tiny, { device: small }), OutOfDeviceMemoryError);
  assertEquals(small.memory.liveBytes, 0);
  small.memoryLimitBytes = 2 ** 30;
  const loaded = await GPT2LMHeadModel.load(folder({}), { device: small });
  loaded.dispose();
  assertEquals(small.memory.liveBytes, 0);
});

Deno.test("AutoModelForCausalLM.fromPretrained() of a folder that is not there says so, without network", async () => {
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained("./no/such/folder", { device, localFilesOnly: true }),
    Error,
    "no/such/folder",
  );
});

/**
 * Models and expected numbers of `tests/fixtures`, which transformers and peft computed.
 * @module
 */
import { assertAllClose, relativeL2 } from "@std/assert";
import { assert } from "@std/assert";
import { defaultDevice, Device, type Tensor } from "../../autograd/mod.ts";
import { load } from "../../io/safetensors.ts";
import { GPT2LMHeadModel, type WeightDType } from "../../model/mod.ts";

/** Path of the fixtures. */
export const FIXTURES: string = new URL("../fixtures/", import.meta.url).pathname;

/** What `expected.json` of a folder says, and the tensors of `expected.safetensors` as float32. */
export interface Expected<Json> {
  readonly json: Json;
  /** A tensor's values. */
  tensor(name: string): Float32Array<ArrayBuffer>;
  /** Names of the tensors. */
  readonly names: readonly string[];
}

/** Reads the expected numbers of a folder of `tests/fixtures`. */
export async function expectedOf<Json>(folder: string): Promise<Expected<Json>> {
  const json = JSON.parse(await Deno.readTextFile(`${FIXTURES}${folder}/expected.json`)) as Json;
  const tensors = await load(`${FIXTURES}${folder}/expected.safetensors`);
  return {
    json,
    names: [...tensors.keys()],
    tensor(name) {
      const entry = tensors.get(name);
      assert(entry, `fixture ${folder} has tensor ${name}`);
      return new Float32Array(entry.data.slice().buffer);
    },
  };
}

/** Devices that `ownDevice` handed out, each with the launches it had done by then. */
const handedOut = new Map<Device, number>();

/** Whether a device was used, and everything on it was given back. */
function isFree(device: Device, current: GPUDevice): boolean {
  const { liveBytes, limitBytes } = device.memory;
  const isUsed = device.stats.dispatches > handedOut.get(device)!;
  return device.gpuDevice === current && isUsed && liveBytes === 0 && limitBytes === Infinity;
}

/**
 * A device with a ledger of its own, nothing alive on it. One that an earlier test has emptied is taken again: its kernels
 * are compiled, which is most of a small test's time and memory.
 * @param options.fresh its pool has no idle buffers, either, so that its peak is that of a new one's; making the same
 * buffers and bind groups again is a sixth of a small test's time
 */
export async function ownDevice({ fresh = false } = {}): Promise<Device> {
  const { gpuDevice } = await defaultDevice();
  let device = [...handedOut.keys()].find((candidate) => isFree(candidate, gpuDevice));
  device ??= await Device.create({ device: gpuDevice });
  handedOut.set(device, device.stats.dispatches);
  if (fresh) device.trim();
  device.resetPeakMemory();
  return device;
}

/** Loads a model folder of `tests/fixtures`. */
export async function loadFixture(
  folder: string,
  options: { device?: Device; dtype?: WeightDType } = {},
): Promise<GPT2LMHeadModel> {
  const device = options.device ?? await defaultDevice();
  return await GPT2LMHeadModel.load(`${FIXTURES}${folder}`, { device, dtype: options.dtype });
}

/** Asserts that a tensor's values are within `atol`. */
export async function assertNear(
  actual: Tensor,
  expected: ArrayLike<number>,
  atol: number,
  label: string,
): Promise<void> {
  assertAllClose(await actual.data(), expected, { rtol: 0, atol, label });
}

/** Asserts that the gradients of named parameters are within `limit` in relative L2 norm, and reports the worst. */
export async function assertGradients(
  parameters: Iterable<[string, Tensor]>,
  expected: Expected<unknown>,
  prefix = "grad.",
  limit = 1e-5,
): Promise<void> {
  const named = new Map(parameters);
  const names = expected.names.filter((name) => name.startsWith(prefix));
  assert(names.length > 0, `gradients ${prefix}`);
  const grads = names.map((name) => named.get(name.slice(prefix.length))?.grad);
  const values = await Promise.all(grads.map((grad) => grad?.data())); // one wait for all
  for (const [i, name] of names.entries()) {
    const value = values[i];
    assert(value, `${name} was computed`);
    const error = relativeL2(value, expected.tensor(name));
    assert(error < limit, `${name}: relative L2 error ${error}, at most ${limit}`);
  }
}

/**
 * Loading GPT-2 small from a folder of safetensors, beside reading the same file; both from the system's cache. Loaded
 * weights are compared with the written ones before the figure.
 * Run: deno run -A bench/loading_bench.ts
 * @module
 */
import { type Device, initDevice } from "../gpu/mod.ts";
import { GPT2LMHeadModel } from "../model/mod.ts";
import { buildModel } from "./gpt_cases.ts";
import { median, printTable, type Row } from "./harness.ts";

const ROUNDS = 5;
const COMPARED = ["transformer.h.11.mlp.c_proj.weight", "transformer.ln_f.weight"];

/** Reads a file in pieces of 8 MB into one buffer, as fast as Deno can. */
async function readWhole(path: string): Promise<number> {
  using file = await Deno.open(path);
  const piece = new Uint8Array(8 * 2 ** 20);
  let bytes = 0;
  for (let n = await file.read(piece); n !== null; n = await file.read(piece)) bytes += n;
  return bytes;
}

const contents = (model: GPT2LMHeadModel) =>
  Promise.all(COMPARED.map((name) => model.stateDict().get(name)!.data()));

/** Milliseconds of writing `bytes` bytes to the device in pieces of 8 MB, without any file: what no loader can beat. */
async function timeUpload(device: Device, bytes: number): Promise<number> {
  const piece = new Uint8Array(8 * 2 ** 20).fill(1);
  const buffers = Array.from(
    { length: Math.ceil(bytes / piece.byteLength) },
    () => device.acquire(piece.byteLength),
  );
  const begin = performance.now();
  for (const buffer of buffers) device.write({ buffer, offset: 0, size: piece.byteLength }, piece);
  await device.sync();
  const ms = performance.now() - begin;
  for (const buffer of buffers) device.release(buffer);
  device.trim();
  return ms;
}

/** Writes GPT-2 small into a temporary folder, loads it, and times both. */
export async function benchLoading(device: Device): Promise<Row[]> {
  const folder = await Deno.makeTempDir();
  try {
    const { base } = buildModel(device, { config: {}, lora: false });
    await base.savePretrained(folder);
    const written = await contents(base);
    base.dispose();
    device.trim();
    const path = `${folder}/model.safetensors`;
    const loading: number[] = [];
    const reading: number[] = [];
    let bytes = 0;
    for (let round = 0; round < ROUNDS; round++) {
      let start = performance.now();
      bytes = await readWhole(path);
      reading.push(performance.now() - start);
      start = performance.now();
      const model = await GPT2LMHeadModel.load(folder, { device });
      await device.sync();
      loading.push(performance.now() - start);
      if (round === 0) {
        const loaded = await contents(model);
        if (loaded.some((data, i) => data.some((value, j) => value !== written[i][j]))) {
          throw new Error("Cannot time loading: loaded weights must equal the written ones");
        }
      }
      model.dispose();
      device.trim();
    }
    const uploading: number[] = [];
    for (let round = 0; round < ROUNDS; round++) uploading.push(await timeUpload(device, bytes));
    const [load, read, upload] = [median(loading), median(reading), median(uploading)];
    return [
      { what: "read the file", ms: read, "GB/s": bytes / read / 1e6, "of reading's speed": 1 },
      {
        what: "write as many bytes to the device",
        ms: upload,
        "GB/s": bytes / upload / 1e6,
        "of reading's speed": read / upload,
      },
      { what: "load the model", ms: load, "GB/s": bytes / load / 1e6, "of reading's speed": read / load },
    ];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const device = await initDevice();
  printTable(`Loading on ${device.adapterName}`, await benchLoading(device));
}

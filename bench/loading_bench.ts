/**
 * Loading GPT-2 small from a folder of safetensors, beside reading the same file, all from the system's cache: whole into
 * memory as `Deno.readFile` does, in pieces into one buffer (which no loader can use: nothing keeps the bytes), and in
 * pieces that go to the device. Loaded weights are compared with the written ones before the figure.
 * Run: deno run -A bench/loading_bench.ts
 * @module
 */
import { type Device, initDevice } from "../gpu/mod.ts";
import { AutoModelForCausalLM, type CausalLM } from "../model/mod.ts";
import { buildModel } from "./gpt_cases.ts";
import { median, printTable, type Row } from "./harness.ts";

const ROUNDS = 5;

const PIECE = 8 * 2 ** 20;

/** Reads a file in pieces into one buffer, as fast as Deno can; `use` may take each. Returns the bytes read. */
async function readPieces(path: string, use: (piece: Uint8Array<ArrayBuffer>) => void): Promise<number> {
  using file = await Deno.open(path);
  const piece = new Uint8Array(PIECE);
  let bytes = 0;
  for (let n = await file.read(piece); n !== null; n = await file.read(piece)) {
    use(piece.subarray(0, n));
    bytes += n;
  }
  return bytes;
}

/** The values of the last weights, which are loaded last: a matrix among them. */
const contents = (model: CausalLM) =>
  Promise.all([...model.parameters()].slice(-4).map((parameter) => parameter.data()));

/** Reads a file into device buffers and nothing else: what no loader can beat. */
async function readToDevice(device: Device, path: string): Promise<void> {
  const buffers: ReturnType<Device["acquire"]>[] = [];
  await readPieces(path, (piece) => {
    const buffer = device.acquire(PIECE);
    buffers.push(buffer);
    device.write({ buffer, offset: 0, size: piece.byteLength }, piece);
  });
  await device.sync();
  for (const buffer of buffers) device.release(buffer);
  device.trim();
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
    const { size } = await Deno.stat(path);
    let checked = false;
    const ways: Record<string, () => Promise<void>> = {
      "read the file (Deno.readFile)": async () => void await Deno.readFile(path),
      "read it in pieces, keep nothing": async () => void await readPieces(path, () => {}),
      "read it in pieces to the device": () => readToDevice(device, path),
      "load the model": async () => {
        const model = await AutoModelForCausalLM.fromPretrained(folder, { device });
        await device.sync();
        if (!checked) {
          const loaded = await contents(model);
          if (loaded.some((data, i) => data.some((value, j) => value !== written[i][j]))) {
            throw new Error("Cannot time loading: loaded weights must equal the written ones");
          }
          checked = true;
        }
        model.dispose();
        device.trim();
      },
    };
    for (const way of Object.values(ways)) await way(); // the first round is not timed
    const times = new Map<string, number[]>(Object.keys(ways).map((what) => [what, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [what, way] of Object.entries(ways)) {
        const start = performance.now();
        await way();
        times.get(what)!.push(performance.now() - start);
      }
    }
    const [[, reading]] = times;
    return [...times].map(([what, ms]) => ({
      what,
      ms: median(ms),
      "GB/s": size / median(ms) / 1e6,
      "of reading's speed": median(reading) / median(ms),
    }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const device = await initDevice();
  printTable(`Loading on ${device.adapterName}`, await benchLoading(device));
}

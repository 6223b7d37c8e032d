/**
 * `doctor`: whether this machine can train, with what, and what to do where it cannot.
 * @module
 */

import { type Device, initDevice, NoAdapterError, Tensor } from "@peft/webgpu";
import { matmul } from "@peft/webgpu/tensor";
import { number } from "../options/rules.ts";
import type { Command } from "./command.ts";

const flags = {
  memory: {
    rule: number(1, 1e9),
    help: "Device memory in MB; default: not known on a GPU, half of the machine's with a software adapter",
  },
} as const;

/** Models that people tune, by their numbers of parameters, and of these those of the embedding, which stay 16 bits. */
const MODELS: readonly (readonly [name: string, parameters: number, embedding: number])[] = [
  ["SmolLM2-135M", 134.5e6, 28.3e6],
  ["SmolLM2-360M", 361.8e6, 47.2e6],
  ["Qwen2.5-0.5B", 494e6, 136.1e6],
  ["Gemma-3-1B", 999.9e6, 302e6],
  ["Llama-3.2-1B", 1235.8e6, 262.7e6],
  ["SmolLM2-1.7B", 1711.4e6, 100.7e6],
  ["Llama-3.2-3B", 3212.7e6, 394e6],
  ["Mistral-7B", 7248e6, 262.1e6],
];
/** Bytes a weight of NF4 with double quantisation. */
const NF4_BYTES = 4.127 / 8;

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6).toLocaleString("en-US")} MB`;

/** Folders where Vulkan's loader looks for drivers. */
const DRIVER_FOLDERS = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/** Names of Vulkan drivers on Linux; empty elsewhere, and where the folders may not be read. */
async function vulkanDrivers(): Promise<string[]> {
  const names: string[] = [];
  for (const folder of Deno.build.os === "linux" ? DRIVER_FOLDERS : []) {
    try {
      for await (const { name } of Deno.readDir(folder)) names.push(name.replace(/\.json$/, ""));
    } catch {
      // no such folder, or not allowed
    }
  }
  return [...new Set(names)].sort();
}

/** Products that are timed together, so that the wait for the result counts little. */
const TOGETHER = 8;

/** GFLOP/s of a product of 512 x 512 matrices, checked against its first number. */
async function productSpeed(device: Device): Promise<number> {
  const size = 512;
  const values = new Float32Array(size * size).fill(0.5);
  const [a, b] = [0, 1].map(() => Tensor.from(values, { shape: [size, size], device }));
  let best = 0;
  for (let round = 0; round < 4; round++) {
    const begin = performance.now();
    const products = Array.from({ length: TOGETHER }, () => matmul(a, b));
    const [first] = await products[0].data();
    for (const product of products) product.dispose();
    if (first !== size / 4) {
      throw new Error(`Cannot trust the device: a product of ${size / 4} is required, received ${first}`);
    }
    best = Math.max(best, 2 * TOGETHER * size ** 3 / (performance.now() - begin) / 1e6);
  }
  a.dispose();
  b.dispose();
  return best;
}

/** Memory of the machine in bytes; null where it may not be asked for. */
function machineMemory(): number | null {
  try {
    return Deno.systemMemoryInfo().total;
  } catch {
    return null;
  }
}

/** What a machine without an adapter needs. */
const ADVICE: Readonly<Partial<Record<typeof Deno.build.os, string>>> = {
  linux:
    "install a Vulkan driver: that of your GPU's maker, or on Debian and Ubuntu the software one with `sudo apt-get install mesa-vulkan-drivers`; in a container also set XDG_RUNTIME_DIR to any folder",
  darwin: "WebGPU runs on Metal, which every Mac since 2012 has: update macOS and Deno",
  windows: "update the graphics driver; WebGPU runs on Direct3D 12",
};

/** The command. */
export const doctor: Command<typeof flags> = {
  name: "doctor",
  summary: "Check this machine: adapter, drivers, limits, speed, what fits, what to install",
  flags,
  permissions: ["--allow-read", "--allow-sys=systemMemoryInfo"],
  examples: ["./run doctor", "./run doctor --memory 8000"],
  async run(values) {
    const drivers = await vulkanDrivers();
    const { os, arch } = Deno.build;
    console.log(`system      ${os} ${arch}, Deno ${Deno.version.deno}`);
    if (os === "linux") console.log(`drivers     ${drivers.join(", ") || "none found (Vulkan)"}`);
    let device: Device;
    try {
      device = await initDevice();
    } catch (error) {
      if (!(error instanceof NoAdapterError)) throw error;
      console.log(`adapter     none: ${error.message}`);
      console.log(`to do       ${ADVICE[os] ?? "a system with Vulkan, Metal or Direct3D 12 is needed"}`);
      return { os, arch, drivers, adapter: null };
    }
    const { adapterName: adapter, isFallback: software, limits } = device;
    const { maxBufferSize, maxStorageBufferBindingSize } = limits;
    console.log(`adapter     ${adapter}${software ? " (software: slow, for trying things out)" : ""}`);
    console.log(
      `limits      ${megabytes(maxBufferSize)} a buffer, ${megabytes(maxStorageBufferBindingSize)} a binding`,
    );
    console.log(`features    ${[...device.features].join(", ") || "none"}`);
    const gflops = await productSpeed(device);
    console.log(
      `speed       ${gflops.toFixed(1)} GFLOP/s in a product of 512 x 512 with the right result`,
    );
    const machine = machineMemory();
    const memory = values.memory !== undefined
      ? values.memory * 1e6
      : software && machine !== null
      ? machine / 2
      : null;
    const models = MODELS.map(([name, parameters, embedding]) => {
      const half = 2 * parameters;
      const nf4 = 2 * embedding + NF4_BYTES * (parameters - embedding);
      const largest = 2 * embedding;
      return { name, float16: half, nf4, fits: fits({ half, nf4, largest }, memory, maxBufferSize) };
    });
    console.log(
      memory === null
        ? "memory      WebGPU does not say it: give --memory to see what fits"
        : `memory      ${megabytes(memory)}${values.memory === undefined ? " (half of this machine's)" : ""}`,
    );
    console.log(`weights     ${"".padEnd(16)}${"float16".padStart(12)}${"NF4".padStart(12)}`);
    for (const { name, float16, nf4, fits } of models) {
      const sizes = [float16, nf4].map((bytes) => megabytes(bytes).padStart(12)).join("");
      console.log(`            ${name.padEnd(16)}${sizes}   ${fits}`);
    }
    console.log("            exactly, with activations: ./run info --model … --plan");
    if (software) console.log("to do       for speed, use a machine with a GPU and its maker's driver");
    return {
      ...{ os, arch, drivers, adapter, software, gflops, memory, models },
      limits: { maxBufferSize, maxStorageBufferBindingSize },
      features: [...device.features],
    };
  },
};

/** What of a model fits: its weights, and for adapter, activations and scratch 0.4 of that, at least 300 MB. */
function fits(
  { half, nf4, largest }: { half: number; nf4: number; largest: number },
  memory: number | null,
  maxBufferSize: number,
): string {
  if (largest > maxBufferSize) return "its embedding is larger than a buffer";
  if (memory === null) return "";
  const needs = (weights: number) => weights + Math.max(300e6, 0.4 * weights);
  if (needs(half) <= memory) return "fits in float16";
  return needs(nf4) <= memory ? "fits in NF4" : "does not fit";
}

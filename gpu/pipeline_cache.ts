/**
 * Compiled kernels and their bind groups. A pipeline is keyed by (kernel, tuning), a bind group by (pipeline, views).
 * @module
 */

import type { KernelSpec } from "../kernels/kernel_spec.ts";
import type { BufferDependent, BufferView, DeviceBuffer } from "./buffer_pool.ts";
import { ShaderCompileError } from "./errors.ts";
import { type KernelPipeline, kernelPipeline } from "./kernel_pipeline.ts";

/** A kernel ready to launch with one choice of tuning constants. */
export interface CompiledKernel {
  readonly kernel: KernelSpec;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Names of `kernel.buffers` in binding order. */
  readonly bufferNames: readonly string[];
  /** Entries of `kernel.params` in field order. */
  readonly params: readonly (readonly [name: string, type: string])[];
  readonly tuning: Readonly<Record<string, number>>;
  readonly bindGroups: Map<string, CachedGroup>;
}

/**
 * Bind groups kept: several times what a training step of GPT-2 uses. Past this, the half that was unused longest is
 * dropped.
 */
const MAX_BIND_GROUPS = 8192;

/** A bind group with its place in the caches. */
class CachedGroup implements BufferDependent {
  /** When it was last used, on the cache's clock. */
  usedAt = 0;

  constructor(
    readonly group: GPUBindGroup,
    readonly key: string,
    readonly compiled: CompiledKernel,
    readonly buffers: ReadonlySet<DeviceBuffer>,
    readonly all: Set<CachedGroup>,
  ) {
    all.add(this);
    compiled.bindGroups.set(key, this);
    for (const buffer of buffers) buffer.dependents.add(this);
  }

  forget(): void {
    this.all.delete(this);
    this.compiled.bindGroups.delete(this.key);
    for (const buffer of this.buffers) buffer.dependents.delete(this);
  }
}

/** What was compiled on a GPUDevice, by kernel and tuning. */
type Pipelines = Map<KernelSpec, Map<string, KernelPipeline>>;

/** Compiled kernels of each GPUDevice: all that adopt the same one share them. */
const sharedPipelines = new WeakMap<GPUDevice, Pipelines>();

/** The compiled kernels of a GPUDevice; after an error they are compiled anew, as one of them may be what failed. */
function pipelinesOf(device: GPUDevice): Pipelines {
  let pipelines = sharedPipelines.get(device);
  if (!pipelines) {
    sharedPipelines.set(device, pipelines = new Map());
    device.addEventListener("uncapturederror", () => sharedPipelines.delete(device), { once: true });
  }
  return pipelines;
}

/** The value of a key, made where there is none. */
function madeOnce<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, value = make());
  return value;
}

/** Lines of context shown around a compile error. */
const EXCERPT_LINES = 3;

function excerpt(wgsl: string, line: number): string {
  const lines = wgsl.split("\n");
  const from = Math.max(0, line - 1 - EXCERPT_LINES);
  return lines.slice(from, line + EXCERPT_LINES)
    .map((text, i) => `${from + i + 1 === line ? ">" : " "} ${String(from + i + 1).padStart(4)} | ${text}`)
    .join("\n");
}

function compileError({ name, wgsl }: KernelSpec, report: GPUCompilationMessage): ShaderCompileError {
  const { lineNum, linePos, message } = report;
  return new ShaderCompileError(
    `Cannot compile kernel "${name}" at ${lineNum}:${linePos}: ${message}\n${excerpt(wgsl, lineNum)}`,
  );
}

/** Compiles kernels on first use and keeps them. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #uniform: GPUBuffer;
  readonly #compiled = new Map<KernelSpec, Map<string, CompiledKernel>>();
  readonly #reports: Promise<ShaderCompileError | null>[] = [];
  readonly #groups = new Set<CachedGroup>();
  #clock = 0;
  /** Bind groups found in the cache, and made, since the device was made. */
  bindGroupHits = 0;
  bindGroupMisses = 0;
  /** Kernels used, each tuning for itself, since the device was made. */
  pipelines = 0;

  /** `uniform` holds the `Params` structs; every kernel with parameters binds it with a dynamic offset. */
  constructor(device: GPUDevice, uniform: GPUBuffer) {
    this.#device = device;
    this.#uniform = uniform;
  }

  /** The compiled kernel; its WGSL errors are known after `compileError()`. */
  get(kernel: KernelSpec, tuning?: Readonly<Record<string, number>>): CompiledKernel {
    const variants = madeOnce(this.#compiled, kernel, () => new Map<string, CompiledKernel>());
    const key = tuning ? JSON.stringify(tuning) : "";
    return madeOnce(variants, key, () => this.#compile(kernel, { ...kernel.tuning, ...tuning }, key));
  }

  #compile(kernel: KernelSpec, tuning: Record<string, number>, key: string): CompiledKernel {
    const shared = madeOnce(pipelinesOf(this.#device), kernel, () => new Map<string, KernelPipeline>());
    const { pipeline, layout, report } = madeOnce(
      shared,
      key,
      () => kernelPipeline(this.#device, kernel, tuning),
    );
    this.#reports.push(
      report.then((info) => {
        const error = info.messages.find((m) => m.type === "error");
        return error ? compileError(kernel, error) : null;
      }, () => null),
    );
    this.pipelines++;
    return {
      kernel,
      pipeline,
      layout,
      bufferNames: Object.keys(kernel.buffers),
      params: Object.entries(kernel.params),
      tuning,
      bindGroups: new Map(),
    };
  }

  /** The first compile error since the last call, once the compiler has reported on every new kernel. */
  async compileError(): Promise<ShaderCompileError | null> {
    if (this.#reports.length === 0) return null;
    const reports = await Promise.all(this.#reports.splice(0));
    return reports.find((report) => report !== null) ?? null;
  }

  /** The bind group of these views, in binding order. */
  bindGroup(compiled: CompiledKernel, views: readonly BufferView[]): GPUBindGroup {
    let key = "";
    for (const { buffer, offset, size } of views) key += `${buffer.id}:${offset}:${size},`;
    const cached = compiled.bindGroups.get(key);
    if (cached) {
      this.bindGroupHits++;
      cached.usedAt = ++this.#clock;
      return cached.group;
    }
    this.bindGroupMisses++;
    const entries: GPUBindGroupEntry[] = views.map(({ buffer, offset, size }, binding) => ({
      binding,
      resource: { buffer: buffer.gpuBuffer, offset, size: Math.max(4, Math.ceil(size / 4) * 4) },
    }));
    if (compiled.params.length > 0) {
      const size = Math.ceil(compiled.params.length / 4) * 16;
      entries.push({ binding: views.length, resource: { buffer: this.#uniform, offset: 0, size } });
    }
    const group = this.#device.createBindGroup({
      label: compiled.kernel.name,
      layout: compiled.layout,
      entries,
    });
    if (this.#groups.size >= MAX_BIND_GROUPS) this.#dropOldest(MAX_BIND_GROUPS / 2);
    const buffers = new Set(views.map((view) => view.buffer));
    new CachedGroup(group, key, compiled, buffers, this.#groups).usedAt = ++this.#clock;
    return group;
  }

  /** Bind groups in the cache. */
  get bindGroups(): number {
    return this.#groups.size;
  }

  #dropOldest(count: number): void {
    const oldestFirst = [...this.#groups].sort((a, b) => a.usedAt - b.usedAt);
    for (const group of oldestFirst.slice(0, count)) group.forget();
  }
}

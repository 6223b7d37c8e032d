/**
 * Bit flags of the WebGPU specification. The global constants of the same names exist only where a browser defines
 * them; the values are fixed by the specification (https://www.w3.org/TR/webgpu/#namespacedef-gpubufferusage).
 * @module
 */

/** `GPUBufferUsage` bits. */
export const BUFFER_USAGE = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

/** `GPUMapMode.READ`. */
export const MAP_MODE_READ = 0x0001;

/** `GPUShaderStage.COMPUTE`. */
export const SHADER_STAGE_COMPUTE = 0x4;

/**
 * Methods, the settings of a training, and the memory that it takes.
 * @module
 */

export type OptionValue = string | number | boolean | null | readonly string[];

export interface MethodInfo {
  /** `lora`, `dora`, `ia3`, …; `TrainingSettings.method`. */
  readonly method: string;
  /** Such as `LoRA`. */
  readonly title: string;
  /** One line: what it is for. */
  readonly purpose: string;
  readonly isRecommended: boolean;
  readonly options: readonly MethodOption[];
  readonly learningRate: number;
  /** With the default options in the open model; null where `problem` says why it cannot be used there. */
  readonly trainableParameters: number | null;
  /** Adapter, gradients and optimizer on the device. */
  readonly deviceBytes: number | null;
  readonly problem: string | null;
  /** Adapters of it can be written as GGUF, and mixed with others. */
  readonly canExportGguf: boolean;
  readonly canMix: boolean;
}

export interface MethodOption {
  /** Key of `TrainingSettings.options`. */
  readonly name: string;
  readonly title: string;
  readonly help: string;
  readonly type: "integer" | "number" | "boolean" | "choice" | "modules" | "text";
  readonly default: OptionValue;
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** Whether it is for those who know the method: usual ones come first. */
  readonly isAdvanced?: boolean;
}

export interface TrainingSettings {
  /** The adapter's name on the shelf. */
  readonly name: string;
  readonly method: string;
  /** Those that differ from the method's defaults. */
  readonly options: Readonly<Record<string, OptionValue>>;
  /** Optimizer steps. */
  readonly steps: number;
  readonly batchSize: number;
  readonly gradientAccumulation: number;
  readonly learningRate: number;
  readonly schedule: "linear" | "cosine" | "constant" | "constant_with_warmup";
  readonly warmupSteps: number;
  readonly optimizer: "adamw" | "adamw_8bit" | "lion" | "adafactor" | "sgd";
  readonly weightDecay: number;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  readonly seed: number;
  /** Less memory, a third more time. */
  readonly gradientCheckpointing: boolean;
  /** Activations kept as float16: less memory. */
  readonly halfActivations: boolean;
  /** Several short examples in one row. */
  readonly packing: boolean;
  /** Steps between evaluations of the held-out rows, samples and checkpoints; 0: none. */
  readonly evalEvery: number;
  readonly sampleEvery: number;
  readonly checkpointEvery: number;
  /** What samples answer or continue. */
  readonly samplePrompts: readonly string[];
}

/** Device memory of a training. */
export interface MemoryPlan {
  readonly weights: number;
  readonly adapter: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly head: number;
  /** How many parameters train; not bytes. */
  readonly trainableParameters: number;
  readonly total: number;
  readonly budget: number;
  readonly fits: boolean;
  /** Where it does not fit: what would, each a change of the settings that was planned and fits. */
  readonly advice: readonly {
    readonly text: string;
    readonly settings: Partial<TrainingSettings>;
    readonly total: number;
  }[];
}

/**
 * Flags of `finetune` for a training on several machines.
 * @module
 */

import { GRADIENT_COMPRESSIONS, type GradientCompression } from "@peft/webgpu/train";
import { choice, flag, integer, number, text } from "../../options/rules.ts";
import { BROKER_FLAGS, type BrokerValues, TAB_FLAGS, type TabValues } from "../broker_flags.ts";
import { UsageError } from "../usage_error.ts";

/** The flags. */
export const NODE_FLAGS = {
  nodes: {
    rule: integer(1, 1024),
    default: 1,
    help:
      "Processes that compute each step together: this one and workers (./run worker) of --queue; as many times --accumulation batches make a step",
  },
  ...BROKER_FLAGS,
  ...TAB_FLAGS,
  "run-name": {
    rule: text,
    needs: "queue",
    help: "Name of the training on the broker; default: that of --output",
  },
  "ack-wait": {
    rule: number(1, 3600),
    default: 60,
    help: "With --nodes: seconds of silence after which another process computes what a node did",
  },
  "gradient-compression": {
    rule: choice(...GRADIENT_COMPRESSIONS),
    default: "none",
    help:
      "With --nodes: how gradients travel, as float32 or rounded to float16 with error feedback, which is half as much to read",
  },
  discard: {
    rule: flag,
    needs: "queue",
    help: "Remove what an unfinished training of this name left on the broker, and begin anew",
  },
} as const;

/** Their values. */
export interface NodeValues extends BrokerValues, TabValues {
  readonly nodes: number;
  readonly "run-name": string | undefined;
  readonly "ack-wait": number;
  readonly "gradient-compression": GradientCompression;
  readonly discard: boolean;
}

/** Refuses flags that exclude each other. @throws {UsageError} */
export function checkNodeFlags(
  values: NodeValues & { readonly resume: boolean },
  settings: object,
): void {
  const { nodes, queue, resume, discard } = values;
  const refuse = (what: string): never => {
    throw new UsageError(`Cannot run finetune: ${what}`);
  };
  if (nodes > 1 && queue === undefined) {
    refuse(`--nodes must be 1 without --queue, by which nodes find each other, received ${nodes}`);
  }
  if (nodes === 1 && queue !== undefined) {
    refuse("--nodes must be at least 2 with --queue, received 1");
  }
  const compression = values["gradient-compression"];
  if (nodes === 1 && compression !== "none") {
    refuse(`--gradient-compression must be none without --nodes, received ${compression}`);
  }
  if (nodes === 1) return;
  if (resume && discard) refuse("--resume and --discard exclude each other");
  if ("gradientAccumulationSteps" in settings) {
    refuse("--training-options cannot set gradientAccumulationSteps with --nodes: give --accumulation");
  }
  runName(values);
}

/** A path's last part. */
const lastPart = (path: string) => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;

/** Name of the training on the broker. @throws {UsageError} for one that is none */
export function runName({ "run-name": given, output }: {
  readonly "run-name": string | undefined;
  readonly output?: string;
}): string {
  const plain = lastPart(output ?? "").normalize("NFKD").replaceAll(/\p{M}/gu, ""); // é as e
  const name = given ?? plain.replaceAll(/[^A-Za-z0-9_-]/g, "-").slice(0, 48);
  if (/^[A-Za-z0-9_-]{1,48}$/.test(name)) return name;
  throw new UsageError(
    `Cannot run finetune: --run-name must be 1 to 48 letters, digits, - and _, received "${name}"`,
  );
}

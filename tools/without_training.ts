/**
 * Leaves out of a bundle what only training runs: what ops record to compute gradients, the pass through the tape, recorded
 * steps, and what trainers ask of models. What only they use falls away with them.
 * @module
 */

import type { Node } from "acorn";
import MagicString from "magic-string";
import type { Plugin } from "rollup";
import { parseModule, walk } from "./syntax_tree.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** The module with what takes the place of a part that fails when it is called. */
const REFUSAL = "\0training_refused";
const REFUSAL_CODE = `export const refuse = (action) => {
  throw new Error("Cannot " + action + ": a bundle with gradients is required, such as training.js, received the one that answers");
};`;

/** A body that refuses, by what the message says of it. */
const refused = (action: string) => `return refuse(${JSON.stringify(action)});`;

/** Bodies of functions and methods in a bundle without training, by module and name: "name", "Class.name", "set Class.name". */
type Bodies = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Methods of a class that refuse, by their names. */
const refusing = (owner: string, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [`${owner}.${name}`, refused(`call ${name}()`)]));

const ATTENTION_GRADIENTS = {
  backwardQueryBody: refused("run backward"),
  backwardKeyValueBody: refused("run backward"),
};

/** What only training runs. */
export const TRAINING: Bodies = {
  "autograd/ops/gated_product.ts": { gatedGradients: refused("run backward") },
  "autograd/random.ts": {
    "RandomState.from": refused("draw random numbers again"),
  },
  "autograd/record.ts": {
    record: "return op.outputs[0];",
    isWatched: "return false;",
  },
  "autograd/step_inputs.ts": {
    checkStepInput: "",
  },
  "autograd/tape.ts": {
    backward: refused("run backward"),
    isRecording: "return false;",
    noGrad: "return body();",
    wantsGrad: "return false;",
  },
  "autograd/tensor.ts": {
    ...refusing("Tensor", ["add", "attach", "plus"]),
    "Tensor.node": "return null;",
  },
  "kernels/attention_options.ts": { dropoutFunctions: refused("drop attention probabilities") },
  "kernels/attention_subgroup.ts": ATTENTION_GRADIENTS,
  "kernels/attention_tile.ts": ATTENTION_GRADIENTS,
  "kernels/attention_tile_loops.ts": { keepLoop: refused("drop attention probabilities") },
  "gpu/buffer_pool.ts": { "BufferPool.recorded": refused("keep buffers of a recording") },
  "gpu/command_stream.ts": refusing("CommandStream", ["appendRecorded"]),
  "gpu/device.ts": {
    "Device.rehearsal": refused("plan memory"),
    "Device.capture": refused("capture a step"),
    "Device.replay": refused("replay a step"),
    "Device.recording": "return null;",
  },
  "model/causal_lm.ts": {
    ...refusing("CausalLM", ["captureInputs", "gradientCheckpointingEnable"]),
  },
  "model/decoder.ts": {
    "Decoder.#checkpointed": refused("checkpoint gradients"),
    "set Decoder.gradientCheckpointing": refused("set gradientCheckpointing"),
    "set Decoder.neftuneNoiseAlpha": refused("set neftuneNoiseAlpha"),
  },
  "peft/adaptable_model.ts": {
    captureInputsOf: "return undefined;",
    switchCheckpointing: refused("switch gradient checkpointing"),
  },
  "peft/adapters/shared_parts.ts": {
    noBudget: refused("update and allocate"),
    "SharedParts.addLosses": "return output;",
    ...refusing("SharedParts", ["updateAndAllocate", "trainingState", "loadTrainingState"]),
    trainingStateOf: refused("read the state of a training"),
  },
};

/** Where ops are recorded. */
const OPS = "autograd/ops/";

type Named = Node & { readonly name?: string };
type Property = Node & { readonly key?: Named; readonly value: Node };
type Call = Node & {
  readonly callee: Named;
  readonly arguments: readonly (Node & { properties?: Property[] })[];
};
type Function = Node & { readonly id: Named | null; readonly body: Node };
type Method = Node & { readonly key: Named; readonly kind: string; readonly value: Function };
type Class = Node & { readonly id: Named | null; readonly body: Node & { readonly body: readonly Node[] } };

/** Bodies of the functions of a module and of the methods of its classes, by the names that `TRAINING` gives them. */
function bodiesIn(program: Node): Map<string, Node> {
  const bodies = new Map<string, Node>();
  walk(program, (node) => {
    if (node.type === "FunctionDeclaration") {
      const { id, body } = node as Function;
      bodies.set(id!.name!, body);
    }
    if (node.type !== "ClassDeclaration" && node.type !== "ClassExpression") return;
    const { id, body: { body: members } } = node as Class;
    for (const member of members) {
      if (member.type !== "MethodDefinition") continue;
      const { key, kind, value } = member as Method;
      const name = `${id?.name}.${key.type === "PrivateIdentifier" ? "#" : ""}${key.name}`;
      bodies.set(kind === "set" ? `set ${name}` : name, value.body);
    }
  });
  return bodies;
}

/** The calls of `record`, whose results are the first of the outputs that it is given. */
function recordings(program: Node): { readonly call: Node; readonly outputs: Node }[] {
  const found: { call: Node; outputs: Node }[] = [];
  walk(program, (node) => {
    const { callee, arguments: given } = node as Call;
    if (node.type !== "CallExpression" || callee.name !== "record") return;
    const outputs = given[1]?.properties?.find(({ key }) => key?.name === "outputs");
    if (outputs) found.push({ call: node, outputs: outputs.value });
  });
  return found;
}

/**
 * Leaves training out.
 * @throws Error where a module has no function or method of a name in `bodies`
 */
export function withoutTraining(
  bodies: Bodies = TRAINING,
): Plugin & { transform(code: string, id: string): { code: string; map: string } | null } {
  return {
    name: "without training",
    resolveId: (specifier) => specifier === REFUSAL ? specifier : null,
    load: (id) => id === REFUSAL ? REFUSAL_CODE : null,
    transform(code: string, id: string) {
      const [file, part] = id.split("?");
      if (part === "late" || part === "filler" || part === "texts") return null; // what stands for a late module has no code of its own
      const path = file.slice(ROOT.length);
      const replaced = Object.entries(bodies[path] ?? {});
      if (!file.startsWith(ROOT) || replaced.length === 0 && !path.startsWith(OPS)) return null;
      const program = parseModule(code);
      const found = bodiesIn(program);
      const edited = new MagicString(code);
      for (const [name, text] of replaced) {
        const body = found.get(name);
        if (!body) {
          throw new Error(`Cannot leave "${name}" out of ${path}: there is no such function or method`);
        }
        edited.overwrite(body.start, body.end, `{ ${text} }`);
      }
      for (const { call, outputs } of path.startsWith(OPS) ? recordings(program) : []) {
        edited.remove(call.start, outputs.start).remove(outputs.end, call.end).appendRight(
          outputs.end,
          "[0]",
        );
      }
      if (!edited.hasChanged()) return null;
      if (replaced.some(([, text]) => text.includes("refuse("))) {
        edited.prepend(`import { refuse } from ${JSON.stringify(REFUSAL)};`);
      }
      return { code: edited.toString(), map: edited.generateMap({ hires: "boundary" }).toString() };
    },
  };
}

import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, Device, RandomState, type Shape, Tensor, tidy } from "../../autograd/mod.ts";
import {
  Conv1D,
  Dropout,
  Embedding,
  Initializer,
  LayerNorm,
  Linear,
  Module,
  ModuleDict,
  Parameter,
  ParameterDict,
} from "../../nn/mod.ts";

const device = await freshDevice();

async function freshDevice(): Promise<Device> {
  return Device.create({ device: (await defaultDevice()).gpuDevice });
}

let value = 0;
/** A parameter of numbers nobody else has. */
function parameter(shape: Shape, on = device): Parameter {
  const size = shape.reduce((a, b) => a * b, 1);
  return Parameter.from(Float32Array.from({ length: size }, () => ++value), { device: on, shape });
}

class Block extends Module {
  first: Linear;
  second: Conv1D;
  notes = ["no module", 3];
  constructor(on = device) {
    super();
    this.first = new Linear(parameter([3, 2], on), parameter([3], on));
    this.second = new Conv1D(parameter([3, 4], on), parameter([4], on));
  }
}

class Net extends Module {
  wte: Embedding;
  h: Block[];
  ln: LayerNorm;
  lm_head: Linear;
  constructor(on = device) {
    super();
    this.wte = new Embedding(parameter([5, 2], on));
    this.h = [new Block(on), new Block(on)];
    this.ln = new LayerNorm(parameter([2], on), parameter([2], on));
    this.lm_head = new Linear(this.wte.weight);
  }
}

const NAMES = [
  "wte.weight",
  "h.0.first.weight",
  "h.0.first.bias",
  "h.0.second.weight",
  "h.0.second.bias",
  "h.1.first.weight",
  "h.1.first.bias",
  "h.1.second.weight",
  "h.1.second.bias",
  "ln.weight",
  "ln.bias",
];

Deno.test("namedParameters() gives every path once, a tied weight by its first name", () => {
  const net = new Net();
  assertEquals([...net.namedParameters()].map(([name]) => name), NAMES);
  assertEquals([...net.parameters()].length, NAMES.length);
  assertEquals([...net.namedParameters("base")][0][0], "base.wte.weight");
  assert(net.lm_head.weight === net.wte.weight);
});

Deno.test("namedModules() goes parents first, arrays by number, the root as empty path", () => {
  const paths = [...new Net().namedModules()].map(([path]) => path);
  assertEquals(paths, [
    "",
    "wte",
    "h.0",
    "h.0.first",
    "h.0.second",
    "h.1",
    "h.1.first",
    "h.1.second",
    "ln",
    "lm_head",
  ]);
});

Deno.test("stateDict() has every path, tied weights under each of their names", () => {
  const net = new Net();
  const state = net.stateDict();
  assertEquals([...state.keys()], [...NAMES, "lm_head.weight"]);
  assert(state.get("lm_head.weight") === state.get("wte.weight"));
});

Deno.test("getSubmodule() finds paths and names the part that is missing", () => {
  const net = new Net();
  assert(net.getSubmodule("h.1.second") === net.h[1].second);
  assert(net.getSubmodule("") === net);
  assertThrows(
    () => net.getSubmodule("h.2.first"),
    RangeError,
    'Cannot find module "h.2.first": there is no "h.2.first" in it',
  );
  assertThrows(() => net.getSubmodule("h.0.third"), RangeError, 'there is no "third" in it');
});

Deno.test("setSubmodule() replaces a module in place, in arrays too, and not the root", () => {
  const net = new Net();
  const linear = new Linear(parameter([3, 2]));
  net.setSubmodule("h.0.first", linear);
  assert(net.h[0].first === linear);
  const block = new Block();
  net.setSubmodule("h.1", block);
  assert(net.h[1] === block);
  assertThrows(() => net.setSubmodule("", block), RangeError, 'Cannot replace module ""');
  assertThrows(() => net.setSubmodule("nothing", block), RangeError, 'Cannot find module "nothing"');
});

Deno.test("setSubmodule() of a module that sits in two places replaces the one at the path", () => {
  class Twice extends Module {
    a: Linear;
    b: Linear;
    constructor() {
      super();
      this.a = this.b = new Linear(parameter([2, 2]));
    }
  }
  const twice = new Twice();
  const other = new Linear(parameter([2, 2]));
  twice.setSubmodule("b", other);
  assert(twice.b === other && twice.a !== other);
});

Deno.test("train(), eval() and requiresGrad_() reach every module below", () => {
  const net = new Net();
  assert([...net.namedModules()].every(([, module]) => module.training));
  assert(net.eval() === net);
  assert([...net.namedModules()].every(([, module]) => !module.training));
  net.h[0].train();
  assert(net.h[0].second.training && !net.h[1].second.training);
  net.requiresGrad_(false);
  assert([...net.parameters()].every((p) => !p.requiresGrad));
  net.h[1].requiresGrad_();
  assertEquals([...net.parameters()].filter((p) => p.requiresGrad).length, 4);
});

Deno.test("requiresGrad_() leaves float16 parameters frozen", () => {
  const half = new Parameter(Tensor.from(Uint16Array.of(1, 2), { device, shape: [1, 2] }));
  const layer = new Linear(half).requiresGrad_(true);
  assert(!layer.weight.requiresGrad);
});

Deno.test("loadStateDict() copies every value and keeps the parameters themselves", async () => {
  const [source, target] = [new Net(), new Net()];
  const before = target.wte.weight;
  const result = target.loadStateDict(source.stateDict());
  assertEquals(result, { missingKeys: [], unexpectedKeys: [] });
  assert(target.wte.weight === before);
  for (const [name, parameter] of target.namedParameters()) {
    assertEquals(await parameter.data(), await source.stateDict().get(name)!.data(), name);
  }
  source.h[0].first.weight.write(new Float32Array(6));
  assert((await target.h[0].first.weight.data())[0] !== 0, "values are copied, not shared");
});

Deno.test("loadStateDict() lists every mismatch in one error and copies nothing then", async () => {
  const net = new Net();
  const state = new Net().stateDict();
  const before = await net.ln.bias.data();
  state.delete("h.0.first.bias");
  state.set("ln.weight", parameter([3]));
  state.set("extra", parameter([1]));
  state.set("h.1.first.bias", Tensor.from(Int32Array.of(1, 2, 3), { device }));
  const error = assertThrows(() => net.loadStateDict(state), TypeError);
  assertEquals(
    error.message,
    'Cannot load the state dict, 4 tensors differ: "h.1.first.bias" expected float32, found int32; ' +
      '"ln.weight" expected [2], found [3]; "h.0.first.bias" is missing; "extra" is unexpected',
  );
  assertEquals(await net.ln.bias.data(), before);
});

Deno.test("loadStateDict() with strict false takes what fits by name and reports the rest", async () => {
  const net = new Net();
  const state = new Map([["ln.bias", parameter([2])], ["extra", parameter([1])]]);
  const { missingKeys, unexpectedKeys } = net.loadStateDict(state, { strict: false });
  assertEquals(missingKeys.length, NAMES.length); // all but ln.bias, and lm_head.weight
  assertEquals(unexpectedKeys, ["extra"]);
  assertEquals(await net.ln.bias.data(), await state.get("ln.bias")!.data());
  state.set("ln.weight", parameter([9]));
  assertThrows(() => net.loadStateDict(state, { strict: false }), TypeError, '1 tensor differs: "ln.weight"');
});

Deno.test("loadStateDict() lists twenty mismatches and counts the others", () => {
  const blocks = new ModuleDict<Block>();
  for (let i = 0; i < 6; i++) blocks.set(`${i}`, new Block());
  const error = assertThrows(() => blocks.loadStateDict(new Map()), TypeError);
  assert(error.message.endsWith("; and 4 more"), error.message);
});

Deno.test("clone() has parameters of its own with the same values and flags", async () => {
  const net = new Net();
  net.h[0].requiresGrad_(false);
  net.eval();
  const copy = net.clone();
  assertEquals([...copy.namedParameters()].map(([name]) => name).slice(0, 3), NAMES.slice(0, 3));
  assert(copy.h[0].first !== net.h[0].first && copy.h[0].first instanceof Linear);
  assertEquals(copy.h[0].first.weight.requiresGrad, false);
  assertEquals(copy.h[1].first.weight.requiresGrad, true);
  assert(!copy.training);
  assert(
    copy.lm_head.weight === copy.wte.weight && copy.wte.weight !== net.wte.weight,
    "tied ones stay tied",
  );
  const before = await net.ln.weight.data();
  copy.ln.weight.write(new Float32Array(2));
  assertEquals(await net.ln.weight.data(), before);
});

Deno.test("ModuleDict and ParameterDict name their items, replace, delete and dispose", async () => {
  const on = await freshDevice();
  const modules = new ModuleDict<Linear>();
  modules.set("default", new Linear(parameter([2, 2], on)));
  modules.set("other", new Linear(parameter([2, 2], on)));
  assertEquals([...modules.namedParameters()].map(([name]) => name), ["default.weight", "other.weight"]);
  assert(modules.getSubmodule("other") === modules.get("other"));
  modules.delete("default");
  assertEquals(modules.keys(), ["other"]);
  assert(!modules.has("default") && modules.get("default") === undefined);
  const vectors = new ParameterDict();
  vectors.set("a", parameter([3], on));
  assertEquals([...vectors.namedParameters()].map(([name]) => name), ["a"]);
  vectors.delete("a");
  modules.dispose();
  assertEquals(on.memory.liveBytes, 0);
});

Deno.test("dispose() frees every parameter once", async () => {
  const on = await freshDevice();
  const net = new Net(on);
  assert(on.memory.liveBytes > 0);
  net.dispose();
  assertEquals(on.memory.liveBytes, 0);
});

Deno.test("a Parameter outlives the scope it is made in and takes over its source's memory", async () => {
  const on = await freshDevice();
  const weight = tidy(() => {
    const made = new Parameter(Tensor.from([1, 2], { device: on }));
    Tensor.from([3], { device: on });
    return [made.requiresGrad, made] as const;
  })[1];
  assertEquals(on.memory.buffers, 1);
  assert(!weight.isDisposed && weight.requiresGrad);
  weight.dispose();
  const ids = new Parameter(Tensor.from(Int32Array.of(1), { device: on }));
  assert(!ids.requiresGrad);
  ids.dispose();
  assertEquals(on.memory.buffers, 0);
});

Deno.test("Initializer draws another stream for each parameter and the same for the same seed", async () => {
  const draw = async (seed: number) => {
    const init = new Initializer(device, seed);
    const made = [init.normal([8], 1), init.uniform([8], 1), init.normal([8], 1), init.constant([2], 0.5)];
    return await Promise.all(made.map(async (p) => [...await p.data()].join()));
  };
  const [first, again, other] = [await draw(1), await draw(1), await draw(2)];
  assertEquals(first, again);
  assertEquals(new Set([...first, ...other]).size, 7);
  assertEquals(first[3], "0.5,0.5");
});

Deno.test("Dropout acts while training alone and refuses what is no probability", async () => {
  const random = new RandomState(device, 0);
  const drop = new Dropout(0.5, random);
  const x = Tensor.from(new Float32Array(64).fill(1), { device });
  assert(drop.isActive && drop.forward(x) !== x);
  drop.eval();
  assert(!drop.isActive && drop.forward(x) === x);
  assert(!new Dropout(0, random).isActive);
  for (const p of [-1, 1.5, NaN]) {
    assertThrows(() => new Dropout(p, random), RangeError, "Cannot set dropout: a number from 0 to 1");
  }
  await x.data();
});

Deno.test("Linear, Conv1D, Embedding and LayerNorm compute what PyTorch's do", async () => {
  const x = Tensor.from([[1, 2]], { device });
  const weight = () => Parameter.from([[1, 0], [0, 1], [1, 1]], { device });
  const linear = new Linear(weight(), Parameter.from([10, 20, 30], { device }));
  assertEquals([...await linear.forward(x).data()], [11, 22, 33]);
  assertEquals([linear.inFeatures, linear.outFeatures], [2, 3]);
  const bare = new Linear(weight());
  assertEquals([...await bare.forward(x).data()], [1, 2, 3]);
  const conv = new Conv1D(
    Parameter.from([[1, 0, 1], [0, 1, 1]], { device }),
    Parameter.from([10, 20, 30], { device }),
  );
  assertEquals([...await conv.forward(x).data()], [11, 22, 33]);
  assertEquals([conv.inFeatures, conv.outFeatures], [2, 3]);
  const table = new Embedding(weight());
  assertEquals([...await table.forward(Tensor.from(Int32Array.of(2, 0), { device })).data()], [1, 1, 1, 0]);
  const norm = new LayerNorm(
    Parameter.from([1, 1], { device }),
    Parameter.from([0, 5], { device }),
    1e-12,
  );
  const [a, b] = await norm.forward(x).data();
  assert(Math.abs(a + 1) < 1e-5 && Math.abs(b - 6) < 1e-5, `${a}, ${b}`);
});

Deno.test("Initializer that does not draw leaves random values unset without a launch, and sets constants", async () => {
  const init = new Initializer(device, 1, false);
  const { dispatches } = device.stats;
  const unset = [init.normal([2, 3], 1), init.uniform([4], 1), init.truncatedNormal([5, 1], 1, 2)];
  assertEquals(device.stats.dispatches, dispatches);
  assertEquals(unset.map(({ shape }) => shape), [[2, 3], [4], [5, 1]]);
  const constant = init.constant([2], 3);
  assertEquals([...await constant.data()], [3, 3]);
  for (const parameter of [...unset, constant]) parameter.dispose();
});

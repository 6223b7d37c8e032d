// A program of somebody who installed the package: a forward, a training step, a folder saved and read again.
import { create, globals } from "webgpu";
import { mkdtemp, rm } from "node:fs/promises";
import {
  AutoModelForCausalLM,
  getPeftModel,
  GPT2Config,
  GPT2LMHeadModel,
  initDevice,
  LoraConfig,
  PeftModel,
  Trainer,
} from "@peft/webgpu";
import { Tensor } from "@peft/webgpu/tensor";
import { AutoTokenizer } from "@peft/webgpu/tokenizer";
import { GgufError } from "@peft/webgpu/gguf";
import { HubError } from "@peft/webgpu/hub";

Object.assign(globalThis, globals);
const device = await initDevice({ gpu: create([]) });
const fields = {
  residPdrop: 0,
  embdPdrop: 0,
  attnPdrop: 0,
  vocabSize: 64,
  nPositions: 16,
  nEmbd: 32,
  nLayer: 2,
  nHead: 2,
  bosTokenId: 0,
  eosTokenId: 0,
};
const model = new GPT2LMHeadModel(new GPT2Config(fields), { device, seed: 1 });
const folder = await mkdtemp("saved-");
await model.savePretrained(folder);
const peftModel = getPeftModel(model, new LoraConfig({ r: 4, targetModules: ["c_attn"] }));
const { logits } = peftModel.forward({ inputIds: [[1, 2, 3]] });
const before = [...(await logits.data())];
const example = { inputIds: [1, 2, 3, 4, 5, 6, 7, 8] };
const args = { maxSteps: 4, learningRate: 0.01, reportTo: "none", loggingSteps: 1 };
const trainer = new Trainer({ model: peftModel, args, trainDataset: { length: 1, at: () => example } });
await trainer.train();
await peftModel.savePretrained(`${folder}/adapter`);
const loaded = await PeftModel.fromPretrained(
  await AutoModelForCausalLM.fromPretrained(folder),
  `${folder}/adapter`,
);
const trained = [...(await loaded.forward({ inputIds: [[1, 2, 3]] }).logits.data())];
const own = [...(await peftModel.eval().forward({ inputIds: [[1, 2, 3]] }).logits.data())];
const tokenizer = await AutoTokenizer.fromPretrained(process.argv[2]);
await rm(folder, { recursive: true });
console.log(JSON.stringify({
  shape: logits.shape,
  losses: trainer.state.logHistory.map(({ loss }) => loss).filter((loss) => loss !== undefined),
  changed: before.some((value, i) => value !== trained[i]),
  same: own.every((value, i) => value === trained[i]),
  text: tokenizer.decode(tokenizer.encode("Ahoy, matey")),
  classes: [Tensor, GgufError, HubError].map(({ name }) => name),
}));
process.exit(0); // Dawn's device would keep the process

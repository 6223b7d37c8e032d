// A program that TypeScript checks against the types of the package; it never runs.
import { AutoModelForCausalLM, getPeftModel, LoraConfig, Trainer } from "@peft/webgpu";
import type { JetStreamBroker } from "@peft/webgpu/distributed";
import { exportGguf } from "@peft/webgpu/gguf";
import { initDevice } from "@peft/webgpu/gpu";
import { type CommitInfo, uploadFolder } from "@peft/webgpu/hub";
import type * as inference from "@peft/webgpu/inference";
import { memoryFolder } from "@peft/webgpu/io";
import type { GPT2LMHeadModel } from "@peft/webgpu/model";
import type { PeftModel } from "@peft/webgpu/peft";
import { type App, createApp } from "@peft/webgpu/serve";
import { matmul } from "@peft/webgpu/tensor";
import { AutoTokenizer } from "@peft/webgpu/tokenizer";
import type { TrainOutput } from "@peft/webgpu/train";
import type * as training from "@peft/webgpu/training";
import { tuneKernels } from "@peft/webgpu/tuning";

/** Everything with its types. */
export async function consume(gpuDevice: GPUDevice): Promise<CommitInfo> {
  const device = await initDevice({ device: gpuDevice });
  const model = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>("gpt2", { device });
  const peftModel: PeftModel<GPT2LMHeadModel> = getPeftModel(model, new LoraConfig({ r: 4 }));
  const shape: readonly number[] = peftModel.forward({ inputIds: [[1]] }).logits.shape;
  const { trainingLoss }: TrainOutput = await new Trainer({ model: peftModel }).train();
  const { inputIds } = (await AutoTokenizer.fromPretrained("gpt2"))("Ahoy");
  // @ts-expect-error a misspelt field of a configuration
  new LoraConfig({ rank: 4 });
  console.log(shape, trainingLoss.toFixed(2), inputIds[0][0] + 1, [
    exportGguf,
    memoryFolder,
    matmul,
    tuneKernels,
    createApp,
  ]);
  return await uploadFolder("me/adapter", "out", { private: true });
}

/** Types of the other entries. */
export interface Others {
  broker: JetStreamBroker;
  app: App;
  pages: [typeof inference.PeftModel, typeof training.Trainer];
}

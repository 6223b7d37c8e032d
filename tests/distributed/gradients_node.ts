/**
 * One process of a training on several: a small model, whose steps it shares with others over NATS. Prints the SHA-256 of
 * what was trained, and its counts.
 * Run: deno run -A tests/distributed/gradients_node.ts URL HOLDER SHARES STEPS [milliseconds that a share takes at least]
 * @module
 */

import { createHash } from "node:crypto";
import { getPeftModel, LoraConfig, Trainer } from "@peft/webgpu";
import { JetStreamBroker, SharedGradients } from "@peft/webgpu/distributed";
import { countingData, tinyModel } from "../train/tiny_run.ts";

/** Trains, alone or with others; the hash of what was trained. */
export async function trainShares(
  gradientExchange: SharedGradients | undefined,
  { shares, steps }: { shares: number; steps: number },
): Promise<string> {
  const model = getPeftModel(
    await tinyModel(0.1),
    new LoraConfig({ r: 4, targetModules: ["c_attn"], loraDropout: 0.2 }),
    "default",
    { seed: 5 },
  );
  const trainer = new Trainer({
    model,
    args: {
      maxSteps: steps,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: shares,
      learningRate: 1e-2,
      reportTo: "none",
    },
    trainDataset: countingData(21),
    ...gradientExchange && { gradientExchange },
  });
  await trainer.train();
  const hash = createHash("sha256");
  for (const parameter of model.parameters()) {
    if (parameter.requiresGrad) hash.update(new Uint8Array((await parameter.data()).buffer));
  }
  model.dispose();
  return hash.digest("hex");
}

/** The same, each share computed no faster than this. */
class SlowGradients extends SharedGradients {
  slowMs = 0;

  override exchange(...[step, shares, compute, signal]: Parameters<SharedGradients["exchange"]>) {
    const slow: typeof compute = async (share, previous) => {
      const [computed] = await Promise.all([
        compute(share, previous),
        new Promise((resolve) => setTimeout(resolve, this.slowMs)),
      ]);
      console.log(`step ${step} share ${share}`);
      return computed;
    };
    return super.exchange(step, shares, slow, signal);
  }
}

if (import.meta.main) {
  const [url, holder, shares, steps, slowMs = "0"] = Deno.args;
  const broker = await JetStreamBroker.connect({ url });
  const gradients = new SlowGradients({
    store: await broker.objects("run"),
    alive: await broker.records("run-alive", { ttlSeconds: 2 }),
    ...{ holder, shares: Number(shares), say: (line: string) => console.log(line) },
  });
  gradients.slowMs = Number(slowMs);
  const hash = await trainShares(gradients, { shares: Number(shares), steps: Number(steps) });
  await gradients.leave();
  console.log(JSON.stringify({ hash, ...gradients.counts }));
  await broker.close();
  Deno.exit(0);
}

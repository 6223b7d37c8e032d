/**
 * Sweeps by real processes over a real broker: whoever joins, leaves or is killed, the numbers are those of one process.
 * @module
 */

import { existsSync } from "node:fs";
import { assertEquals, assertMatch } from "@std/assert";
import { JetStreamBroker } from "@peft/webgpu/distributed";
import { finetune } from "../../cli/training/finetune.ts";
import { defaultDevice } from "../../autograd/mod.ts";
import { parseFlags } from "../../cli/command.ts";
import { placeOf } from "../../jobs/sweep/protocol.ts";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";
import {
  outcomeOf,
  resultsOf,
  runSweep,
  SweepProcess,
  until,
  WorkerProcess,
  writeTinySweep,
} from "./tiny_sweep.ts";

const GRID = {
  name: "tiny",
  method: "grid",
  parameters: { lr: { values: [1e-3, 5e-2] }, rank: { values: [2, 4] } },
};

Deno.test("sweep without a broker trains what finetune does, keeps the best, and leaves nothing else", () =>
  inFolder(async (folder) => {
    const { model, file } = await writeTinySweep(folder, GRID);
    const output = `${folder}/out`;
    await Deno.mkdir(output);
    await Deno.writeTextFile(`${output}/README.md`, "---\nlicense: mit\n---\n\nMy notes.\n");
    const { memory } = await defaultDevice();
    const before = memory.liveBytes;
    const { result, lines } = await runSweep("--file", file, "--output", output);
    assertEquals(memory.liveBytes, before, "trials give their memory back");
    const { trials, best } = JSON.parse(await Deno.readTextFile(`${output}/sweep.json`));
    assertEquals(trials.map(({ choice }: { choice: unknown }) => choice), [
      { lr: 1e-3, rank: 2 },
      { lr: 1e-3, rank: 4 },
      { lr: 5e-2, rank: 2 },
      { lr: 5e-2, rank: 4 },
    ]);
    const losses: number[] = trials.map(({ metrics }: { metrics: { evalLoss: number } }) => metrics.evalLoss);
    assertEquals([result.best, result.measure, best], [
      losses.indexOf(Math.min(...losses)),
      Math.min(...losses),
      result.best,
    ]);
    assertEquals(new Set(losses).size, 4);
    const { lr, rank } = result.choice as { lr: number; rank: number };
    const alone = await finetune.run(
      parseFlags(finetune, [
        ...["--model", model, "--data", `${folder}/train.jsonl`, "--eval-data", `${folder}/held_out.jsonl`],
        ...["--batch-size", "2", "--block-size", "24", "--dropout", "0.1", "--max-steps", "12"],
        ...["--lr", `${lr}`, "--rank", `${rank}`, "--output", `${folder}/alone`],
      ])!,
    ) as unknown as { after: { evalLoss: number } };
    assertEquals(alone.after.evalLoss, result.measure);
    const adapters = await Promise.all(
      [output, `${folder}/alone`].map((one) => Deno.readFile(`${one}/adapter_model.safetensors`)),
    );
    assertEquals(adapters[0], adapters[1]);
    assertMatch(
      lines.join("\n"),
      /^sweep "tiny": 4 trials\n(?:trial \d .*\n){4}trial +lr +rank +state +step +evalLoss/,
    );
    const names = [...Deno.readDirSync(output)].map(({ name }) => name).sort();
    assertEquals(names, [
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "report.html",
      "sweep.json",
    ]);
    const card = await Deno.readTextFile(`${output}/README.md`);
    assertMatch(
      card,
      /^---\nlicense: mit\nbase_model: .+\nlibrary_name: peft\npipeline_tag: .+\n---\n\nMy notes\.\n/,
    );
    assertMatch(card, /\| sweep \| trial \d of 4, grid \|[^]*### Framework versions/);
    const page = await Deno.readTextFile(`${output}/report.html`);
    assertMatch(page, /loss by trial[^]*gradNorm by trial/);
    assertEquals(page.match(/<td>trained<\/td>/g)?.length, 4);
  }));

Deno.test("successive halving ends the worse trials at rungs; the others are trained as without it; a sweep that is interrupted goes on", () =>
  inFolder(async (folder) => {
    const { file } = await writeTinySweep(folder, {
      ...{
        name: "halving",
        method: "successive_halving",
        trials: 4,
        seed: 1,
        min_resource: 3,
        reduction_factor: 2,
      },
      parameters: {
        lr: { min: 1e-3, max: 1e-1, distribution: "log_uniform_values" },
        rank: { values: [2, 4] },
      },
    });
    const output = `${folder}/halving`;
    const process = new SweepProcess("--file", file, "--output", output);
    const state = `${output}/sweep_state/sweep-halving/objects`;
    const isThere = () => [...Deno.readDirSync(state)].some(({ name }) => name.startsWith("trial-1"));
    await until("the second trial has a checkpoint", () => existsSync(state) && isThere());
    assertEquals((await process.end("SIGINT")).code, 130, process.text);
    assertMatch(process.text, /give the same command with --resume to go on/);
    const { result } = await runSweep("--file", file, "--output", output, "--resume");
    const halving = await resultsOf(output);
    const steps = halving.map(({ step, state }) => [step, state] as const).sort(([a], [b]) => a - b);
    assertEquals(steps, [[3, "ended early"], [3, "ended early"], [6, "ended early"], [12, "trained"]]);
    const best = result.best as number;
    assertEquals(halving[best].state, "trained");

    const { min_resource: _, reduction_factor: __, ...rest } = JSON.parse(await Deno.readTextFile(file));
    await Deno.writeTextFile(file, JSON.stringify({ ...rest, name: "random", method: "random" }));
    const anew = await runSweep("--file", file, "--output", `${folder}/random`, "--resume");
    assertEquals(anew.lines[0], 'no unfinished sweep "random" is here: it starts from the beginning');
    const whole = await resultsOf(`${folder}/random`);
    assertEquals(whole.map(({ choice }) => choice), halving.map(({ choice }) => choice));
    assertEquals(halving[best].metrics, whole[best].metrics, "rungs change no bit");
    for (const [i, { step, curves }] of halving.entries()) {
      assertEquals(curves.loss, whole[i].curves.loss.filter(([at]) => at <= step));
    }
  }));

Deno.test({
  name:
    "NATS: a sweep by workers of which one is killed, one leaves and one joins, over a broker that is killed and restarted, is that of one process to the bit",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      const { model, file } = await writeTinySweep(folder, GRID, { "max-steps": 60, "save-steps": 5 });
      await runSweep("--file", file, "--output", `${folder}/one`);
      const expected = await outcomeOf(`${folder}/one`);

      await using server = await NatsServer.start();
      const args = ["--queue", server.url, "--allow-model", model, "--work", `${folder}/work`];
      const workers = [new WorkerProcess(...args), new WorkerProcess(...args)];
      const impatient = ["--ack-wait", "3", "--max-starts", "100"]; // also where other tests hold workers up
      const output = `${folder}/many`;
      const running = runSweep("--file", file, "--output", output, "--queue", server.url, ...impatient);
      const broker = await JetStreamBroker.connect({ url: server.url });
      const hasCheckpoint = async (trial: number) => {
        const names = await (await broker.objects(placeOf("tiny"))).list();
        return names.some((name) =>
          name.startsWith(`trial-${trial}/checkpoints/`) && name.endsWith("manifest.json")
        );
      };
      /** Whether a worker is amid a trial that has a checkpoint. */
      const isAmid = async ({ text }: WorkerProcess) => {
        const last = text.split("\n").findLast((line) => /^trial \d+: /.test(line)) ?? "";
        const [, trial] = /^trial (\d+): (?:begins|goes on)/.exec(last) ?? [];
        return trial !== undefined && await hasCheckpoint(Number(trial));
      };
      await until("one is amid a trial", () => isAmid(workers[0]));
      assertEquals((await workers[0].end("SIGKILL")).signal, "SIGKILL");
      await until("the other is amid a trial", () => isAmid(workers[1]));
      const left = await workers[1].end("SIGTERM");
      assertEquals(left.code, 0, workers[1].text);
      assertMatch(workers[1].text, /trial \d: given back/);
      const late = new WorkerProcess("--sweep", "tiny", ...args);
      await until("a trial is taken over", () => /trial \d: goes on from step \d+/.test(late.text));
      await server.stop();
      const absent = new WorkerProcess(...args);
      assertEquals((await absent.status()).code, 1);
      assertMatch(
        absent.text,
        /^error: Cannot connect to NATS at 127\.0\.0\.1:\d+: a broker that answers is required/m,
      );
      await server.begin();
      const last = new WorkerProcess(...args);
      const { lines } = await running;
      await broker.close();
      assertEquals(await outcomeOf(`${folder}/many`), expected);
      assertMatch(lines.join("\n"), /waiting: Cannot .*: a broker that answers is required/);
      for (const worker of [late, last]) assertEquals((await worker.end("SIGTERM")).code, 0, worker.text);
      assertMatch(late.text, /the broker is away; waiting for it\nthe broker is back/);
    }),
});

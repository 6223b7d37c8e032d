/**
 * What sweeps and workers refuse, and what a broker in trouble does to them: an error that says it, and trials unharmed.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { VERSION } from "@peft/webgpu";
import { type Broker, JetStreamBroker, LocalBroker, readObject } from "@peft/webgpu/distributed";
import { diskStore } from "@peft/webgpu/io";
import { beginSweep, type BegunSweep, Controller, type TrialStatus } from "../../cli/sweep/controller.ts";
import { findBase } from "../../cli/sweep/files.ts";
import {
  claimKey,
  jobId,
  readClaim,
  readJob,
  readResult,
  resultKey,
  type SweepRecord,
  SWEEPS,
} from "../../jobs/sweep/protocol.ts";
import { planSweep, readSweep } from "../../cli/sweep/sweep_file.ts";
import { TrialStore } from "../../jobs/trial_store.ts";
import { worker } from "../../cli/sweep/worker.ts";
import { judgeSweep, workOn } from "../../jobs/sweep/worker_loop.ts";
import { sweepMetrics } from "../../cli/sweep/sweep_metrics.ts";
import { serveMetrics, WorkerMetrics } from "../../cli/sweep/worker_metrics.ts";
import { parseFlags } from "../../cli/command.ts";
import { isUserError } from "../../jobs/user_errors.ts";
import { freePort } from "../free_port.ts";
import { inFolder } from "../train/tiny_run.ts";
import { NATS_SERVER, NatsServer } from "./nats_server.ts";
import { runSweep, type TinySweep, until, writeTinyModel, writeTinySweep } from "./tiny_sweep.ts";

const TWO = { name: "tiny", method: "grid", parameters: { lr: { values: [1e-3, 5e-2] } } };

/** The message of an error that is the user's to mend. */
async function refused(work: () => unknown): Promise<string> {
  const error = await assertRejects(async () => await work(), Error);
  assert(isUserError(error), String(error.stack));
  return error.message;
}

/** Begins a sweep as the command does. */
async function begin(
  broker: Broker,
  { file, model }: TinySweep,
  more: Record<string, unknown> = {},
): Promise<BegunSweep> {
  return await beginSweep(broker, await readSweep(file), {
    ...{
      base: await findBase(model),
      version: VERSION,
      ackWaitMs: 5000,
      maxStarts: 2,
      holder: "another process",
    },
    ...{ resume: false, discard: false, ...more },
  });
}

/** A worker in this process. */
async function startWorker(broker: Broker, model: string, work: string, sweep: string | null = null) {
  const stop = new AbortController();
  const lines: string[] = [];
  const metrics = new WorkerMetrics();
  const facts = {
    name: "here",
    version: VERSION,
    bases: [await findBase(model)],
    metrics,
    patienceMs: 30_000,
  };
  const done = workOn(broker, { ...facts, say: (line) => void lines.push(line) }, {
    ...{ sweep, work: diskStore(work), idleSeconds: null, signal: stop.signal },
  });
  done.catch(() => {});
  const end = async () => {
    stop.abort();
    await done;
  };
  return { lines, metrics, done, end };
}

const silent = { changed() {}, say() {} };

Deno.test("sweep and worker say that a broker is not there, and what flags they lack", () =>
  inFolder(async (folder) => {
    const sweep = await writeTinySweep(folder, TWO);
    const url = `nats://127.0.0.1:${freePort()}`;
    const absent = /^Cannot connect to NATS at 127\.0\.0\.1:\d+: a broker that answers is required/;
    assertMatch(
      await refused(() => runSweep("--file", sweep.file, "--output", `${folder}/o`, "--queue", url)),
      absent,
    );
    const work = (...args: string[]) => worker.run(parseFlags(worker, args)!);
    assertMatch(await refused(() => work("--queue", url, "--allow-model", sweep.model)), absent);
    assertMatch(
      await refused(() => work("--queue", url, "--allow-model", `${folder}/none`)),
      /^Cannot find the base model "[^"]+\/none": there is no such folder or file$/,
    );
    assertMatch(
      await refused(() => work("--queue", url, "--allow-model", ",")),
      /--allow-model must name a model/,
    );
    assertMatch(
      await refused(() => work("--queue", url, "--allow-model", sweep.model, "--creds", `${folder}/none`)),
      /--creds must be a file, received/,
    );
    assertMatch(
      await refused(() => parseFlags(worker, ["--allow-model", "m"])),
      /--queue is required/,
    );
    assertMatch(
      await refused(() => runSweep("--file", sweep.file, "--output", folder, "--creds", "a")),
      /--creds needs --queue/,
    );
  }));

Deno.test("judgeSweep() refuses another version, protocol and base by name", () => {
  const record: SweepRecord = {
    ...{
      protocol: 1,
      version: "1.2.3",
      name: "s",
      model: "gpt2",
      base: "a".repeat(64),
      maxStarts: 5,
      plan: "b".repeat(64),
    },
    ...{ data: [], evalData: null, begun: 0 },
  };
  const facts = (version: string, hash: string) => ({ version, bases: [{ name: "mine", path: "/m", hash }] });
  const judge = (fields: Record<string, unknown>, hash = "a".repeat(64)) =>
    judgeSweep("s", JSON.stringify({ ...record, ...fields }), facts("1.2.3", hash)).refusal;
  assertEquals(judge({}), null);
  const start = 'Cannot join the sweep "s": ';
  assertEquals(
    judge({ version: "1.2.4" }),
    `${start}@peft/webgpu 1.2.4 (protocol 1), with which it was begun, is required, received 1.2.3 (protocol 1)`,
  );
  assertMatch(
    judge({ protocol: 9, unknown: "form" })!,
    /\(protocol 9\), .* received 1\.2\.3 \(protocol 1\)$/,
  );
  assertEquals(
    judge({}, "c".repeat(64)),
    `${start}its base model "gpt2" (SHA-256 aaaaaaaaaaaa) must be one of --allow-model, received "mine" (SHA-256 cccccccccccc)`,
  );
  assertMatch(
    judge({ plan: 3 })!,
    /^Cannot join the sweep "s": Cannot read a sweep's record: "plan": string is required/,
  );
  const outside = [{ path: "../x", files: [] }];
  assertMatch(judge({ data: outside })!, /"data\.0\.path": a relative path is required/);
});

Deno.test("a job sets flags of training alone, and its files stay in their folder", () =>
  inFolder(async (folder) => {
    const bytes = (value: unknown) =>
      new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
    for (
      const body of ["", "[]", { trial: -1, until: null, given: {} }, {
        trial: 0,
        until: null,
        given: { a: {} },
      }, { trial: 0, until: null, given: {}, run: "x" }]
    ) {
      assertMatch(
        await refused(() => readJob(bytes(body))),
        /^Cannot read a job: .* is required, received/,
      );
    }
    const sweep = await writeTinySweep(folder, TWO);
    const broker = new LocalBroker();
    const begun = await begin(broker, sweep);
    const { queue, records, store } = begun.places;
    const jobs: Record<string, Record<string, unknown>> = {
      "0.end": { trial: 0, until: null, given: { output: "/tmp/elsewhere", lr: 1 } },
      "1.end": { trial: 1, until: null, given: { "training-options": '{"push_to_hub": true}' } },
      "2.end": { trial: 2, until: null, given: { rank: 0 } },
      "3.end": { trial: "three" },
      "5.end": { trial: 5, until: null, given: {} },
    };
    for (const [id, job] of Object.entries(jobs)) await queue.add(id, bytes(job));
    const ended = { worker: "another", step: 0, starts: 7, startsHere: 2 }; // and its worker did not come back
    await records.put(claimKey("5.end"), JSON.stringify(ended));
    const { end } = await startWorker(broker, sweep.model, `${folder}/work`);
    await until("all jobs were refused", async () => await queue.size() === 0);
    await end();
    const errors = await Promise.all(
      Object.keys(jobs).map(async (id) => readResult((await records.get(resultKey(id)))!.value).error),
    );
    assertEquals(errors, [
      "Cannot run the trial: --output is no flag that a trial may set",
      "Cannot run the trial: --training-options of a trial cannot set pushToHub",
      "Cannot run the trial: --rank must be an integer from 1 to 4096, received 0",
      'Cannot read a job: "trial": number is required, received "three"',
      "ended 2 workers at step 0: see their messages, or the memory of their machines",
    ]);
    await store.put("trial-0/trained/../../outside", bytes("x"));
    await assertRejects(
      () => new TrialStore(store, 0).fetchTrained(diskStore(`${folder}/t`)),
      RangeError,
      '"../../outside"',
    );
    await store.put(`data/${begun.record.data[0].files[0].sha256}`, bytes("other rows"));
    await Deno.remove(`${folder}/work`, { recursive: true });
    await queue.add("4.end", bytes({ trial: 4, until: null, given: {} }));
    const second = await startWorker(broker, sweep.model, `${folder}/work`);
    const { message } = await assertRejects(() => second.done, Error);
    assertMatch(
      message,
      /^Cannot fetch the sweep's data: the file of SHA-256 [0-9a-f]{64} is required, received another/,
    );
    await begun.lease.release();
  }));

Deno.test("a worker whose trial another has taken over stops, and touches nothing of it any more", () =>
  inFolder(async (folder) => {
    const sweep = await writeTinySweep(folder, TWO, { "max-steps": 5000 });
    const broker = new LocalBroker();
    const { places: { queue, records, store }, plan, lease } = await begin(broker, sweep);
    const job = { trial: 1, until: null, given: plan.trials[1].given };
    const id = jobId(job);
    await queue.add(id, new TextEncoder().encode(JSON.stringify(job)));
    const worker = await startWorker(broker, sweep.model, `${folder}/work`);
    const objects = new TrialStore(store, 1);
    await until("it has a checkpoint", async () => (await objects.steps()).length > 0);
    const claim = readClaim((await records.get(claimKey(id)))!.value);
    await records.put(
      claimKey(id),
      JSON.stringify({ ...claim, worker: "another", starts: claim.starts + 1 }),
    );
    const steps = await objects.steps();
    await until("it stops", () => worker.lines.includes("trial 1: another worker has it"));
    const after = await objects.steps();
    assert(after.every((step) => step <= steps.at(-1)! + 3), `${steps} and then ${after}`); // one may have been under way
    assertEquals([await records.get(resultKey(id)), await queue.size()], [null, 1]);
    assertEquals(await queue.take(100), null, "it is not given back: the other has it");
    await worker.end();
    await lease.release();
  }));

Deno.test("findBase() knows a model by its files, whatever else lies beside them and whatever it is called", () =>
  inFolder(async (folder) => {
    const model = await writeTinyModel(`${folder}/model`);
    const { hash, path } = await findBase(model);
    assertEquals(path, model);
    await Deno.rename(model, `${folder}/moved`);
    for (const name of ["README.md", "training_args.json", "vocab.json"]) {
      await Deno.writeTextFile(`${folder}/moved/${name}`, "{}");
    }
    assertEquals((await findBase(`${folder}/moved`)).hash, hash);
    const config = `${folder}/moved/config.json`;
    await Deno.writeTextFile(config, `${await Deno.readTextFile(config)} `);
    assert((await findBase(`${folder}/moved`)).hash !== hash);
    await Deno.mkdir(`${folder}/one`);
    await Deno.writeTextFile(`${folder}/one/a.gguf`, "GGUF");
    assertEquals((await findBase(`${folder}/one`)).hash, (await findBase(`${folder}/one/a.gguf`)).hash);
    assertEquals((await findBase(`${folder}/one`, "a.gguf")).path, `${folder}/one/a.gguf`);
    await Deno.mkdir(`${folder}/empty`);
    assertMatch(
      await refused(() => findBase(`${folder}/empty`)),
      /a folder with a model's files is required, received none/,
    );
  }));

Deno.test("serveMetrics() answers Prometheus on one address, and says that a port is taken", async () => {
  const { plan } = planSweep({
    ...{ method: "grid", finetune: { model: "m", data: "d" }, parameters: { rank: { values: [1, 2, 3] } } },
  }, "mine");
  const states = ["running", "failed", "running"] as const;
  const trials = plan!.trials.map((trial, i): TrialStatus => ({
    ...{ trial, state: states[i], step: 10 * i, maxSteps: null, measure: null, worker: null, result: null },
  }));
  const port = freePort();
  const stop = serveMetrics(sweepMetrics("mine", trials), port, "127.0.0.1");
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
    assertMatch(answer.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
    const text = await answer.text();
    assertMatch(text, /^peft_sweep_trials\{sweep="mine",state="running"\} 2$/m);
    assertMatch(text, /^peft_sweep_trials\{sweep="mine",state="failed"\} 1$/m);
    assertMatch(text, /^peft_sweep_steps\{sweep="mine"\} 30$/m);
    const other = await fetch(`http://127.0.0.1:${port}/`);
    assertEquals([other.status, await other.text()], [404, "see /metrics\n"]);
    const taken = await refused(() => serveMetrics(sweepMetrics("mine", trials), port, "127.0.0.1"));
    assertMatch(taken, /^Cannot serve metrics on port \d+: /);
  } finally {
    await stop();
  }
});

Deno.test({
  name:
    "NATS: two sweeps of one name, an unfinished one, and a worker of another base are refused; the first goes on",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      await using server = await NatsServer.start();
      const broker = await JetStreamBroker.connect({ url: server.url });
      const sweep = await writeTinySweep(folder, TWO);
      const first = await begin(broker, sweep);
      const args = ["--file", sweep.file, "--output", `${folder}/out`, "--queue", server.url];
      const taken =
        /a name that no running sweep has is required, received "tiny", which another process runs, or ran less than \d+ s ago$/;
      for (const more of [[], ["--resume"], ["--discard"]]) {
        assertMatch(await refused(() => runSweep(...args, ...more)), taken);
      }

      const other = await writeTinyModel(`${folder}/other`, 6);
      const base =
        /^Cannot join the sweep "tiny": its base model "[^"]+\/model" \(SHA-256 \w{12}\) must be one of --allow-model/;
      const refusing = await startWorker(broker, other, `${folder}/work`);
      await until("the worker refuses", () => refusing.lines.length > 0);
      assertMatch(refusing.lines[0], base);
      await refusing.end();
      const only = await startWorker(broker, other, `${folder}/work`, "tiny");
      assertMatch(await refused(() => only.done), base);

      await first.lease.release(); // as if that process had ended
      assertMatch(
        await refused(() => runSweep(...args)),
        /an unfinished sweep "tiny" of the same file is there: --resume/,
      );
      const changed = await writeTinySweep(`${folder}`, { ...TWO, parameters: { lr: { values: [1e-4] } } });
      const another =
        /received "tiny", of which an unfinished sweep with another file, other data or another base is there/;
      assertMatch(await refused(() => runSweep(...args, "--resume")), another);
      await writeTinySweep(folder, TWO);
      assertEquals(changed.file, sweep.file);

      const sweeps = await broker.records(SWEEPS);
      const { value } = (await sweeps.get("tiny"))!;
      await sweeps.put("tiny", JSON.stringify({ ...JSON.parse(value), version: "9.9.9" }));
      assertMatch(
        await refused(() => runSweep(...args, "--resume")),
        /is of @peft\/webgpu 9\.9\.9, received /,
      );
      await sweeps.put("tiny", value);

      const helper = await startWorker(broker, sweep.model, `${folder}/work`);
      const { result, lines } = await runSweep(...args, "--resume");
      assertEquals(result.trials, 2);
      assertMatch(lines.join("\n"), /^worker here: Cannot join the sweep "tiny": its base model/m);
      const metrics = await helper.metrics.registry.metrics();
      assertMatch(metrics, /^peft_worker_trials_total\{outcome="done"\} 2$/m);
      assertMatch(metrics, /^peft_worker_steps_total 24$/m);
      assertMatch(metrics, /^peft_worker_checkpoints_total 6$/m);
      await helper.end();
      assertEquals(await sweeps.keys(), [], "nothing is left");
      await broker.close();
    }),
});

Deno.test({
  name: "NATS: with a full store a trial trains on, says so, and is kept once there is room",
  ignore: NATS_SERVER === null,
  fn: () =>
    inFolder(async (folder) => {
      await using server = await NatsServer.start(
        `jetstream { store_dir: "FOLDER/store", max_file_store: 2MB }`,
      );
      const broker = await JetStreamBroker.connect({ url: server.url });
      const parameters = { rank: { values: [256] } }; // 262 kB
      const sweep = await writeTinySweep(folder, { ...TWO, parameters });
      const begun = await begin(broker, sweep);
      const filler = await broker.objects("filler");
      await filler.put("most of it", new Uint8Array(2 ** 21 - 250_000));
      const helper = await startWorker(broker, sweep.model, `${folder}/work`);
      const said: string[] = [];
      const events = { ...silent, say: (line: string) => void said.push(line) };
      const running = new Controller(begun, events, new AbortController().signal).run();
      await until("it waits for room", () => helper.lines.some((line) => /waits for room/.test(line)));
      const text = helper.lines.join("\n");
      assertEquals(text.match(/goes on without this checkpoint: Cannot store/g)?.length, 3, text);
      assertMatch(
        text,
        /trial 0 is trained and waits for room: Cannot store ".+": room in the broker's store is required/,
      );
      await filler.remove("most of it");
      await server.stop(); // servers before 2.9.15 count what was purged until then
      await server.begin();
      const best = await running;
      assertEquals([best.state, best.step], ["trained", 12]);
      const adapter = await readObject(begun.places.store, "trial-0/trained/adapter_model.safetensors");
      assert(adapter!.length > 262_000);
      await helper.end();
      await begun.lease.release();
      await broker.close();
    }),
});

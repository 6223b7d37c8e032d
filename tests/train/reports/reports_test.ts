/**
 * What a run leaves for readers: the log of JSON lines, TensorBoard's event files, losses of tokens, the card, the page.
 * @module
 */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  formatProgress,
  readRunLog,
  RUN_LOG,
  type RunEvent,
  RunLog,
  type RunLogOptions,
  TENSORBOARD_FOLDER,
  tokenLosses,
  TokenLossSamples,
  Trainer,
  TrainingArguments,
  writeTrainingCard,
} from "../../../train/mod.ts";
import { memoryFolder } from "../../../io/open_file.ts";
import { reportPage } from "../../../cli/report/page.ts";
import { countingData, inFolder, tinyModel } from "../tiny_run.ts";

/** Shows ids as numbers; two ids end one character, as byte-level tokens do. */
const decode = (ids: number[]) => ids.map((id) => `<${id}>`).join("");
const tokenizer = { padTokenId: 0, eosTokenId: 0, decode };

const ARGS = {
  ...{ maxSteps: 8, perDeviceTrainBatchSize: 2, loggingSteps: 2, saveSteps: 4, learningRate: 1e-2, seed: 5 },
  ...{ evalStrategy: "steps", evalSteps: 4 } as const,
};

Deno.test("RunLog keeps a run that was cut as the run that was not: a line for each event, none twice", async () => {
  const [data, evalDataset] = [countingData(12), countingData(3)];
  const run = async (folder: string, cutAt: number | null) => {
    const make = async () => {
      const args = { ...ARGS, outputDir: folder, reportTo: ["jsonl"] as const };
      return new Trainer({ model: await tinyModel(0.1), args, trainDataset: data, evalDataset, tokenizer });
    };
    if (cutAt !== null) {
      const first = await make();
      first.addCallback({
        onStepEnd: (_args, { globalStep }) => {
          if (globalStep === cutAt) throw new Error("killed");
        },
      });
      await assertRejects(() => first.train(), Error, "killed");
      await Deno.writeTextFile(`${folder}/${RUN_LOG}`, `{"event":"log","st`, { append: true }); // cut in a line
    }
    await (await make()).train({ resumeFromCheckpoint: cutAt !== null });
    return await readRunLog(`${folder}/${RUN_LOG}`);
  };
  await inFolder(async (folder) => {
    const whole = await run(`${folder}/whole`, null);
    const cut = await run(`${folder}/cut`, 7);
    assertEquals(whole.map(({ event, step }) => `${event} ${step}`), [
      ...[
        "begin 0",
        "log 2",
        "log 4",
        "evaluate 4",
        "save 4",
        "log 6",
        "log 8",
        "evaluate 8",
        "save 8",
        "end 8",
      ],
    ]);
    assertEquals(
      cut.map(({ event, step }) => `${event} ${step}`),
      [
        ...[
          "begin 0",
          "log 2",
          "log 4",
          "evaluate 4",
          "resume 4",
          "log 6",
          "log 8",
          "evaluate 8",
          "save 8",
          "end 8",
        ],
      ].flatMap((name) => name === "resume 4" ? ["save 4", name] : [name]),
    );
    const numbers = (events: RunEvent[]) =>
      events.filter(({ event }) => event === "log" || event === "evaluate").map((event) =>
        ["loss", "gradNorm", "learningRate", "evalLoss", "tokens", "epoch"].map((name) => event[name] ?? null)
      );
    assertEquals(numbers(cut), numbers(whole));
    const [begin] = whole;
    assertEquals([begin.maxSteps, (begin.arguments as Record<string, unknown>).learning_rate], [8, 1e-2]);
    assertEquals((begin.example as { text: string; learned: boolean }[])[0].learned, true);
    const log = whole.find(({ event }) => event === "log")!;
    for (const name of ["deviceBytes", "peakBytes", "tokensPerSecond", "seconds"]) {
      assert((log[name] as number) > 0, name);
    }
  });
});

Deno.test("readRunLog() refuses what is no log, naming the line; reports need a folder", async () => {
  await inFolder(async (folder) => {
    await assertRejects(() => readRunLog(`${folder}/${RUN_LOG}`), Error, "no such file");
    await Deno.writeTextFile(`${folder}/${RUN_LOG}`, `{"event":"begin","step":0,"time":1}\n[1]\n`);
    await assertRejects(() => readRunLog(`${folder}/${RUN_LOG}`), TypeError, "line 2 must be an event");
  });
  const refused = (args: Partial<TrainingArguments>) =>
    assertThrows(() => new TrainingArguments(args), RangeError).message;
  assertMatch(
    refused({ reportTo: ["console", "jsonl"] }),
    /outputDir must be a folder when reportTo has "jsonl"/,
  );
  assertMatch(
    refused({ reportTo: "wandb" as "jsonl" }),
    /reportTo must be "none", or one or several of "console", "jsonl", "tensorboard", received "wandb"/,
  );
});

/** CRC-32C bit by bit, masked. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0x82f63b78 : crc >>> 1;
  }
  crc = ~crc >>> 0;
  return ((crc >>> 15 | crc << 17) + 0xa282ead8) >>> 0;
}

/** Scalars of an event file, read apart by the rules of the format. */
function readScalars(file: Uint8Array): [step: number, tag: string, value: number][] {
  const view = new DataView(file.buffer);
  const found: [number, string, number][] = [];
  const fields = (bytes: Uint8Array) => {
    const out: [number, number | Uint8Array][] = [];
    let at = 0;
    const varint = () => {
      let [value, shift] = [0, 1];
      for (;; shift *= 128) {
        value += (bytes[at] & 127) * shift;
        if (bytes[at++] < 128) return value;
      }
    };
    while (at < bytes.length) {
      const key = varint();
      const wire = key & 7;
      const size = wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? varint() : 0;
      if (wire === 0) out.push([key >> 3, varint()]);
      else {
        out.push([key >> 3, bytes.slice(at, at + size)]);
        at += size;
      }
    }
    return out;
  };
  for (let at = 0; at < file.length;) {
    const length = Number(view.getBigUint64(at, true));
    assertEquals(view.getUint32(at + 8, true), maskedCrc(file.subarray(at, at + 8)));
    const data = file.slice(at + 12, at + 12 + length);
    assertEquals(view.getUint32(at + 12 + length, true), maskedCrc(data));
    at += 16 + length;
    const event = new Map(fields(data));
    if (event.has(7)) found.push([event.get(2) as number, "SessionLog", (event.get(7) as Uint8Array)[1]]);
    const summary = event.get(5) as Uint8Array | undefined;
    for (const [, value] of summary ? fields(summary) : []) {
      const { 1: tag, 2: scalar } = Object.fromEntries(fields(value as Uint8Array)) as Record<
        string,
        Uint8Array
      >;
      const number = new DataView(scalar.buffer).getFloat32(0, true);
      found.push([event.get(2) as number, new TextDecoder().decode(tag), number]);
    }
  }
  return found;
}

Deno.test("TensorBoard's event files hold every logged number under transformers' tags, with right checksums", async () => {
  assertEquals(
    maskedCrc(new TextEncoder().encode("123456789")),
    ((0xe3069283 >>> 15 | 0xe3069283 << 17) + 0xa282ead8) >>> 0,
  );
  await inFolder(async (outputDir) => {
    const args = { ...ARGS, outputDir, reportTo: ["tensorboard", "jsonl"] as const };
    const options = { trainDataset: countingData(12), evalDataset: countingData(3), tokenizer };
    await new Trainer({ model: await tinyModel(), args, ...options }).train();
    const [{ name }] = [...Deno.readDirSync(`${outputDir}/${TENSORBOARD_FOLDER}`)];
    assertMatch(name, /^events\.out\.tfevents\.\d+\./);
    const scalars = readScalars(await Deno.readFile(`${outputDir}/${TENSORBOARD_FOLDER}/${name}`));
    const of = (tag: string) => scalars.filter(([, other]) => other === tag);
    const log = await readRunLog(`${outputDir}/${RUN_LOG}`);
    for (
      const [tag, event, field] of [["train/loss", "log", "loss"], ["train/grad_norm", "log", "gradNorm"], [
        "eval/loss",
        "evaluate",
        "evalLoss",
      ]]
    ) {
      const expected = log.filter((entry) => entry.event === event).map((
        entry,
      ) => [entry.step, tag, Math.fround(entry[field] as number)]);
      assert(expected.length > 1);
      assertEquals(of(tag), expected as [number, string, number][]);
    }
  });
});

Deno.test("TensorBoard drops what comes after the checkpoint of a resumed run, and all of an earlier run of the folder", async () => {
  await inFolder(async (outputDir) => {
    const folder = `${outputDir}/${TENSORBOARD_FOLDER}`;
    await Deno.mkdir(folder);
    const starts: (number | null)[] = [];
    for (const resumeFromCheckpoint of [false, `${outputDir}/checkpoint-4`, false]) {
      const before = [...Deno.readDirSync(folder)].map(({ name }) => name);
      const args = { ...ARGS, evalStrategy: "no", outputDir, reportTo: "tensorboard" } as const;
      const model = await tinyModel();
      await new Trainer({ model, args, trainDataset: countingData(12) }).train({ resumeFromCheckpoint });
      model.dispose();
      const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
      const [fresh] = names.filter((name) => !before.includes(name));
      assertEquals(fresh, names.at(-1), "read last");
      const events = readScalars(await Deno.readFile(`${folder}/${fresh}`));
      starts.push(events.find(([, tag, status]) => tag === "SessionLog" && status === 1)?.[0] ?? null);
    }
    assertEquals(starts, [null, 5, 0]);
  });
});

Deno.test("RunLog refuses an option that does not exist", () => {
  const misspelt = { foldr: "out" } as RunLogOptions;
  assertThrows(
    () => new RunLog(misspelt),
    TypeError,
    'Cannot keep a run log: unknown option "foldr", did you mean "folder"?',
  );
});

Deno.test("tokenLosses() adds up to the model's loss, and leaves the model's mode and random stream alone", async () => {
  const model = await tinyModel(0.2);
  const [{ inputIds }] = countingData(1);
  const labels = inputIds.map((id, t) => t < 5 ? -100 : id);
  model.train();
  const state = JSON.stringify(model.random);
  const found = await tokenLosses(model, { inputIds, labels }, decode);
  assertEquals([model.training, JSON.stringify(model.random)], [true, state]);
  assertEquals(found.map(({ text }) => text).join(""), decode([...inputIds]));
  assertEquals(found.map(({ loss }) => loss === null), labels.map((label) => label === -100));
  model.eval();
  const loss = await model.forward({ inputIds: [[...inputIds]], labels: [labels] }).loss!.item();
  const sum = found.reduce((total, { loss }) => total + (loss ?? 0), 0);
  assertAlmostEquals(sum / (inputIds.length - 5), loss, 1e-5);
  const none = await tokenLosses(model, { inputIds, labels: inputIds.map(() => -100) }, decode);
  assert(none.every(({ loss }) => loss === null));
});

Deno.test("writeTrainingCard() puts its part into a card, replaces it the next time, and leaves the rest", async () => {
  const folder = memoryFolder(new Map<string, Uint8Array<ArrayBuffer>>());
  const text = () => new TextDecoder().decode(folder.files.get("README.md") as Uint8Array);
  const facts = { data: "a|b.jsonl", rows: [["loss", 1.5]] as const };
  await writeTrainingCard(folder, { ...facts, summary: "My model." });
  assertMatch(text(), /^---\npipeline_tag: text-generation\n---\n\nMy model\.\n/);
  assertMatch(text(), /\| data \| a\\\|b\.jsonl \|\n\| loss \| 1\.5 \|\n\| version \| @peft\/webgpu /);
  folder.files.set(
    "README.md",
    new TextEncoder().encode(text().replace("My model.", "My words.") + "\nMore words.\n"),
  );
  await writeTrainingCard(folder, { ...facts, rows: [["loss", 0.25]] });
  assertMatch(text(), /My words\.[^]*\| loss \| 0\.25 \|[^]*More words\.\n$/);
  assertEquals(text().match(/## Training/g)!.length, 1);
  const peft = "---\nlibrary_name: peft\ntags:\n- a\n---\n\nText.\n\n### Framework versions\n\n- PEFT 0.21\n";
  folder.files.set("README.md", new TextEncoder().encode(peft));
  await writeTrainingCard(folder, facts);
  assertMatch(
    text(),
    /^---\nlibrary_name: peft\ntags:\n- a\npipeline_tag[^]*Text\.[^]*## Training[^]*### Framework versions\n\n- PEFT 0\.21\n$/,
  );
});

Deno.test("reportPage() draws every curve, colours tokens by loss, marks what is learned, and asks nothing of the network", async () => {
  await inFolder(async (outputDir) => {
    const log = new RunLog({
      about: { data: "<data> & more" },
      example: () => ({ inputIds: [1, 2], labels: [-100, 2] }),
      tokenizer,
    });
    const evalDataset = countingData(3);
    const args = { ...ARGS, outputDir, reportTo: "none" as const };
    const callbacks = [log, new TokenLossSamples(log, evalDataset, tokenizer)];
    await new Trainer({
      model: await tinyModel(),
      args,
      trainDataset: countingData(12),
      evalDataset,
      callbacks,
    }).train();
    await log.note("sample", 8, { prompt: "Once?", text: "Yes <b>" });
    const events = await readRunLog(`${outputDir}/${RUN_LOG}`);
    const page = reportPage(events, "A <run>");
    for (const title of ["Loss", "Learning rate", "Gradient norm", "Speed", "Device memory"]) {
      assert(page.includes(`<figcaption>${title}</figcaption><svg`), title);
    }
    assertMatch(page, /finished [^]*step 8 of 8/);
    assertMatch(page, /&lt;1&gt;<mark>&lt;2&gt;<\/mark>/);
    assertMatch(
      page,
      /<span title="\d+\.\d{3} nats" style="background: rgb\(220 60 40 \/ 0\.\d{3}\)">&lt;\d+&gt;<\/span>/,
    );
    assert(
      page.includes("&lt;data&gt; &amp; more") && page.includes("Yes &lt;b&gt;") &&
        page.includes("A &lt;run&gt;"),
    );
    assert(!/<script|<link|src=|url\(|href=/.test(page), "refers to something outside");
    const cut = reportPage(events.slice(0, 4), "cut");
    assertMatch(cut, /not finished, step \d of 8/);
  });
});

Deno.test("formatProgress() tells rate, norm and memory where it is asked", () => {
  const state = {
    ...{
      globalStep: 5,
      epoch: 1,
      maxSteps: 10,
      numTrainEpochs: 1,
      numInputTokensSeen: 500,
      tokensPerSecond: 100,
    },
    ...{ logHistory: [{ step: 5, epoch: 1, loss: 2, gradNorm: 0.5, learningRate: 2e-4 }] },
    ...{ bestMetric: null, bestGlobalStep: null, bestModelCheckpoint: null, samples: [] },
  };
  assertEquals(formatProgress(state), "step 5/10 | loss 2.0000 | 100 tokens/s | 0:05 left");
  assertEquals(
    formatProgress(state, { details: true, deviceBytes: 2.14e8 }),
    "step 5/10 | loss 2.0000 | lr 2.0e-4 | norm 0.50 | 100 tokens/s | 214 MB | 0:05 left",
  );
  assertEquals(
    formatProgress({ ...state, globalStep: 6 }),
    "step 6/10 | loss 2.0000 (step 5) | 100 tokens/s | 0:03 left",
  );
});

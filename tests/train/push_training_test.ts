/**
 * A training that pushes to a hub on this machine.
 * @module
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Trainer, TrainingArguments } from "../../train/mod.ts";
import { type PushHub, servePushHub, textIn } from "../io/push_hub.ts";
import { countingData, inFolder, tinyModel } from "./tiny_run.ts";

/** Runs with the hub of the environment. */
async function withHub(body: (hub: PushHub) => Promise<void>): Promise<void> {
  const hub = servePushHub();
  const before = Deno.env.get("HF_ENDPOINT");
  Deno.env.set("HF_ENDPOINT", hub.url);
  try {
    await body(hub);
  } finally {
    if (before === undefined) Deno.env.delete("HF_ENDPOINT");
    else Deno.env.set("HF_ENDPOINT", before);
    await hub.stop();
  }
}

const SETTINGS = { pushToHub: true, hubToken: "hf_me", maxSteps: 4, saveSteps: 2, reportTo: "none" } as const;

Deno.test("with pushToHub a Trainer pushes after each checkpoint and with saveModel(), and writes no token", async () => {
  await withHub(async (hub) => {
    await inFolder(async (folder) => {
      const outputDir = `${folder}/counter`;
      const model = await tinyModel();
      const args = { ...SETTINGS, outputDir, hubPrivateRepo: true };
      const trainer = new Trainer({ model, args, trainDataset: countingData(20) });
      await trainer.train();
      await Deno.writeTextFile(`${outputDir}/README.md`, "---\nlicense: mit\n---\n\nHow it was trained.\n");
      await trainer.saveModel();
      const { visibility, branches } = hub.repos.get("me/counter")!;
      const main = branches.get("main")!;
      assertEquals(visibility, "private");
      assertEquals(main.log.map(({ summary }) => summary), [
        "Training in progress, step 2",
        "Training in progress, step 4",
        "Model save",
      ]);
      assertMatch(textIn(main, "README.md")!, /license: mit[^]*How it was trained\./);
      assert(main.files.has("model.safetensors"));
      assert(![...main.files.keys()].some((name) => name.includes("optimizer")));
      for (const text of [textIn(main, "training_args.json")!, JSON.stringify(new TrainingArguments(args))]) {
        assert(text.includes("<HUB_TOKEN>") && !text.includes("hf_me"), text);
      }
      await trainer.pushToHub({ revision: "dev" });
      assertEquals(branches.get("dev")!.log.at(-1)!.summary, "End of training");
      model.dispose();
    });
  });
});

Deno.test("a push that fails is warned of and the training goes on; hubStrategy end pushes nothing on the way", async () => {
  await withHub(async (hub) => {
    await inFolder(async (folder) => {
      const warnings: string[] = [];
      const { warn } = console;
      console.warn = (text: string) => warnings.push(text);
      try {
        const model = await tinyModel();
        const args = { ...SETTINGS, outputDir: folder, hubToken: "hf_reader", hubModelId: "org/x" };
        const trainer = new Trainer({ model, args, trainDataset: countingData(20) });
        assertEquals((await trainer.train()).globalStep, 4);
        assertEquals(warnings.length, 2, warnings.join("\n"));
        assertMatch(warnings[0], /^step 2 was saved and not pushed: Cannot push to "org\/x": a token/);
        const end = new Trainer({
          model,
          args: { ...args, hubToken: "hf_me", hubStrategy: "end" },
          trainDataset: countingData(20),
        });
        await end.train();
        assertEquals(hub.repos.size, 0);
        model.dispose();
      } finally {
        console.warn = warn;
      }
    });
  });
});

Deno.test("pushToHub without a name for the repository is refused before the training", () => {
  assertThrows(
    () => new TrainingArguments({ pushToHub: true }),
    RangeError,
    "hubModelId must be the name of a repository when pushToHub is true, received null",
  );
  assertThrows(
    () => new TrainingArguments({ hubStrategy: "checkpoint" as "end" }),
    RangeError,
    'hubStrategy must be "end" or "every_save"',
  );
});

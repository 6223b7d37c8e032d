/** `peftConfig`, with which trainers wrap the model themselves, as TRL's do. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import {
  CPOTrainer,
  DPOTrainer,
  type DPOTrainerOptions,
  KTOTrainer,
  ORPOTrainer,
  SFTTrainer,
  type Trainer,
} from "../../train/mod.ts";
import { ANSWERS, PAIRS, QUIET, TOKENIZER } from "./preference/preference_rows.ts";
import { tinyModel } from "./tiny_run.ts";

type Options = Pick<DPOTrainerOptions, "model" | "peftConfig"> & { trainDataset?: never };
const SFT_TOKENIZER = { ...TOKENIZER, decode: (ids: readonly number[]) => ids.join(" ") };
const TRAINERS: Record<string, (options: Options) => Trainer> = {
  SFT: (options) =>
    new SFTTrainer({
      ...{ processingClass: SFT_TOKENIZER as never, args: QUIET },
      trainDataset: PAIRS.map(({ promptIds, chosenIds }) => ({ inputIds: [...promptIds, ...chosenIds] })),
      ...options,
    }),
  DPO: (options) => new DPOTrainer({ trainDataset: PAIRS, args: QUIET, ...options }),
  KTO: (options) => new KTOTrainer({ trainDataset: ANSWERS, args: QUIET, ...options }),
  ORPO: (options) => new ORPOTrainer({ trainDataset: PAIRS, args: QUIET, ...options }),
  CPO: (options) => new CPOTrainer({ trainDataset: PAIRS, args: QUIET, ...options }),
};
const config = () => new LoraConfig({ r: 2, targetModules: ["c_attn"] });

for (const [name, make] of Object.entries(TRAINERS)) {
  Deno.test(`${name}Trainer wraps the model with peftConfig, and trains as with a model that getPeftModel() made`, async () => {
    const logs = [];
    for (const wraps of [true, false]) {
      const base = await tinyModel();
      const model = wraps ? base : getPeftModel(base, config());
      const trainer = make({ model, ...wraps && { peftConfig: config() } });
      assert(trainer.model instanceof PeftModel);
      assertEquals(trainer.model.peftConfig.default.toJSON().r, 2);
      await trainer.train();
      logs.push(trainer.state.logHistory.map(({ loss, gradNorm }) => ({ loss, gradNorm })));
      trainer.model.dispose();
    }
    assertEquals(logs[0].length, 2);
    assert(logs[0].every(({ gradNorm }) => gradNorm > 0));
    assertEquals(logs[0], logs[1]);
  });

  Deno.test(`${name}Trainer refuses data or a peftConfig that are none, and a model with adapters, whose base stays as it was`, async () => {
    const base = await tinyModel();
    assertThrows(
      () => make({ model: base, peftConfig: { r: 8 } as never }),
      TypeError,
      "peftConfig must be the configuration of an adapter, such as new LoraConfig(), received object",
    );
    assertThrows(
      () => make({ model: base, peftConfig: config(), trainDataset: "rows.jsonl" as never }),
      TypeError,
      "trainDataset must be an array of rows",
    );
    assertEquals([...base.namedParameters()].some(([path]) => path.includes("lora")), false);
    const model = getPeftModel(base, config());
    assertThrows(
      () => make({ model, peftConfig: config() }),
      TypeError,
      "a model without adapters is required with peftConfig, received a PeftModel",
    );
    model.dispose();
  });
}

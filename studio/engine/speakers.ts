/**
 * Who answers: the base, an adapter of the shelf, a mixture, or the adapter in training.
 * @module
 */

import type { CausalLM, PeftModel } from "@peft/webgpu";
import { type FolderStore, memoryStore } from "@peft/webgpu/io";
import type { ChatOptions, ChatResult, MixOptions, MixPart } from "../protocol.ts";
import { answer, type Answerer } from "./chat.ts";
import { Refusal } from "./errors.ts";
import type { Form } from "./open_data.ts";
import type { OpenModel } from "./open_model.ts";
import type { AdapterRecord, Shelf } from "./shelf.ts";
import { copyFiles } from "./storage.ts";

type Combination = NonNullable<MixOptions["combination"]>;

/** Rules that keep a part of the elements, and how large it is. */
const DENSITY: Readonly<Partial<Record<Combination, number>>> = {
  ties: 0.5,
  dare_linear: 0.5,
  dare_ties: 0.5,
};

/** A model, if an adapter was made for one like it. @throws {Refusal} */
export function fitting(model: OpenModel, record: AdapterRecord): OpenModel {
  if (model.key === record.modelKey) return model;
  throw new Refusal(
    "unsupported",
    `"${record.name}" was made for ${record.modelName}, and does not fit ${model.facts.name}.`,
    `Open ${record.modelName}.`,
  );
}

/** The adapter in training, while it is paused. */
export interface PausedAdapter {
  readonly peft: PeftModel<CausalLM>;
  readonly form: Form;
}

/** The speakers of an open model. */
export class Speakers {
  readonly #model: OpenModel;
  readonly #shelf: Shelf;

  /** Loads nothing yet. */
  constructor(model: OpenModel, shelf: Shelf) {
    this.#model = model;
    this.#shelf = shelf;
  }

  /** Lets a speaker answer. @throws {Refusal} */
  async chat(
    options: ChatOptions,
    paused: PausedAdapter | null,
    onPiece: (text: string, tokens: number) => void,
    signal: AbortSignal,
  ): Promise<ChatResult> {
    const model = this.#model;
    const { active } = this.#shelf;
    const speaker = options.speaker ??
      (active && !paused ? { kind: "adapter", adapterId: active } as const : { kind: "base" } as const);
    const speak = ({ model: speaks, form }: Answerer) =>
      answer(
        { model: speaks, form: model.facts.hasChatTemplate ? "chat" : options.form ?? form },
        options,
        model,
        onPiece,
        signal,
      );
    if (speaker.kind === "base") {
      const form = paused?.form ?? (active ? (await this.#shelf.find(active)).record.form : "text");
      const peft = paused?.peft ?? model.seat.peft;
      if (!peft) return await speak({ model: model.base, form });
      return await peft.disableAdapter(() => speak({ model: peft, form }));
    }
    if (speaker.kind === "training") {
      if (paused) return await speak({ model: paused.peft, form: paused.form });
      throw new Refusal("not-open", "No training is paused.", "Choose an adapter of the shelf.");
    }
    if (paused) {
      throw new Refusal(
        "busy",
        "A training is paused.",
        "Meanwhile the base and the adapter in training can answer.",
      );
    }
    const parts = speaker.kind === "mix" ? speaker.parts : [{ adapterId: speaker.adapterId, weight: 1 }];
    return await speak(await this.#seat(parts));
  }

  /** Makes one adapter of several, and puts it on the shelf. @returns its id */
  async mix({ name, parts, combination = "cat" }: MixOptions): Promise<string> {
    const { folders, records } = await this.#find(parts);
    const made = `mixed_${Date.now().toString(36)}`;
    const peft = await this.#combine(parts, folders, made, combination);
    const about = {
      name: name.trim() || "Mixture",
      origin: "mixed",
      note: parts.map(({ weight }, i) => `${weight} × ${records[i].name}`).join(" + "),
      form: records[0].form,
      trained: null,
    } as const;
    try {
      return await this.#shelf.add(about, this.#model, async (folder) => {
        const written = memoryStore("mixture");
        await peft.savePretrained(written, { selectedAdapters: [made] });
        const own = written.folder(made);
        await copyFiles(own, await own.list(), folder);
      });
    } finally {
      this.#model.seat.remove(made);
    }
  }

  async #find(parts: readonly MixPart[]): Promise<{ folders: FolderStore[]; records: AdapterRecord[] }> {
    if (parts.length === 0) throw new Refusal("bad-settings", "No adapter is chosen.", "Choose one or more.");
    if (new Set(parts.map(({ adapterId }) => adapterId)).size < parts.length) {
      throw new Refusal("bad-settings", "An adapter is in the mixture twice.", "Add its weights up.");
    }
    if (parts.some(({ weight }) => !Number.isFinite(weight))) {
      throw new Refusal("bad-settings", "A weight is not a number.", "Move its slider.");
    }
    const found = await Promise.all(parts.map(async ({ adapterId }) => await this.#shelf.find(adapterId)));
    for (const { record } of found) fitting(this.#model, record);
    return { folders: found.map(({ folder }) => folder), records: found.map(({ record }) => record) };
  }

  /** The model with an adapter, or a mixture that is made for the moment. */
  async #seat(parts: readonly MixPart[]): Promise<Answerer> {
    const { folders, records: [{ form }] } = await this.#find(parts);
    const { seat } = this.#model;
    if (parts.length === 1 && parts[0].weight === 1) {
      await seat.load(parts[0].adapterId, folders[0]);
      return { model: seat.choose(parts[0].adapterId), form };
    }
    const weights = parts.map(({ adapterId, weight }) => `${adapterId}_${Math.round(1000 * weight)}`);
    const name = `mix_${weights.join("_").replaceAll("-", "m")}`;
    if (!seat.has(name)) await this.#combine(parts, folders, name, "cat");
    return { model: seat.choose(name), form };
  }

  async #combine(
    parts: readonly MixPart[],
    folders: readonly FolderStore[],
    name: string,
    combinationType: Combination,
  ): Promise<PeftModel<CausalLM>> {
    const { seat } = this.#model;
    const infos = await Promise.all(parts.map(({ adapterId }) => this.#shelf.info(adapterId, this.#model)));
    const [first] = infos;
    const other = infos.find(({ canMix, method }) => !canMix || method !== first.method);
    if (other) {
      throw new Refusal(
        "unsupported",
        other === first
          ? `"${first.name}" (${first.method}) cannot be mixed.`
          : `"${other.name}" (${other.method}) cannot be mixed with "${first.name}" (${first.method}).`,
        "LoRA adapters mix with each other, and (IA)³ adapters.",
      );
    }
    let peft: PeftModel<CausalLM> | null = null;
    for (const [i, { adapterId }] of parts.entries()) peft = await seat.load(adapterId, folders[i]);
    const density = DENSITY[combinationType];
    await peft!.addWeightedAdapter(
      parts.map(({ adapterId }) => adapterId),
      parts.map(({ weight }) => weight),
      name,
      first.method === "LoRA" ? { combinationType, ...density !== undefined && { density } } : {},
    );
    seat.note(name);
    return peft!;
  }
}

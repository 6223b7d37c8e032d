/**
 * Every setting of a training, folded away until someone asks for it.
 * @module
 */
import type { JSX } from "preact";
import type { MethodInfo, MethodOption, TrainingSettings } from "../../protocol.ts";
import { LinesField, NumberField, SelectField, SwitchField, TextField } from "../parts/field.tsx";
import { More } from "../parts/frame.tsx";
import { change, changeOption } from "../state/method.ts";
import { model } from "../state/model.ts";

function Option({ option, chosen }: { option: MethodOption; chosen: TrainingSettings }): JSX.Element {
  const { name, title, help, type } = option;
  const value = chosen.options[name] ?? option.default;
  switch (type) {
    case "integer":
    case "number":
      return (
        <NumberField
          label={title}
          help={help}
          value={Number(value)}
          isInteger={type === "integer"}
          min={option.min}
          max={option.max}
          onChange={(next) => changeOption(name, next)}
        />
      );
    case "boolean":
      return (
        <SwitchField
          label={title}
          help={help}
          value={value === true}
          onChange={(next) => changeOption(name, next)}
        />
      );
    case "choice":
      return (
        <SelectField
          label={title}
          help={help}
          value={String(value)}
          choices={option.choices!.map((choice) => [choice, choice] as const)}
          onChange={(next) => changeOption(name, next)}
        />
      );
    case "text":
      return (
        <TextField
          label={title}
          help={help}
          value={String(value)}
          onInput={(next) => changeOption(name, next)}
        />
      );
    case "modules":
      return (
        <Modules
          title={title}
          help={help}
          value={value}
          onChange={(next) => changeOption(name, next)}
        />
      );
    default:
      return (
        <TextField
          label={title}
          help={help}
          value={String(value ?? "")}
          onInput={(next) => changeOption(name, next)}
        />
      );
  }
}

function Modules(
  props: { title: string; help: string; value: unknown; onChange: (names: readonly string[]) => void },
): JSX.Element {
  const all = model.value!.linearModules;
  const chosen = new Set(Array.isArray(props.value) ? props.value as string[] : all);
  return (
    <fieldset class="field modules">
      <legend>{props.title}</legend>
      <small>{props.help}</small>
      {all.map((name) => (
        <label key={name}>
          <input
            type="checkbox"
            checked={chosen.has(name)}
            onChange={(event) => {
              const next = all.filter((one) => one === name ? event.currentTarget.checked : chosen.has(one));
              if (next.length > 0) props.onChange(next);
              else event.currentTarget.checked = true; // an adapter of no module is none
            }}
          />{" "}
          <code>{name}</code>
        </label>
      ))}
    </fieldset>
  );
}

/** Those of the method itself. */
export function MethodOptions(
  { one, chosen }: { one: MethodInfo; chosen: TrainingSettings },
): JSX.Element | null {
  if (one.options.length === 0) return null;
  const advanced = one.options.filter(({ isAdvanced }) => isAdvanced);
  const show = (option: MethodOption) => <Option key={option.name} option={option} chosen={chosen} />;
  return (
    <section>
      <h3>{one.title}</h3>
      <div class="fields">
        {one.options.filter(({ isAdvanced }) => !isAdvanced).map(show)}
      </div>
      {advanced.length > 0 && (
        <More label={`More of ${one.title}`}>
          <div class="fields">{advanced.map(show)}</div>
        </More>
      )}
    </section>
  );
}

/** Settings that are numbers, in the order that they are shown: label, bounds, help. */
const NUMBERS = [
  ["steps", "Steps", { min: 1, isInteger: true }, "One step learns from one batch"],
  ["learningRate", "Learning rate", { min: 0 }, "How far each step goes; too high makes the loss jump"],
  ["batchSize", "Examples per batch", { min: 1, isInteger: true }, "More need more memory"],
  [
    "gradientAccumulation",
    "Batches per step",
    { min: 1, isInteger: true },
    "A larger batch without its memory",
  ],
  ["warmupSteps", "Warmup, in steps", { min: 0, isInteger: true }, "The learning rate grows until then"],
  ["weightDecay", "Weight decay", { min: 0 }, "Pulls trained weights to zero"],
  ["maxGradNorm", "Longest gradient", { min: 0 }, "Longer ones are shortened; 0: none"],
  ["seed", "Seed", { min: 0, isInteger: true }, "The same seed gives the same training"],
  ["evalEvery", "Steps between held-out measures", { min: 0, isInteger: true }, "0: none"],
  ["sampleEvery", "Steps between samples", { min: 0, isInteger: true }, "0: none"],
  [
    "checkpointEvery",
    "Steps between saves",
    { min: 0, isInteger: true },
    "It goes on from there after a reload; 0: none",
  ],
] as const satisfies readonly (readonly [keyof TrainingSettings, string, object, string])[];

const SCHEDULES = [
  ["linear", "falls in a line"],
  ["cosine", "falls in a curve (cosine)"],
  ["constant", "stays the same"],
  ["constant_with_warmup", "grows, then stays the same"],
] as const;

const OPTIMIZERS = [
  ["adamw", "AdamW"],
  ["adamw_8bit", "AdamW in 8 bits: a quarter of its memory"],
  ["lion", "Lion"],
  ["adafactor", "Adafactor"],
  ["sgd", "SGD"],
] as const;

const SWITCHES = [
  [
    "gradientCheckpointing",
    "Compute twice, keep less",
    "Gradient checkpointing: less memory, a third more time",
  ],
  ["halfActivations", "Keep intermediate results in 16 bits", "Half their memory"],
  ["packing", "Several short examples per row", "Packing: faster where examples are short"],
] as const;

/** Those of every training. */
export function TrainingOptions({ chosen }: { chosen: TrainingSettings }): JSX.Element {
  return (
    <section>
      <h3>Training</h3>
      <div class="fields">
        {NUMBERS.map(([name, label, bounds, help]) => (
          <NumberField
            key={name}
            label={label}
            help={help}
            {...bounds}
            value={chosen[name]}
            onChange={(value) => change({ [name]: value })}
          />
        ))}
        <SelectField
          label="Learning rate over time"
          value={chosen.schedule}
          choices={SCHEDULES}
          onChange={(schedule) => change({ schedule })}
        />
        <SelectField
          label="Optimizer"
          value={chosen.optimizer}
          choices={OPTIMIZERS}
          onChange={(optimizer) => change({ optimizer })}
        />
        {SWITCHES.map(([name, label, help]) => (
          <SwitchField
            key={name}
            label={label}
            help={help}
            value={chosen[name]}
            onChange={(value) => change({ [name]: value })}
          />
        ))}
        <LinesField
          label="Samples answer or continue"
          help="What the model writes to during training, one per line"
          value={chosen.samplePrompts}
          onChange={(samplePrompts) => change({ samplePrompts })}
        />
      </div>
    </section>
  );
}

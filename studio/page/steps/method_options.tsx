/**
 * Every setting of a training, folded away until someone asks for it.
 * @module
 */
import type { JSX } from "preact";
import type { MethodInfo, MethodOption, OptionValue, TrainingSettings } from "../../protocol.ts";
import { LinesField, NumberField, SelectField, SwitchField, TextField } from "../parts/field.tsx";
import { More } from "../parts/words.tsx";
import { change, changeOption } from "../state/method.ts";
import { model } from "../state/model.ts";

function Option({ option, chosen }: { option: MethodOption; chosen: TrainingSettings }): JSX.Element {
  const { name, title: label, help, type, min, max } = option;
  const value = chosen.options[name] ?? option.default;
  const field = { label, help, onChange: (next: OptionValue) => changeOption(name, next) };
  switch (type) {
    case "integer":
    case "number":
      return (
        <NumberField
          {...field}
          value={Number(value)}
          isInteger={type === "integer"}
          {...{ min, max }}
        />
      );
    case "boolean":
      return <SwitchField {...field} value={value === true} />;
    case "choice":
      return (
        <SelectField
          {...field}
          value={String(value)}
          choices={option.choices!.map((choice) => [choice, choice] as const)}
        />
      );
    case "text":
      return <TextField {...{ label, help }} value={String(value ?? "")} onInput={field.onChange} />;
    case "modules":
      return <Modules {...field} value={value} />;
  }
}

function Modules(
  props: { label: string; help: string; value: OptionValue; onChange: (names: readonly string[]) => void },
): JSX.Element {
  const all = model.value!.linearModules;
  const chosen = new Set(Array.isArray(props.value) ? props.value : all);
  return (
    <fieldset class="field modules">
      <legend>{props.label}</legend>
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
  ["learningRate", "Learning rate", { min: 0 }, "How far each step goes; if it is too high, the loss jumps"],
  ["batchSize", "Examples per batch", { min: 1, isInteger: true }, "More examples take more memory"],
  [
    "gradientAccumulation",
    "Batches per step",
    { min: 1, isInteger: true },
    "A larger batch without its memory",
  ],
  ["warmupSteps", "Warmup, in steps", { min: 0, isInteger: true }, "The learning rate rises until then"],
  ["weightDecay", "Weight decay", { min: 0 }, "Pulls trained weights toward zero"],
  ["maxGradNorm", "Largest gradient norm", { min: 0 }, "Larger gradients are scaled down; 0: never"],
  ["seed", "Seed", { min: 0, isInteger: true }, "The same seed gives the same training"],
  ["evalEvery", "Steps between evaluations", { min: 0, isInteger: true }, "On held-out examples; 0: none"],
  ["sampleEvery", "Steps between samples", { min: 0, isInteger: true }, "0: none"],
  [
    "checkpointEvery",
    "Steps between saves",
    { min: 0, isInteger: true },
    "After a reload, training continues from the last one; 0: none",
  ],
] as const satisfies readonly (readonly [keyof TrainingSettings, string, object, string])[];

const SCHEDULES = [
  ["linear", "falls linearly"],
  ["cosine", "falls along a cosine"],
  ["constant", "stays the same"],
  ["constant_with_warmup", "rises, then stays the same"],
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
          label="Prompts for samples"
          help="The model answers or continues these during training; one per line"
          value={chosen.samplePrompts}
          onChange={(samplePrompts) => change({ samplePrompts })}
        />
      </div>
    </section>
  );
}

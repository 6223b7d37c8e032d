/**
 * The method, the settings of the training, and the memory that it takes.
 * @module
 */
import { computed, signal } from "@preact/signals";
import type { MemoryPlan, MethodInfo, OptionValue, TrainingSettings } from "../../protocol.ts";
import { Task } from "./task.ts";

/** Every method for the open model; null until the engine has said. */
export const methods = signal<readonly MethodInfo[] | null>(null);
/** What the training will use; null until a model and data are open. */
export const settings = signal<TrainingSettings | null>(null);
/** Steps that suit model and data: what "usual" means. */
export const usualSteps = signal(0);
/** Memory of {@linkcode settings}; null while it is planned. */
export const plan = signal<MemoryPlan | null>(null);
/** The method of {@linkcode settings}. */
export const method = computed(() =>
  methods.value?.find((one) => one.method === settings.value?.method) ?? null
);

/** Asking for methods and settings. */
export const suggesting = new Task();
/** Planning the memory. */
export const planning = new Task();

let timer: ReturnType<typeof setTimeout> | undefined;

/** Plans the memory of the settings, once they have rested for a moment. */
function planSoon(): void {
  clearTimeout(timer);
  plan.value = null;
  timer = setTimeout(async () => {
    const asked = settings.value;
    if (!asked) return;
    const found = await planning.run("Working out the memory", "plan", { settings: asked });
    if (found && settings.value === asked) plan.value = found;
  }, 250);
}

/** Changes settings. */
export function change(part: Partial<TrainingSettings>): void {
  if (!settings.value) return;
  settings.value = { ...settings.value, ...part };
  if (Object.keys(part).some((key) => key !== "name")) planSoon();
}

/** Changes an option of the method; its default is left out. */
export function changeOption(name: string, value: OptionValue): void {
  const { options } = settings.value!;
  const usual = method.value?.options.find((option) => option.name === name)?.default;
  const { [name]: _, ...others } = options;
  change({
    options: JSON.stringify(value) === JSON.stringify(usual) ? others : { ...others, [name]: value },
  });
}

/**
 * Takes settings that suit the open model and data, all but those that a person changes meanwhile; gives whether there are
 * any.
 */
export async function suggest(name?: string): Promise<boolean> {
  const before = settings.value;
  const found = await suggesting.run("Choosing settings", "suggest", name ? { method: name } : {});
  if (!found) return false;
  const now = settings.value;
  const changed = before && now
    ? Object.entries(now).filter(([key, value]) => value !== before[key as keyof TrainingSettings])
    : [];
  settings.value = { ...found, ...Object.fromEntries(changed) };
  usualSteps.value = found.steps;
  planSoon();
  return true;
}

/** Asks for the methods, once for each model. */
export async function listMethods(): Promise<void> {
  if (methods.value) return;
  const found = await suggesting.run("Looking at the methods", "methods", {});
  if (found) methods.value = found;
}

/** Forgets what belonged to another model or other data. */
export function forgetSettings(options: { methods: boolean }): void {
  clearTimeout(timer);
  if (options.methods) methods.value = null;
  settings.value = null;
  plan.value = null;
}

/**
 * What a training of each PEFT method starts from where nobody says otherwise, on the command line as in the studio.
 * @module
 */

/** Learning rates: adapters take more than whole models, and few parameters more than many. */
const LEARNING_RATES = {
  full: 2e-5,
  lora: 2e-4,
  dora: 2e-4,
  adalora: 1e-3,
  ia3: 8e-3,
  vera: 4e-3,
  loha: 2e-4,
  lokr: 1e-3,
  oft: 1e-3,
  boft: 1e-3,
  fourierft: 1e-2,
  ln: 1e-3,
  bitfit: 1e-3,
  prefix: 1e-2,
  prompt: 3e-2,
  "p-tuning": 1e-3,
  bottleneck: 1e-3,
  tokens: 1e-2,
} as const;

/** Names of methods as commands and pages have them; `full` trains the model itself. */
export type MethodName = keyof typeof LEARNING_RATES;

/** The learning rate of a method where none is given. */
export function learningRateOf(method: MethodName): number {
  return LEARNING_RATES[method];
}

/**
 * When AdaLoRA takes ranks away: from a tenth of the training on, until three tenths before its end.
 * @param steps optimizer steps of the training
 */
export function adaLoraSchedule(steps: number): { totalStep: number; tinit: number; tfinal: number } {
  return { totalStep: steps, tinit: Math.floor(0.1 * steps), tfinal: Math.floor(0.3 * steps) };
}

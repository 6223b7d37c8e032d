/**
 * Tells trainers, which do not import this folder, how a model is wrapped with their `peftConfig`.
 * @module
 */

import { provideAdapterWrapper } from "../nn/mod.ts";
import type { AdaptableModel } from "./adaptable_model.ts";
import type { PeftConfig } from "./config/peft_config.ts";
import { getPeftModel } from "./peft_model.ts";

provideAdapterWrapper((model, config) => getPeftModel(model as AdaptableModel, config as PeftConfig));
